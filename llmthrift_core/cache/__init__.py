"""Answers that were paid for once, served again: exactly, and by meaning.

`ExactCache` loads SQLAlchemy (100-150 ms), what works by meaning numpy, so they are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmthrift_core.cache.keys import UncacheableError, canonical_json, digest
from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.cache.single_flight import Flight, Flights, Waiting
from llmthrift_core.exports import lazy_exports

if TYPE_CHECKING:
    from llmthrift_core.cache.entry import Entry as Entry
    from llmthrift_core.cache.entry import EntryView as EntryView
    from llmthrift_core.cache.exact import ExactCache as ExactCache
    from llmthrift_core.cache.near_misses import near_miss as near_miss
    from llmthrift_core.cache.notices import invalidate_by_notice as invalidate_by_notice
    from llmthrift_core.cache.rules import CacheRules as CacheRules
    from llmthrift_core.cache.semantic.bound import ErrorBound as ErrorBound
    from llmthrift_core.cache.semantic.cache import SemanticCache as SemanticCache
    from llmthrift_core.cache.semantic.gptcache.store import GPTCacheStore as GPTCacheStore
    from llmthrift_core.cache.semantic.hit import Explanation as Explanation
    from llmthrift_core.cache.semantic.hit import SemanticHit as SemanticHit
    from llmthrift_core.cache.semantic.judges import ModelJudge as ModelJudge
    from llmthrift_core.cache.semantic.judges import SimilarAnswers as SimilarAnswers
    from llmthrift_core.cache.semantic.policy import Decision as Decision
    from llmthrift_core.cache.semantic.policy import DecisionPolicy as DecisionPolicy
    from llmthrift_core.cache.semantic.policy import ExactOnly as ExactOnly
    from llmthrift_core.cache.semantic.policy import FixedThreshold as FixedThreshold

__all__ = [
    "CachePolicy",
    "CacheRules",
    "Decision",
    "DecisionPolicy",
    "Entry",
    "EntryView",
    "ErrorBound",
    "ExactCache",
    "ExactOnly",
    "Explanation",
    "FixedThreshold",
    "Flight",
    "Flights",
    "GPTCacheStore",
    "ModelJudge",
    "SemanticCache",
    "SemanticHit",
    "SimilarAnswers",
    "UncacheableError",
    "Waiting",
    "canonical_json",
    "digest",
    "invalidate_by_notice",
    "near_miss",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "llmthrift_core.cache.entry": ("Entry", "EntryView"),
        "llmthrift_core.cache.exact": ("ExactCache",),
        "llmthrift_core.cache.near_misses": ("near_miss",),
        "llmthrift_core.cache.notices": ("invalidate_by_notice",),
        "llmthrift_core.cache.rules": ("CacheRules",),
        "llmthrift_core.cache.semantic.bound": ("ErrorBound",),
        "llmthrift_core.cache.semantic.cache": ("SemanticCache",),
        "llmthrift_core.cache.semantic.gptcache.store": ("GPTCacheStore",),
        "llmthrift_core.cache.semantic.hit": ("Explanation", "SemanticHit"),
        "llmthrift_core.cache.semantic.judges": ("ModelJudge", "SimilarAnswers"),
        "llmthrift_core.cache.semantic.policy": ("Decision", "DecisionPolicy", "ExactOnly", "FixedThreshold"),
    },
    names=__all__,
    needs={
        "llmthrift_core.cache.semantic.bound": ("semantic", "numpy"),
        "llmthrift_core.cache.semantic.cache": ("semantic", "numpy"),
        "llmthrift_core.cache.semantic.gptcache.store": ("gptcache", "numpy", "gptcache", "faiss"),
        "llmthrift_core.cache.semantic.judges": ("semantic", "numpy"),
    },
)

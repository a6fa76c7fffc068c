"""Answers that were paid for once, served again: the exact cache.

`ExactCache` loads SQLAlchemy (100-150 ms), so it is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmthrift_core.cache.flight import Flight, Flights, Waiting
from llmthrift_core.cache.keys import UncacheableError, canonical_json, digest
from llmthrift_core.cache.policy import CachePolicy

if TYPE_CHECKING:
    from llmthrift_core.cache.entry import Entry as Entry
    from llmthrift_core.cache.entry import EntryView as EntryView
    from llmthrift_core.cache.exact import ExactCache as ExactCache

__all__ = [
    "CachePolicy",
    "Entry",
    "EntryView",
    "ExactCache",
    "Flight",
    "Flights",
    "UncacheableError",
    "Waiting",
    "canonical_json",
    "digest",
]


def __getattr__(name: str) -> Any:
    if name == "ExactCache":
        from llmthrift_core.cache.exact import ExactCache

        return ExactCache
    if name in ("Entry", "EntryView"):
        from llmthrift_core.cache import entry

        return getattr(entry, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

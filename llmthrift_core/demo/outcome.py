"""The outcome of one run of a demonstration, as the ledger and the answers tell it."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from llmthrift_core.demo.workload import WorkItem
from llmthrift_core.thrift import Thrift

if TYPE_CHECKING:
    from llmthrift_core.cache.semantic.cache import SemanticCache
    from llmthrift_core.prompts import Shorten

CHEAP: Final = "gpt-4o-mini"
STRONG: Final = "gpt-4o"
# Time to the answer, a twentieth of what these models typically take, so that the demonstration is quick.
LATENCY_SECONDS: Final = {CHEAP: 0.015, STRONG: 0.035}
# For a few hundred requests: `ErrorBound`, the default, has then seen too little to answer anything by meaning, and says so.
SIMILARITY: Final = 0.8
PAGES: Final = 5
"""So many help pages stay in a shorter prompt."""
REPEAT: Final = "repeat"
"""The tag that says whether a request's words had arrived before."""


@dataclass(slots=True)
class Outcome:
    """One run over the workload, as the ledger and the answers tell it. Amounts are US dollars, latency seconds."""

    name: str
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    saved_by_cache_usd: Decimal = Decimal(0)
    saved_by_routing_usd: Decimal = Decimal(0)
    saved_by_shortening_usd: Decimal = Decimal(0)
    cache_hits: int = 0
    semantic_hits: int = 0
    belief: str = ""
    models: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    wrong: list[WorkItem] = field(default_factory=list)

    @property
    def hit_rate(self) -> float:
        """Share of calls that the cache answered."""
        return self.cache_hits / self.calls if self.calls else 0.0

    @property
    def median_latency(self) -> float:
        """Seconds until an answer was whole."""
        return statistics.median(self.latencies) if self.latencies else 0.0


def answers_by_meaning(thrift: Thrift) -> SemanticCache:
    """The cache of the third run and of the fourth."""
    from llmthrift_core.cache import FixedThreshold, SemanticCache

    return SemanticCache(thrift, policy=FixedThreshold(SIMILARITY))


def shorter_prompts() -> Shorten:
    """What makes the prompts of the fourth run shorter: the steps that lose nothing, and the pages nearest to the question."""
    from llmthrift_core.prompts import Shorten, steps

    return Shorten([*Shorten.lossless().steps, steps.Documents(k=PAGES)])


def with_answers(outcome: Outcome, thrift: Thrift, answers: SemanticCache) -> Outcome:
    """The outcome with what was answered by meaning, and what `ErrorBound` makes of these questions."""
    from llmthrift_core.cache import SemanticCache

    outcome.semantic_hits = answers.stats()["semantic_hits"]
    # What was learned is kept apart from the policy, so that another one can be asked.
    outcome.belief = SemanticCache(thrift, answers.embedder).belief().text
    return with_ledger(outcome, thrift)


def with_ledger(outcome: Outcome, thrift: Thrift) -> Outcome:
    """The outcome with what the ledger says of it."""
    for row in thrift.report(by="model").to_dicts():
        outcome.calls += row["requests"]
        outcome.input_tokens += row["input_tokens"]
        outcome.output_tokens += row["output_tokens"]
        outcome.cost_usd += row["cost_usd"]
        outcome.saved_by_cache_usd += row["cache_saved_usd"]
        outcome.saved_by_routing_usd += row["routing_saved_usd"]
        outcome.saved_by_shortening_usd += row["shortening_saved_usd"]
        outcome.cache_hits += row["cache_hits"]
        outcome.models[row["model"]] += row["requests"] - row["cache_hits"]
    return outcome

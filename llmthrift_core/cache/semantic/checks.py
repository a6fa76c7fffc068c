"""Shadow checks: what they may cost, and what is learned from them and from misses."""

from __future__ import annotations

from typing import Any

from llmthrift_core.cache.semantic.answer import Made
from llmthrift_core.cache.semantic.counts import CacheCounts
from llmthrift_core.cache.semantic.evidence import Evidence
from llmthrift_core.cache.semantic.policy import Observation
from llmthrift_core.cache.semantic.search import Asked
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.host import Host


class Checks:
    """What answers teach, within a daily amount of money for those that only check.

    Args:
        most_usd_per_day: in a UTC day, in all processes; None is no limit.

    Raises:
        ConfigurationError: not an amount of money.
    """

    def __init__(self, home: Host, counts: CacheCounts, evidence: Evidence, most_usd_per_day: Any) -> None:
        self._home = home
        self._counts = counts
        self._evidence = evidence
        self._most_nano_usd = _nano_usd(most_usd_per_day)
        self.now_us, self.catch_up = home.now_us, evidence.catch_up

    def are_affordable(self) -> bool:
        """Whether a hit may be passed over to be checked."""
        return self._most_nano_usd is None or self._counts.shadow_nano_usd(self.now_us()) < self._most_nano_usd

    def learn(self, asked: Asked, right: bool, made: Made) -> None:
        """A model answered a question that had a candidate. Raises StorageError."""
        now_us = self.now_us()
        decision, candidate = asked.decision, asked.candidate
        assert candidate is not None  # noqa: S101 - only a candidate can be right or wrong
        if decision is None or decision.verdict != "shadow":
            self._evidence.learn(Observation(candidate.features, right, 1.0, was_checked=False), now_us)
            return
        self._evidence.learn(Observation(candidate.features, right, 1 / decision.propensity, was_checked=True), now_us)
        priced = self._home.prices.price(made.usage, made.model, made.provider, now_us)
        self._counts.add(shadow_nano_usd=0 if priced is None else priced.nano_usd)


def _nano_usd(usd: Any) -> int | None:
    if usd is None:
        return None
    if isinstance(usd, bool) or not isinstance(usd, int | float) or not 0 <= usd < 1e9:
        raise ConfigurationError(f"max_shadow_usd_per_day must be an amount in US dollars, or None for no limit, not {usd!r}")
    return round(usd * 1e9)

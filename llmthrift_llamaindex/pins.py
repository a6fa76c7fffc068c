"""Which tier an agent's run keeps: one model for a loop of tools, since the next call continues what the last one said."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from llmthrift_core.background.forks import ForkedLock
from llmthrift_core.routing import RouteDecision, RouteRequest, RoutingPolicy, Tiers

_MOST_RUNS: Final = 10_000


class Pins:
    """The tiers of the runs under way, the latest in memory. Safe to share between threads."""

    def __init__(self) -> None:
        self._tiers: OrderedDict[str, str] = OrderedDict()
        self._lock = ForkedLock()

    def of(self, run: str) -> str | None:
        """The tier that a run keeps; None before its first answer."""
        return self._tiers.get(run)

    def keep(self, run: str, tier: str) -> None:
        """A tier has answered in a run."""
        with self._lock:
            self._tiers[run] = tier
            self._tiers.move_to_end(run)
            if len(self._tiers) > _MOST_RUNS:
                self._tiers.popitem(last=False)


class Pinned(RoutingPolicy):
    """Stands in the place of a policy, to keep a tier which an earlier call of the run has taken. Its answers are not reviewed."""

    def __init__(self, tier: str, policy: RoutingPolicy) -> None:
        self._tier = tier
        self._policy = policy

    @property
    def version(self) -> str:
        """The policy's that chose."""
        return self._policy.version

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        """The kept tier; the strongest allowed one, should a caller's limit exclude it."""
        if self._tier in tiers.names:
            return RouteDecision(self._tier, "kept for the run of an agent")
        return RouteDecision(tiers.names[-1], f"{self._tier} is kept for the run, and not allowed to this call")

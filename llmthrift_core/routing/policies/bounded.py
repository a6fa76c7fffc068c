"""A policy within bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from llmthrift_core.routing.decision import RouteDecision
from llmthrift_core.routing.policies.around import PolicyAround
from llmthrift_core.routing.policies.bounds import Bounds
from llmthrift_core.routing.request import RouteRequest
from llmthrift_core.routing.tiers import Tiers


class Bounded(PolicyAround):
    """A policy that sees only the tiers within the bounds. Adapters hold fallbacks and downgrades to the same bounds.

    Args:
        policy: decides among the tiers that are left: whatever a router takes as its policy.
        bounds: the bounds.
    """

    def __init__(self, policy: Any, bounds: Bounds) -> None:
        super().__init__(policy)
        self.bounds = bounds

    @property
    def version(self) -> str:
        """The policy's version, followed by a hash of the bounds."""
        return self._version_with(repr(self.bounds))

    def allowed(self, request: RouteRequest, tiers: Tiers) -> Tiers:
        """The tiers within the bounds, and within those of the inner policy.

        Raises:
            NoModelQualifiesError: there are none.
        """
        return super().allowed(request, self.bounds.allowed(request, tiers))

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        """The policy's choice among the tiers within the bounds.

        Raises:
            NoModelQualifiesError: there are none.
        """
        left = self.bounds.allowed(request, tiers)
        decision = self.policy.decide(request, left)
        if left is tiers:
            return decision
        return replace(decision, rejected=decision.rejected + self.bounds.rejected(request, tiers))

"""A policy within bounds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmthrift_core.routing.bounds import Bounds
from llmthrift_core.routing.decision import Review, RouteDecision
from llmthrift_core.routing.policy import RoutingPolicy, as_policy, holds_streams, in_force, review, reviews_wait, waits
from llmthrift_core.routing.request import RouteRequest
from llmthrift_core.routing.tiers import Tiers


class Bounded:
    """A policy that sees only the tiers within the bounds. Adapters hold fallbacks and downgrades to the same bounds.

    Args:
        policy: decides among the tiers that are left: whatever a router takes as its policy.
        bounds: the bounds.
    """

    def __init__(self, policy: Any, bounds: Bounds) -> None:
        self.policy: RoutingPolicy = as_policy(policy)
        self.bounds = bounds

    @property
    def version(self) -> str:
        """The policy's version, followed by a hash of the bounds."""
        return f"{self.policy.version}-{hashlib.blake2b(repr(self.bounds).encode(), digest_size=6).hexdigest()}"

    def in_force(self) -> Bounded:
        """With the inner policy as one call uses it."""
        policy = in_force(self.policy)
        return self if policy is self.policy else Bounded(policy, self.bounds)

    @property
    def waits(self) -> bool:
        """Whether the inner policy may wait for a model."""
        return waits(self.policy)

    @property
    def reviews_wait(self) -> bool:
        """As the inner policy."""
        return reviews_wait(self.policy)

    @property
    def holds_streams(self) -> bool:
        """As the inner policy."""
        return holds_streams(self.policy)

    def review(
        self, request: RouteRequest, tier: str, answer: str, tiers: Tiers, context: Mapping[str, Any] | None = None
    ) -> Review | None:
        """As the inner policy: what it thinks of the answer of a tier."""
        return review(self.policy, request, tier, answer, tiers, context)

    def allowed(self, request: RouteRequest, tiers: Tiers) -> Tiers:
        """The tiers within the bounds.

        Raises:
            NoModelQualifiesError: there are none.
        """
        return self.bounds.allowed(request, tiers)

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

"""A policy around another one."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

from llmthrift_core.routing.decision import Review, RouteDecision
from llmthrift_core.routing.policy import RoutingPolicy, as_policy, fingerprint
from llmthrift_core.routing.request import RouteRequest
from llmthrift_core.routing.tiers import Tiers


class PolicyAround(RoutingPolicy):
    """Does all that the policy inside does. Subclasses change what they are for, and say so in their `version`.

    Attributes:
        policy: the one inside: made of whatever a router takes as its policy.
    """

    def __init__(self, policy: Any) -> None:
        self.policy: RoutingPolicy = as_policy(policy)

    def in_force(self) -> RoutingPolicy:
        """With the inner policy as one call uses it. Copies share what they remember: it must not be replaced, only changed."""
        policy = self.policy.in_force()
        if policy is self.policy:
            return self
        pinned = copy(self)
        pinned.policy = policy
        return pinned

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        return self.policy.decide(request, tiers)

    @property
    def waits(self) -> bool:
        return self.policy.waits

    def allowed(self, request: RouteRequest, tiers: Tiers) -> Tiers:
        return self.policy.allowed(request, tiers)

    @property
    def reviews(self) -> bool:
        return self.policy.reviews

    def review(
        self, request: RouteRequest, tier: str, answer: str, tiers: Tiers, context: Mapping[str, Any] | None = None
    ) -> Review | None:
        return self.policy.review(request, tier, answer, tiers, context)

    @property
    def reviews_wait(self) -> bool:
        return self.policy.reviews_wait

    @property
    def holds_streams(self) -> bool:
        return self.policy.holds_streams

    def _version_with(self, options: str) -> str:
        """The inner policy's version, followed by a hash of the options of this one."""
        return f"{self.policy.version}-{fingerprint(options)}"

"""A learned router as a policy: its models are the tiers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from llmthrift_core.routing.policy import RoutingPolicy
from llmthrift_core.routing.types import RouteDecision, RouteRequest, Tiers

if TYPE_CHECKING:
    from llmthrift_core.routing.learned.router import LearnedRouter

logger = logging.getLogger("llmthrift")


class LearnedPolicy(RoutingPolicy):
    """Decides by what a `LearnedRouter` learned. The names of its models are the names of the tiers.

    The router sees the question of the last user message, which is what its examples must hold, and the call site of the attribution,
    which stands for the system prompt. Where the router knows none of the allowed tiers, the strongest of them is used, which is logged
    once.

    A router can be fitted again while it is in use; `version` then changes, and with it the cache key of the calls that begin.

    >>> from llmthrift_core.routing import LearnedPolicy, LearnedRouter, RouteRequest, Tiers
    >>> policy = LearnedPolicy(LearnedRouter(models={"weak": 0.6, "strong": 12.0}))
    >>> policy.decide(RouteRequest("What is 2 + 2?"), Tiers(("weak", "strong"))).tier
    'strong'
    """

    def __init__(self, router: LearnedRouter) -> None:
        self.router = router
        self._warned = False

    @property
    def version(self) -> str:
        """The router's: a hash of its models, options and of what it learned."""
        return self.router.version

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        """The router's choice among the allowed tiers."""
        if not set(tiers.names).intersection(self.router.models):
            if not self._warned:
                self._warned = True
                logger.warning(
                    "the learned router knows the models %s, none of the tiers %s; the strongest allowed tier is used",
                    ", ".join(self.router.models),
                    ", ".join(tiers.names),
                )
            return RouteDecision(tiers.names[-1], "the learned router knows none of the allowed tiers; the strongest")
        return self.router.decide(request.question, request.attribution.call_site, allowed=tiers.names)

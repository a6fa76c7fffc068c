"""A cascade as a policy: its models are the tiers, the cheapest answers first."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from llmthrift_core.background.forks import ForkedLock
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing.cascades.escalation import escalation_alert
from llmthrift_core.routing.policies.rules import PolicyAround
from llmthrift_core.routing.policy import RoutingPolicy
from llmthrift_core.routing.types import Review, RouteDecision, RouteRequest, Tiers

if TYPE_CHECKING:
    from llmthrift_core.routing.cascades.cascade import Cascade

logger = logging.getLogger("llmthrift")


class CascadePolicy(PolicyAround):
    """Asks the cheapest tier of a `Cascade`, and the next one where its answer is not good enough. Every answer is billed to the call.

    Answers that call tools are kept, unless a tool was not offered or its arguments are invalid. Where no budget has room for a stronger
    model, or the stronger ones are down, the answer is kept. A warning is logged, once, when more than 30% of 100 or more answers were
    escalated.

    Args:
        cascade: the names of its models are the names of the tiers.
        stream: "hold" gives a stream to its reader once its answer is accepted; "pass" gives it at once, and only notes in the ledger
            what the checks say.
        first: a policy that chooses the tier to begin with, as `ChatRouter(policy=...)` takes it; None begins with the cheapest.

    Raises:
        ConfigurationError: an option that cannot be used.

    >>> from llmthrift_core.routing import Cascade, CascadePolicy, RouteRequest, Tiers
    >>> policy = CascadePolicy(Cascade(["weak", "strong"]))
    >>> tiers, request = Tiers(("weak", "strong")), RouteRequest("What is 12 * 12?")
    >>> policy.decide(request, tiers).tier
    'weak'
    >>> policy.review(request, "weak", "I'm sorry, but I cannot help with that.", tiers).next.tier
    'strong'
    """

    def __init__(self, cascade: Cascade, *, stream: Literal["hold", "pass"] = "hold", first: Any = None) -> None:
        if stream not in ("hold", "pass"):
            raise ConfigurationError(f'stream must be "hold" or "pass", not {stream!r}')
        super().__init__(CheapestFirst(cascade) if first is None else first)
        self.cascade = cascade
        self._stream = stream
        self._reviewed = _Reviewed()

    @property
    def version(self) -> str:
        """The cascade's: a hash of its models, checks, options and of what it learned; after that of the first policy, where it has one."""
        return self.cascade.version if isinstance(self.policy, CheapestFirst) else f"{self.policy.version}-{self.cascade.version}"

    @property
    def holds_streams(self) -> bool:
        """Whether `stream` is "hold"."""
        return self._stream == "hold"

    @property
    def reviews(self) -> bool:
        return True

    @property
    def reviews_wait(self) -> bool:
        """Whether a verifier asks a model."""
        return self.cascade.asks_models

    @property
    def escalation_rate(self) -> float | None:
        """The share of this process's answers that were not good enough; None before the first."""
        return self._reviewed.rate

    def review(
        self, request: RouteRequest, tier: str, answer: str, tiers: Tiers, context: Mapping[str, Any] | None = None
    ) -> Review | None:
        """The confidence in the answer of a tier and, where it is not good enough, the tier to ask next; None of the last tier, whose
        answer is kept unseen.

        Args:
            answer: the whole text.
            context: what else is known of the answer; see `AnswerContext`.
        """
        known = known_to(self.cascade, tiers)
        if tier not in known or tier == known[-1]:
            return None
        verdict = self.cascade.verdict(request.question, answer, model=tier, context=context)
        self._reviewed.note(escalated=not verdict.is_kept)
        if verdict.is_kept:
            return Review(verdict.confidence)
        following = known[known.index(tier) + 1]
        decision = RouteDecision(following, verdict.reason, score=verdict.confidence, rejected=((tier, verdict.reason),))
        return Review(verdict.confidence, decision)


class CheapestFirst(RoutingPolicy):
    """Begins with the cheapest allowed model of a cascade."""

    def __init__(self, cascade: Cascade) -> None:
        self._cascade = cascade

    @property
    def version(self) -> str:
        return self._cascade.version

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        known = known_to(self._cascade, tiers)
        if not known:
            return RouteDecision(tiers.names[-1], "the cascade knows none of the allowed tiers; the strongest")
        return RouteDecision(known[0], "a cascade begins with its cheapest model")


def known_to(cascade: Cascade, tiers: Tiers) -> list[str]:
    """The allowed models of a cascade, in its order."""
    return [name for name in cascade.models if name in tiers.names]


class _Reviewed:
    """How many answers this process reviewed, and escalated. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = ForkedLock()
        self._answers = self._escalated = 0
        self._warned = False

    @property
    def rate(self) -> float | None:
        return self._escalated / self._answers if self._answers else None

    def note(self, *, escalated: bool) -> None:
        """Count an answer; warn once where too many were escalated."""
        with self._lock:
            self._answers += 1
            self._escalated += escalated
            alert = None if self._warned else escalation_alert("a cascade", answers=self._answers, rate=self.rate)
            self._warned = self._warned or alert is not None
        if alert is not None:
            logger.warning(alert)

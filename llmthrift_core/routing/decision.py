"""What a policy decided, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Review:
    """What a policy thinks of an answer.

    Attributes:
        confidence: that the answer is good enough, 0 to 1; None where the policy has no estimate.
        next: the tier to ask next, because it is not good enough; None where it is kept.
    """

    confidence: float | None
    next: RouteDecision | None = None


@dataclass(frozen=True, slots=True)
class RouteDecision:
    """The outcome of routing one request.

    Attributes:
        tier: the chosen tier; of a policy that chooses among models, the chosen model.
        reason: why, in words that fit a ledger row.
        score: the policy's score of the request, where it has one.
        rejected: the other tiers that were considered, each with why not.
        model: the chosen model; None of a policy that knows tiers only.
        expected_quality: what the policy expects of the model's answer, 0 to 1; None where it has no estimate.
        expected_cost_usd: what the policy expects the call to cost, in US dollars; None where it has no estimate.
        qualities: what the policy expects of each tier's answer, 0 to 1, as far as it has estimates.
        explored: the tier was not chosen for this request's sake, but to learn about it.
    """

    tier: str
    reason: str
    score: float | None = None
    rejected: tuple[tuple[str, str], ...] = ()
    model: str | None = None
    expected_quality: float | None = None
    expected_cost_usd: float | None = None
    qualities: Mapping[str, float] = field(default_factory=dict)
    explored: bool = False

    def instead(self, tier: str, why: str) -> RouteDecision:
        """The decision for another tier, because the chosen one cannot be had."""
        return RouteDecision(
            tier,
            f"{self.reason}; {why}",
            rejected=(*self.rejected, (self.tier, why)),
            model=None if self.model is None else tier,
            expected_quality=self.qualities.get(tier),
            qualities=self.qualities,
        )

"""What a policy decided, and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RouteDecision:
    """The outcome of routing one request.

    Attributes:
        tier: the chosen tier.
        reason: why, in words that fit a ledger row.
        score: the policy's score of the request, where it has one.
        rejected: the other tiers that were considered, each with why not.
    """

    tier: str
    reason: str
    score: float | None = None
    rejected: tuple[tuple[str, str], ...] = ()

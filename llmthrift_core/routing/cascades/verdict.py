"""What a cascade says of an answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an answer is kept, and why.

    Attributes:
        is_kept: or the next model is to be asked.
        confidence: what the checks that measure give, 0 to 1; None where they were not asked.
        reason: in words that fit a ledger row. It quotes nothing of the answer.
    """

    is_kept: bool
    confidence: float | None
    reason: str

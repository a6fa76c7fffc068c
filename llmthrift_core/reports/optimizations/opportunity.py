"""`Opportunity`: one way to save, with an estimate, where it comes from, and the lines of code that take it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

from llmthrift_core.money import to_usd

Basis = Literal["ledger", "rule of thumb"]

MOST_EVIDENCE: Final = 10
_Z: Final = 1.2816  # of a two-sided interval of 80%


@dataclass(frozen=True, slots=True)
class Opportunity:
    """One way to save.

    Attributes:
        kind: such as "premium_models"; `OptimizationReport` lists all.
        description: what was found, in numbers.
        potential_savings_usd: what could be saved in a period like this one.
        low_usd, high_usd: where it lies in 8 of 10 cases as far as the ledger tells; of a rule of thumb its usual range.
        evidence: request ids of calls that show it, most telling first, at most ten.
        how: the lines of code that take it.
        basis: "ledger": from what the calls were and cost; "rule of thumb": nothing better is known.
        assumed: what the estimate takes for granted.
    """

    kind: str
    description: str
    potential_savings_usd: Decimal
    low_usd: Decimal
    high_usd: Decimal
    evidence: tuple[str, ...]
    how: str
    basis: Basis
    assumed: str

    def to_dict(self) -> dict[str, Any]:
        """Every attribute by name."""
        return {name: list(value) if isinstance(value := getattr(self, name), tuple) else value for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Estimate:
    """An amount with its range, in nano-USD."""

    nano_usd: float
    low: float
    high: float

    def times(self, factor: float) -> Estimate:
        """The amount and its range, multiplied."""
        return Estimate(self.nano_usd * factor, self.low * factor, self.high * factor)

    def usd(self) -> tuple[Decimal, Decimal, Decimal]:
        """Amount, low and high in dollars, never below zero and never out of order."""
        low, middle, high = (to_usd(max(0, round(amount))) for amount in (self.low, self.nano_usd, self.high))
        return middle, min(low, middle), max(middle, high)


def sum_of_sample(values: Sequence[float], *, sampled: int, of: int) -> Estimate:
    """The sum over all calls of what a sample saves, with an interval for a period like this one.

    Calls are taken as drawn from those that could come: the sum of `of` of them varies with its values, also where all were looked at.

    Args:
        values: what calls of the sample save; those that save nothing are left out.
        sampled: how many calls were looked at.
        of: how many calls there are.
    """
    if not sampled:
        return Estimate(0.0, 0.0, 0.0)
    total = sum(values)
    mean = total / sampled
    variance = max(0.0, sum(value * value for value in values) / sampled - mean * mean)
    # The mean of the sample is uncertain, and so is a new period of `of` calls.
    half = _Z * math.sqrt(variance * of * (of / sampled + 1))
    return Estimate(mean * of, mean * of - half, mean * of + half)


def opportunity(
    kind: str, description: str, estimate: Estimate, *, evidence: Sequence[str], how: str, basis: Basis, assumed: str
) -> Opportunity:
    """An opportunity from an estimate in nano-USD."""
    middle, low, high = estimate.usd()
    return Opportunity(kind, description, middle, low, high, tuple(evidence[:MOST_EVIDENCE]), how, basis, assumed)

"""Trade-offs of routers: what each setting saves and loses, and the settings of several routers that share one promise of quality."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from llmthrift_core.routing.learned.calibration import MARGIN, WEIGHTS, chosen, surplus
from llmthrift_core.routing.learned.quality_model import FEWEST_LABELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_PRICES_OF_QUALITY: Final = 200
"""So many prices of quality are tried, evenly spread in their logarithms."""


@dataclass(frozen=True, slots=True)
class TradeOff:
    """What a setting of a router does, a call, against the model that answers without it.

    Attributes:
        setting: as the router takes it: a weight of cost, or the share of answers that a cascade escalates.
        saved_usd: at list prices.
        lost: of quality, 0 to 1; below 0 where answers get better.
        standard_error: of `lost`.
    """

    setting: float
    saved_usd: float
    lost: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class Pool:
    """The calls behind one router.

    Attributes:
        calls: how many there are, in the same period for all pools.
        choices: of its router, on prompts like these calls.
    """

    calls: float
    choices: Sequence[TradeOff]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The prompts that a learned router's weight of cost decides on.

    Attributes:
        predicted: by models that had not seen the row; shape (rows, models).
        observed: labels, NaN where there is none; same shape.
        usd: what each model would cost, same shape.
        reference: the column of the default model.
        spread_usd: what `usd` is divided by before it is weighted.
        share: of all prompts. The others are of new call sites, which the default model answers, or of none.
        kept_elsewhere: the quality that prompts without a call site may lose, by the router's own promise, a prompt of all.
    """

    predicted: Floats
    observed: Floats
    usd: Floats
    reference: int
    spread_usd: float
    share: float = 1.0
    kept_elsewhere: float = 0.0

    @property
    def quality(self) -> float:
        """The mean of the default model's answers; 1 where none was judged."""
        known = self.observed[:, self.reference]
        return 1.0 if np.isnan(known).all() else float(np.nanmean(known))

    def trade_offs(self) -> list[TradeOff]:
        """Of all weights of cost whose choices differ. A choice counts where 20 prompts have a judged answer of another model than the
        default, which it sends there."""
        rows = np.arange(len(self.usd))
        found: list[TradeOff] = []
        last = np.full(len(rows), -1)
        for weight in WEIGHTS:
            choice = chosen(self.predicted, self.usd / self.spread_usd, weight)
            if (choice == last).all():
                continue
            last = choice
            elsewhere = choice != self.reference
            if (elsewhere & ~np.isnan(self.observed[rows, choice])).sum() < FEWEST_LABELS:
                continue
            better = surplus(self.predicted, self.observed, choice, self.reference, 1.0)
            saved = float((self.usd[:, self.reference] - self.usd[rows, choice]).mean())
            lost = self.kept_elsewhere - self.share * better.mean
            found.append(TradeOff(weight, self.share * saved, lost, self.share * better.standard_error))
        return found


@dataclass(frozen=True, slots=True)
class CascadeEvidence:
    """The answers that a cascade's thresholds decide on.

    Attributes:
        probability: out of sample, that an answer may be kept; shape (answers,).
        kept, escalated: the quality of the answer and of the one that escalation gives, same shape.
        tier: of each answer.
        usd: of an answer of each model, the last one included.
    """

    probability: Floats
    kept: Floats
    escalated: Floats
    tier: NDArray[np.intp]
    usd: Floats

    @property
    def quality(self) -> float:
        """The mean of the last model's answers."""
        return float(self.escalated.mean())

    def thresholds(self, share: float) -> tuple[float, ...]:
        """From which probability each model's answers are kept, where so large a share of them is escalated: 0 where none is,
        infinite where all are, and for a model with fewer than 20."""
        found = []
        for tier in range(len(self.usd) - 1):
            own = np.sort(self.probability[self.tier == tier])
            place = math.floor(share * len(own))
            least = 0.0 if place == 0 else float(own[place]) if place < len(own) else math.inf
            found.append(least if len(own) >= FEWEST_LABELS else math.inf)
        return tuple(found)

    def trade_offs(self) -> list[TradeOff]:
        """Of escalating nothing, and a twentieth more each time. Kept answers count as good as their probability says or as they were
        judged, whichever is less."""
        found: list[TradeOff] = []
        for share in np.arange(20) / 20:
            reached, lost, variance, spent = 1.0, 0.0, 0.0, 0.0
            counted = 0
            for tier, threshold in enumerate(self.thresholds(float(share))):
                own = self.tier == tier
                keeps = self.probability[own] >= threshold
                if not keeps.any():
                    continue
                losses = np.where(keeps, (self.escalated - self.kept)[own], 0.0)
                expected = np.where(keeps, (self.escalated - self.probability)[own], 0.0)
                spent += reached * float(self.usd[tier])
                lost += reached * max(float(losses.mean()), float(expected.mean()))
                variance += reached**2 * float(losses.var()) / len(losses)
                reached *= 1 - float(keeps.mean())
                counted += int(keeps.sum())
            if counted >= FEWEST_LABELS:
                saved = float(self.usd[-1]) * (1 - reached) - spent
                found.append(TradeOff(float(share), saved, lost, math.sqrt(variance)))
        return found


def most_saved(pools: Mapping[str, Pool], allowed: float) -> dict[str, TradeOff | None]:
    """For each pool the setting with which all together save most while they lose no more quality than is allowed, by a margin of one
    standard error of the sum; None: the model without routing answers.

    Quality is worth the same number of dollars in all pools, so the tolerance goes where it buys most.

    Args:
        allowed: quality times calls.
    """
    none: dict[str, TradeOff | None] = dict.fromkeys(pools)
    best = none
    worth = [each.saved_usd / each.lost for pool in pools.values() for each in pool.choices if each.saved_usd > 0 and each.lost > 0]
    prices = np.geomspace(min(worth) / 2, max(worth) * 2, _PRICES_OF_QUALITY) if worth else np.array([1.0])
    for price in prices:
        taken = {
            name: max((None, *pool.choices), key=lambda each: 0.0 if each is None else each.saved_usd - float(price) * max(each.lost, 0.0))
            for name, pool in pools.items()
        }
        if _fits(pools, taken, allowed) and _saved(pools, taken) > _saved(pools, best):
            best = taken
    while better := _one_step(pools, best, allowed):  # what the price leaves over, since settings are few
        best = better
    return best


def _one_step(pools: Mapping[str, Pool], taken: dict[str, TradeOff | None], allowed: float) -> dict[str, TradeOff | None] | None:
    tried = ({**taken, name: each} for name, pool in pools.items() for each in pool.choices)
    found = max((each for each in tried if _fits(pools, each, allowed)), key=lambda each: _saved(pools, each), default=None)
    return found if found is not None and _saved(pools, found) > _saved(pools, taken) else None


def _fits(pools: Mapping[str, Pool], taken: Mapping[str, TradeOff | None], allowed: float) -> bool:
    used = [(pools[name].calls, each) for name, each in taken.items() if each is not None]
    error = math.sqrt(sum((calls * each.standard_error) ** 2 for calls, each in used))
    return sum(calls * each.lost for calls, each in used) + MARGIN * error <= allowed


def _saved(pools: Mapping[str, Pool], taken: Mapping[str, TradeOff | None]) -> float:
    return sum(pools[name].calls * each.saved_usd for name, each in taken.items() if each is not None)

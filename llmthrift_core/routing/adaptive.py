"""Choosing by what answers turned out to be worth and to cost lately, with a little exploration."""

from __future__ import annotations

import hashlib
import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing.decision import RouteDecision
from llmthrift_core.routing.request import RouteRequest
from llmthrift_core.routing.tiers import Tiers

FEWEST_JUDGED: Final = 20.0
_DAY_SECONDS: Final = 86_400.0


class ModelScore(Protocol):
    """How one tier's model did lately.

    Attributes:
        quality: 0 to 1; a mean in which older answers count less, so that a model that got worse is noticed.
        weight: how many equally weighted answers that mean is worth.
        cost_usd: of a call, in US dollars; None is not known.
    """

    @property
    def quality(self) -> float: ...

    @property
    def weight(self) -> float: ...

    @property
    def cost_usd(self) -> float | None: ...


class ModelScores(Protocol):
    """Where scores come from: the ledger's feedback, for one call site or for all (None). None where there is no answer."""

    def score(self, tier: str, call_site: str | None) -> ModelScore | None: ...


@dataclass(frozen=True, slots=True)
class _Known:
    quality: float
    weight: float
    cost_usd: float | None


@dataclass(slots=True)
class _Exploration:
    """What exploring has cost on a day, and the chance that decides when to explore."""

    chance: random.Random
    lock: threading.Lock = field(default_factory=threading.Lock)
    day: int = -1
    spent_usd: float = 0.0


class Adaptive:
    """The tier with the best `quality_weight` * quality - `cost_weight` * cost, by the scores of the call site, or of all call sites where
    those are few.

    Cost counts as a share of the most expensive allowed tier's. Of a model's quality half a standard deviation of a figure between 0 and 1
    is taken off for the root of the answers' number, the largest standard error that it can have; not of the last tier's, which is the
    reference: without enough answers, that one counts as perfect, and others are not chosen but for exploring.

    Exploring sends a share of the calls to the tier with the fewest answers, the cheapest of several, as long as the expected cost of all
    explored calls of a UTC day stays within the limit. The limit is for one process.

    Args:
        scores: how models did lately.
        quality_weight, cost_weight: how much a perfect answer, and the most expensive call, count.
        explore_usd_per_day: at most so many US dollars for explored calls; 0 does not explore.
        explore_share: of the calls.
        costs_usd: by tier, what a call costs as long as the scores do not know it. A tier whose cost is not known is not explored.
        seed: of the chance to explore; None differs from process to process.
        clock: seconds since the epoch; for tests.

    Raises:
        ConfigurationError: an option out of its range.
    """

    def __init__(
        self,
        scores: ModelScores,
        *,
        quality_weight: float = 1.0,
        cost_weight: float = 0.1,
        explore_usd_per_day: float = 0.0,
        explore_share: float = 0.05,
        costs_usd: Mapping[str, float] | None = None,
        seed: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        for name, value, most in (
            ("quality_weight", quality_weight, math.inf),
            ("cost_weight", cost_weight, math.inf),
            ("explore_usd_per_day", explore_usd_per_day, math.inf),
            ("explore_share", explore_share, 1.0),
            *((f"costs_usd[{tier!r}]", usd, math.inf) for tier, usd in (costs_usd or {}).items()),
        ):
            if not (isinstance(value, int | float) and 0 <= value <= most and math.isfinite(value)):
                raise ConfigurationError(f"{name} must be a number from 0 {'to 1' if most == 1 else 'on'}, not {value!r}")
        self._scores = scores
        self._quality_weight = quality_weight
        self._cost_weight = cost_weight
        self._explore_usd_per_day = explore_usd_per_day
        self._explore_share = explore_share
        self._costs_usd = dict(costs_usd or {})
        self._exploration = _Exploration(random.Random(seed))  # noqa: S311 - not for secrets
        self._clock = clock

    @property
    def version(self) -> str:
        """Hash of the options; the scores change from call to call."""
        options = (self._quality_weight, self._cost_weight, self._explore_usd_per_day, self._explore_share, sorted(self._costs_usd.items()))
        return hashlib.blake2b(repr(options).encode(), digest_size=6).hexdigest()

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        """The tier of best worth, or one to learn about."""
        known = {name: self._known(name, request.attribution.call_site) for name in tiers.names}
        reference = tiers.names[-1]
        costs = {name: each.cost_usd for name, each in known.items() if each.cost_usd is not None}
        highest = max(costs.values(), default=0.0)
        worth: dict[str, float] = {}
        for name, each in known.items():
            enough = each.weight >= FEWEST_JUDGED
            if not enough and name != reference:
                continue
            quality = (each.quality if enough else 1.0) if name == reference else each.quality - 0.5 / math.sqrt(each.weight)
            # A cost that is not known counts as the highest.
            share = costs.get(name, highest) / highest if highest > 0 else 0.0
            worth[name] = self._quality_weight * quality - self._cost_weight * share
        best = max(worth, key=lambda name: worth[name])
        explored = self._explored(best, known)
        chosen = explored or best
        reason = (
            f"explored: {known[chosen].weight:.0f} answers judged"
            if explored
            else f"worth {worth[best]:.2f}: quality {known[best].quality:.2f} of {known[best].weight:.0f} judged answers"
            if known[best].weight >= FEWEST_JUDGED
            else "the strongest; too few judged answers"
        )
        return RouteDecision(
            chosen,
            reason,
            score=worth.get(chosen),
            rejected=tuple(
                (name, f"worth {worth[name]:.2f}" if name in worth else f"only {known[name].weight:.0f} judged answers")
                for name in tiers.names
                if name != chosen
            ),
            expected_quality=known[chosen].quality if known[chosen].weight > 0 else None,
            expected_cost_usd=known[chosen].cost_usd,
            qualities={name: each.quality for name, each in known.items() if each.weight >= FEWEST_JUDGED},
        )

    def _known(self, tier: str, call_site: str | None) -> _Known:
        found = _usable(self._scores.score(tier, call_site)) if call_site is not None else None
        if found is None or found.weight < FEWEST_JUDGED:
            found = _usable(self._scores.score(tier, None)) or found
        if found is None:
            return _Known(0.0, 0.0, self._costs_usd.get(tier))
        return found if found.cost_usd is not None else _Known(found.quality, found.weight, self._costs_usd.get(tier))

    def _explored(self, best: str, known: Mapping[str, _Known]) -> str | None:
        others = [(each.weight, each.cost_usd, name) for name, each in known.items() if name != best and each.cost_usd is not None]
        if not others or self._explore_usd_per_day == 0:
            return None
        exploration = self._exploration
        with exploration.lock:
            if exploration.chance.random() >= self._explore_share:
                return None
            day = int(self._clock() // _DAY_SECONDS)
            if day != exploration.day:
                exploration.day, exploration.spent_usd = day, 0.0
            _, usd, name = min(others)
            if exploration.spent_usd + usd > self._explore_usd_per_day:
                return None
            exploration.spent_usd += usd
            return name


def _usable(score: ModelScore | None) -> _Known | None:
    """A score with figures that can be true; None otherwise."""
    if score is None or not 0 <= score.quality <= 1 or not 0 < score.weight < math.inf:
        return None
    cost = score.cost_usd
    return _Known(score.quality, score.weight, cost if cost is not None and 0 <= cost < math.inf else None)

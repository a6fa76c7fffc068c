"""Recent evidence of judged answers about a model: quality, cost, and how much of that is still fresh."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise
from typing import Final

from llmthrift_core.statistics import RatioSums, exponential_mean, quality_difference

MOST_ANSWERS: Final = 500
"""The last so many answers are kept: their mean is known to 0.04 at worst (95%), and older ones say little of now."""
_RECENT: Final = (25, 50, 100, 200)
"""How many of the last answers are compared with those before, to find a change that is sudden or one that is small."""
_CONFIDENCE: Final = 0.999
"""Of a change. Every reading of the ledger looks again, so that 95% would find changes that are none every other day."""


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """One answer.

    Attributes:
        at_us: when it was given.
        quality: 0 to 1.
        cost_usd: in US dollars; None is not known, or nothing was paid because a cache answered.
    """

    at_us: int
    quality: float
    cost_usd: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ModelScore:
    """How a model did lately.

    Attributes:
        quality: 0 to 1; a mean in which older answers count less.
        judged: how many equally weighted answers that mean is worth. It does not fall with time, as the mean does not change with it.
        fresh: the sum of the answers' weights, each halved for every half-life of its age as of the last answer; while no more are
            judged it falls.
        cost_usd: of a call, in US dollars; None is not known.
        input_tokens, output_tokens: of a call.
    """

    quality: float
    judged: float
    fresh: float
    cost_usd: float | None
    input_tokens: float
    output_tokens: float

    def filled(self, every: ModelScore, judged: float) -> ModelScore:
        """This call site's score, where it has fewer answers than `judged` with the missing ones taken from all call sites."""
        missing = min(judged, every.judged) - self.judged
        if missing <= 0:
            return self
        together = self.judged + missing
        return replace(self, quality=(self.quality * self.judged + every.quality * missing) / together, judged=together)

    def at_least(self, deviations: float) -> float:
        """The quality less so many standard errors."""
        return _limit(self.quality, self.judged, -deviations)

    def at_most(self, deviations: float) -> float:
        """The quality that fresh answers do not rule out, by so many standard errors."""
        return _limit(self.quality, self.fresh, deviations)


class Evidence:
    """The last judged answers of one model, since it last changed.

    A change is found as by ADWIN (Bifet and Gavaldà, "Learning from Time-Changing Data with Adaptive Windowing", SDM 2007): where the
    mean of the last answers differs from that of those before by more than chance allows, those before are forgotten. Means differ by
    Welch's limits of 99.9% here, as everywhere in quality reports, rather than by ADWIN's bound, which needs several times the answers.
    """

    __slots__ = ("_answers", "_since_us")

    def __init__(self) -> None:
        self._answers: dict[int, JudgedAnswer] = {}
        self._since_us = -math.inf

    def put(self, number: int, answer: JudgedAnswer) -> None:
        """An answer, or what is now said of one that was put before.

        Args:
            number: tells answers apart.
        """
        if answer.at_us >= self._since_us:
            self._answers[number] = answer

    def settle(self) -> bool:
        """Forget what is too old, and what was before a change. True if there was a change."""
        ordered = sorted(self._answers.items(), key=lambda each: each[1].at_us)
        kept, changed = ordered[-MOST_ANSWERS:], False
        while (recent := _since_change([answer.quality for _, answer in kept])) < len(kept):
            kept, changed = kept[-recent:], True
        if len(kept) < len(ordered):
            self._since_us = kept[0][1].at_us
        self._answers = dict(kept)
        return changed

    def score(self, half_life_us: float) -> tuple[ModelScore, int] | None:
        """The score as of the last answer, and when that was; None without answers."""
        answers = list(self._answers.values())
        if not answers:
            return None
        newest_us = max(answer.at_us for answer in answers)
        ages = [float(newest_us - answer.at_us) for answer in answers]

        def lately(values: Sequence[float | None]) -> tuple[float, float]:
            return exponential_mean(((age, value) for age, value in zip(ages, values, strict=True) if value is not None), half_life_us)

        quality, judged = lately([answer.quality for answer in answers])
        cost_usd, _ = lately([answer.cost_usd for answer in answers])
        paid = [answer if answer.cost_usd is not None else None for answer in answers]
        return ModelScore(
            quality,
            judged,
            math.fsum(2.0 ** (-age / half_life_us) for age in ages),
            None if math.isnan(cost_usd) else cost_usd,
            lately([None if answer is None else answer.input_tokens for answer in paid])[0],
            lately([None if answer is None else answer.output_tokens for answer in paid])[0],
        ), newest_us


def _limit(quality: float, count: float, deviations: float) -> float:
    """A limit of a mean, by the interval of Agresti and Coull (American Statistician 1998): that of the mean with two right and two wrong
    answers added. Scores between 0 and 1 vary at most as much as right and wrong ones with their mean.

    >>> round(_limit(0.5, 96, 2), 2), round(_limit(1.0, 0, 2), 2)
    (0.6, 1.0)
    """
    middle = (quality * count + 2) / (count + 4)
    return min(1.0, max(0.0, middle + deviations * math.sqrt(middle * (1 - middle) / (count + 4))))


def _since_change(qualities: Sequence[float]) -> int:
    """How many of the last answers came after the largest change that is none by chance; all of them where there was none."""
    count = len(qualities)
    cuts = [count - recent for recent in sorted(_RECENT, reverse=True) if count - recent >= min(_RECENT)]
    parts = [RatioSums() for _ in range(len(cuts) + 1)]
    for part, (start, end) in zip(parts, pairwise((0, *cuts, count)), strict=True):
        for quality in qualities[start:end]:
            part.add(1, quality)
    found, largest = count, 0.0
    for place, cut in enumerate(cuts, start=1):
        change = quality_difference(reduce(RatioSums.plus, parts[place:]), reduce(RatioSums.plus, parts[:place]), _CONFIDENCE)
        if (change.low > 0 or change.high < 0) and abs(change.estimate) > largest:
            found, largest = count - cut, abs(change.estimate)
    return found

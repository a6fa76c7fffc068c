"""Daily amounts, continued: a level with a damped trend and a weekly rhythm, and how far sums of such days were off before.

The point forecast is exponential smoothing with a damped trend (Gardner and McKenzie, "Forecasting Trends in Time Series", Management
Science 1985) of amounts from which the weekly rhythm was divided out. The interval comes from back-tests of the series itself: from many
days of its past, sums of the following 1 to 28 days are forecast and compared. Their relative variance is a part that averages out and a
part that adds up, v(h) = a / h + b * h, both estimated from these errors and from what is usual, which counts as a few days more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul
from statistics import NormalDist
from typing import Final

_Z: Final = NormalDist().inv_cdf(0.9)  # 80% lie between the tenth and the ninetieth percentile
State = tuple[float, float]
# How much a day's error moves the level, and of that the trend. Their forecasts are averaged by how well they did.
_SMOOTHINGS: Final = ((0.05, 0.0), (0.15, 0.0), (0.4, 0.0), (0.15, 0.1), (0.4, 0.15))
_SHARPNESS: Final = 4.0
_TINY: Final = 1e-12
_LARGEST: Final = 30.0
_RECENT: Final = 28
_WINDOW: Final = 56
_OCCASIONAL: Final = 0.4
_ENOUGH: Final = 10
_COVERED: Final = 0.8
_UNKNOWN_LEVEL: Final = 0.15
_CALIBRATED: Final = 0.7
_PHI: Final = 0.92
_CLIP: Final = 3.0  # usual errors
_WARM_UP: Final = 4
_STEPS: Final = (1, 2, 4, 7, 14, 28)
_WEEKS: Final = 12
_LEAST_WEEKS: Final = 2
# Of daily spend where nothing is known yet; each worth so many back-tests.
_USUAL_NOISE: Final = 0.06
_USUAL_DRIFT: Final = 0.0015
_USUAL_WEIGHT: Final = 4.0
_FLOOR: Final = 0.25  # of the mean: below it errors are not told in relation to what was forecast


@dataclass(frozen=True, slots=True)
class Band:
    """An expected amount, and the limits of an interval that holds the amount in 80 of 100 cases."""

    low: float
    expected: float
    high: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """The days to come.

    Attributes:
        days: the expected amount of each.
        level, noise, drift: the relative variance of a sum of h days is level + noise / h + drift * h.
    """

    days: tuple[float, ...]
    level: float
    noise: float
    drift: float

    def band(self, count: int, length: float) -> Band:
        """The sum of the first `count` days, which last `length` days: the first may be a part of one."""
        return band_of(math.fsum(self.days[:count]), self.variance(length, 0))

    def variance(self, length: float, after: float) -> float:
        """The relative variance of a sum of so many days, so many days from now: what drifts drifts from now on."""
        return self.level + self.noise / length + self.drift * (after + length)


def band_of(expected: float, variance: float) -> Band:
    """A gamma distribution of this mean and relative variance between its tenth and ninetieth percentile.

    By Wilson and Hilferty ("The Distribution of Chi-Square", PNAS 1931): the cube root of a gamma variable is nearly normal.
    """
    if expected <= 0:
        return Band(0.0, 0.0, 0.0)
    ninth = variance / 9
    low, high = (max(0.0, 1 - ninth + z * math.sqrt(ninth)) ** 3 for z in (-_Z, _Z))
    return Band(expected * low, expected, expected * max(high, 1.0))


def look_ahead(history: Sequence[float], weekday: int, days: int) -> Outlook:
    """Continue a history of daily amounts by so many days.

    Args:
        history: one amount a day, without gaps, the last whole day last; at least one.
        weekday: of its first day, 0 to 6.
    """
    rhythm = weekly_rhythm(history, weekday)
    factors = [rhythm[(weekday + index) % 7] for index in range(len(history) + days)]
    if _is_occasional(history, factors):
        return _occasional(history, factors, days)
    actual = _actual_sums(history)
    candidates = [_states(history, factors, alpha, beta) for alpha, beta in _SMOOTHINGS]
    first = min(_WARM_UP, len(history))
    weights_of_sums = {}
    for steps, sums in actual.items():
        by_weekday = _weights(rhythm, steps)
        weights_of_sums[steps] = [by_weekday[(weekday + last) % 7] for last in range(first, first + len(sums))]
    forecasts = [_back_test(states[first - 1 :], weights_of_sums) for states in candidates]
    weights = _weights_of(forecasts, actual)
    noise, drift = _errors(history, actual, forecasts, weights)
    continued = [_continued(states[-1], factors[len(history) :]) for states in candidates]
    expected = tuple(math.fsum(map(mul, weights, amounts)) for amounts in zip(*continued, strict=True))
    return Outlook(expected, _UNKNOWN_LEVEL / len(history), _CALIBRATED * noise, _CALIBRATED * drift)


def weekly_rhythm(history: Sequence[float], weekday: int) -> list[float]:
    """Each weekday's amount in relation to the week around it; 1 where there is no rhythm, or too little to tell.

    A weekday's mean is drawn to 1 as far as its values differ among themselves (James and Stein, 1961).
    """
    recent = history[-7 * _WEEKS :]
    first = weekday + len(history) - len(recent)
    ratios: list[list[float]] = [[] for _ in range(7)]
    for index in range(3, len(recent) - 3):
        around = math.fsum(recent[index - 3 : index + 4]) / 7
        if around > 0:
            ratios[(first + index) % 7].append(recent[index] / around)
    if min(map(len, ratios)) < _LEAST_WEEKS:
        return [1.0] * 7
    means = [math.fsum(values) / len(values) for values in ratios]
    within = math.fsum((value - mean) ** 2 for values, mean in zip(ratios, means, strict=True) for value in values)
    within /= max(1, sum(map(len, ratios)) - 7)
    of_means = within / (sum(map(len, ratios)) / 7)
    between = math.fsum((mean - 1) ** 2 for mean in means) / 6
    kept = max(0.0, 1 - of_means / between) if between > 0 else 0.0
    drawn = [max(0.02, 1 + kept * (mean - 1)) for mean in means]
    mean = math.fsum(drawn) / 7
    return [factor / mean for factor in drawn]


def _is_occasional(history: Sequence[float], factors: Sequence[float]) -> bool:
    """Whether nothing is spent on many days on which the weekly rhythm lets something be expected."""
    recent = list(zip(history, factors, strict=False))[-_WINDOW:]
    return math.fsum(factor for amount, factor in recent if not amount) > _OCCASIONAL * math.fsum(factor for _, factor in recent)


def _occasional(history: Sequence[float], factors: Sequence[float], days: int) -> Outlook:
    """Days with spend come at random, and take what any such day took: a compound Poisson sum.

    Their rate is a Gamma(k + 1/2, n) after k of them in n days (Jeffreys' prior): the number of those to come is negative binomial.
    """
    recent = history[-_WINDOW:]
    amounts = [amount for amount in recent if amount] or [amount for amount in history if amount][-1:]
    found = sum(map(bool, recent)) + 0.5
    rate, mean = found / len(recent), math.fsum(amounts) / len(amounts)
    varied = math.fsum((amount - mean) ** 2 for amount in amounts) + mean * mean  # as if one more had been off by all of the mean
    relative = varied / len(amounts) / mean**2
    expected = tuple(rate * mean * factor for factor in factors[len(history) :])
    return Outlook(expected, 1 / found + relative / len(amounts), (1 + relative) / rate, _USUAL_DRIFT)


def _states(history: Sequence[float], factors: Sequence[float], alpha: float, beta: float) -> list[State]:
    """Level and trend after each day.

    An amount far beyond the usual errors and beyond the largest of the weeks before counts as far as that only: one wild day is no new
    level, several are. A day on which little is expected tells little of the level.
    """
    level, trend = history[0] / max(1.0, factors[0]), 0.0
    usual = 0.3 * abs(level)
    states = [(level, trend)]
    for index, (amount, factor) in enumerate(zip(history[1:], factors[1:], strict=False), start=1):
        expected = max(0.0, level + _PHI * trend)
        error = (amount - expected * factor) / max(1.0, factor)
        size = abs(error)
        if index > _WARM_UP and error > (limit := _CLIP * usual + 0.05 * level):
            seen = sorted(history[max(0, index - _RECENT) : index])[-2] / max(1.0, factor)
            error = min(error, max(limit, seen - expected))
        usual += 0.2 * (min(size, 4 * usual + level) - usual)
        rate = max(alpha, 1 / (index + 1))  # the mean of the first days
        level = max(0.0, expected + rate * error)
        trend = _PHI * trend + beta * rate * error if index > _WARM_UP else 0.0
        states.append((level, trend))
    return states


def _continued(state: State, factors: Sequence[float]) -> list[float]:
    level, trend = state
    found = []
    for factor in factors:
        trend *= _PHI
        level = max(0.0, level + trend)
        found.append(level * factor)
    return found


def _weights(rhythm: Sequence[float], steps: int) -> list[State]:
    """By the weekday of the first of so many days, how often the level and the trend of the day before are in their sum."""
    found = []
    for weekday in range(7):
        of_level = of_trend = grown = 0.0
        for step in range(steps):
            grown += _PHI ** (step + 1)
            factor = rhythm[(weekday + step) % 7]
            of_level += factor
            of_trend += factor * grown
        found.append((of_level, of_trend))
    return found


def _actual_sums(history: Sequence[float]) -> dict[int, list[float]]:
    """By number of days, the sums of that many days after each day of the past that is forecast from."""
    sums = [0.0, *accumulate(history)]
    first = min(_WARM_UP, len(history))
    return {
        steps: [sums[last + steps] - sums[last] for last in range(first, len(history) - steps + 1)]
        for steps in _STEPS
        if first + steps <= len(history)
    }


def _back_test(states: Sequence[State], weights: Mapping[int, Sequence[State]]) -> dict[int, list[float]]:
    """What was to be expected of those sums, from the states of the days before and how often these are in each sum."""
    return {
        steps: [
            expected if (expected := level * of_level + trend * of_trend) > 0 else 0.0
            for (level, trend), (of_level, of_trend) in zip(states, of_sums, strict=False)
        ]
        for steps, of_sums in weights.items()
    }


def _weights_of(forecasts: Sequence[Mapping[int, list[float]]], actual: Mapping[int, list[float]]) -> list[float]:
    """Each candidate's weight: the inverse of its mean square errors in the back-tests, which no candidate has much less than all."""
    losses = []
    for forecast in forecasts:
        loss = _TINY
        for steps, sums in actual.items():
            loss += math.fsum((each - expected) ** 2 for each, expected in zip(sums, forecast[steps], strict=True)) / steps**2
        losses.append(loss)
    least = min(losses)
    shares = [(least / loss) ** _SHARPNESS for loss in losses]
    return [share / math.fsum(shares) for share in shares]


def _errors(
    history: Sequence[float], actual: Mapping[int, list[float]], forecasts: Sequence[Mapping[int, list[float]]], weights: Sequence[float]
) -> State:
    """Noise and drift from the errors of back-tests: a least-squares fit of v(h) = a / h + b * h to their squares, neither negative."""
    floor = _FLOOR * math.fsum(history) / len(history)
    found: list[tuple[int, float, float]] = []  # the steps, the mean square, and how many independent errors it is worth
    for steps, sums in actual.items():
        squares = []
        for amount, *each in zip(sums, *(forecast[steps] for forecast in forecasts), strict=True):
            expected = math.fsum(map(mul, weights, each))
            scale = max(expected, floor * steps)
            if scale > 0:
                squares.append(min(_LARGEST, ((amount - expected) / scale) ** 2))
        if squares:
            found.append((steps, _mean_square(squares), len(squares) / steps))
    return _fit(found)


def _mean_square(squares: list[float]) -> float:
    """Of errors whose wildest do not count: where there are enough, what a normal distribution has whose 80% are as wide as theirs."""
    if len(squares) < _ENOUGH:
        return math.fsum(squares) / len(squares)
    place = _COVERED * (len(squares) - 1)
    low, rest = int(place), place - int(place)
    ordered = sorted(squares)
    at = ordered[low] + rest * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])
    return at / (_Z * _Z)


def _fit(found: Sequence[tuple[int, float, float]]) -> State:
    usual = {steps: _USUAL_NOISE / steps + _USUAL_DRIFT * steps for steps in _STEPS}
    points = [*found, *((steps, square, _USUAL_WEIGHT / len(_STEPS)) for steps, square in usual.items())]
    # Weighted by the inverse of the square of what is usual: an error at 28 days is larger, and no more certain for it.
    weighted = [(steps, square, weight / usual[steps] ** 2) for steps, square, weight in points]
    aa = math.fsum(weight / steps**2 for steps, _, weight in weighted)
    ab = math.fsum(weight for _, _, weight in weighted)
    bb = math.fsum(weight * steps**2 for steps, _, weight in weighted)
    ya = math.fsum(weight * square / steps for steps, square, weight in weighted)
    yb = math.fsum(weight * square * steps for steps, square, weight in weighted)
    determinant = aa * bb - ab * ab
    noise, drift = (ya * bb - yb * ab) / determinant, (yb * aa - ya * ab) / determinant
    if noise < 0:
        return 0.0, yb / bb
    if drift < 0:
        return ya / aa, 0.0
    return noise, drift

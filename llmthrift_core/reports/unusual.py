"""What counts as unusual: of requests, of hours and of days. Pure rules over amounts in US dollars.

Hours and days are compared by median and median absolute deviation (Hampel, "The Influence Curve and its Role in Robust Estimation", JASA
1974), so that one wild day in the reference hides no other. They are unusual only upward, and only from an amount on that matters.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

REQUESTS_BEFORE: Final = 100
_LEAST_REQUESTS: Final = 20
_TIMES_THE_MEAN: Final = 10
REFERENCE_DAYS: Final = 28
_HOURS_DAYS: Final = 14
LEAST_DAYS: Final = 7
LEAST_USD: Final = 20.0
_TIMES_THE_DAY: Final = 2.0
_LEAST_SCORE: Final = 5.0
_NORMAL: Final = 1.4826  # a normal distribution's standard deviation per median absolute deviation
_LEAST_SPENDING: Final = 2
_QUIET_DAYS: Final = 7
_HIGHER: Final = 3.0


@dataclass(frozen=True, slots=True)
class Unusual:
    """An amount that is far above what was expected.

    Attributes:
        score: of a request, times the mean; of an hour or day, deviations above the median.
    """

    value: float
    expected: float
    score: float


class RecentRequests:
    """The last hundred requests of a feature, and whether another one is ten times their mean."""

    __slots__ = ("_costs", "_sum")

    def __init__(self) -> None:
        self._costs: deque[int] = deque(maxlen=REQUESTS_BEFORE)
        self._sum = 0

    def see(self, nano_usd: int) -> tuple[float, float] | None:
        """The mean of those before, in nano-USD, and how many times that this one is; None where that is not unusual, or too few are known.

        From then on it is one of them.
        """
        costs, known = self._costs, len(self._costs)
        total = self._sum
        self._sum += nano_usd - (costs[0] if known == REQUESTS_BEFORE else 0)
        costs.append(nano_usd)
        if known < _LEAST_REQUESTS or not total or nano_usd * known < _TIMES_THE_MEAN * total:
            return None
        return total / known, nano_usd * known / total


def unusual_hour(value: float, same_hours: Sequence[float], days: Sequence[float]) -> Unusual | None:
    """An hour in which more is spent than in two usual days, and far more than at the same hour of the days before.

    Args:
        same_hours: amounts at this hour of the days before. days: amounts of whole days before.
    """
    if len(days) < LEAST_DAYS or value < max(LEAST_USD, _TIMES_THE_DAY * median(days[-_HOURS_DAYS:])):
        return None
    return _beyond(value, same_hours[-_HOURS_DAYS:], [])


def unusual_day(
    value: float, days: Sequence[float], *, usual_day: float | None = None, so_far: Sequence[float] | None = None
) -> Unusual | None:
    """A day on which twice as much is spent as on usual days, far more than they differ by, and more than on any same weekday.

    Args:
        days: amounts of the whole days before, the last one yesterday; at most 28 count.
        usual_day: what is usual where less than a week is known, such as of a new feature: a day of everything. None: nothing is told then.
        so_far: for a day that is not over, what those days had taken by the same hour; None: it is over.
    """
    reference = list(days[-REFERENCE_DAYS:])
    if len(reference) < LEAST_DAYS:
        if usual_day is None or value < max(LEAST_USD, _TIMES_THE_DAY * usual_day):
            return None
        return _beyond(value, [*reference, 0.0], [])
    if value < max(LEAST_USD, _TIMES_THE_DAY * median(reference)):
        return None
    spending = [amount for amount in reference if amount]
    if len(spending) >= _LEAST_SPENDING and not median(reference):  # batch jobs now and then: they are compared among themselves
        return _beyond(value, spending, [max(spending) / _TIMES_THE_DAY])
    compared = reference if so_far is None else list(so_far[-REFERENCE_DAYS:])
    return _beyond(value, compared, reference[::-1][6::7])


def _beyond(value: float, reference: Sequence[float], same_weekdays: Sequence[float]) -> Unusual | None:
    expected = median(reference) if reference else 0.0
    deviation = median(abs(amount - expected) for amount in reference) if reference else 0.0
    score = (value - expected) / max(_NORMAL * deviation, 0.1 * expected, 1.0)
    if score < _LEAST_SCORE or (same_weekdays and value < _TIMES_THE_DAY * max(same_weekdays)):
        return None
    return Unusual(value, median(same_weekdays) if len(same_weekdays) >= 3 else expected, score)


class Quiet:
    """One alarm for one event: what stays high for a week, or goes on growing, is told again only at three times the height.

    Args:
        length: how long it is quiet after an alarm, in whatever the times are counted in.
    """

    __slots__ = ("_height", "_length", "_until")

    def __init__(self, length: float) -> None:
        self._length = length
        self._until, self._height = float("-inf"), 0.0

    def tells(self, at: float, value: float) -> bool:
        """Whether an unusual amount at a time is a new event."""
        is_new = at >= self._until or value >= _HIGHER * self._height
        if is_new:
            self._height = value
        self._until = at + self._length  # it goes on
        return is_new


def unusual_days(days: Sequence[float], *, usual_days: Sequence[float] | None = None) -> list[tuple[int, Unusual]]:
    """The unusual ones of days that are over, by index, each event once.

    Args:
        usual_days: what a day of everything takes, by index, for series of which less than a week is known.
    """
    quiet = Quiet(_QUIET_DAYS)
    found = []
    for index, value in enumerate(days):
        if value < LEAST_USD:
            continue
        usual = None if usual_days is None else usual_days[index]
        unusual = unusual_day(value, days[max(0, index - REFERENCE_DAYS) : index], usual_day=usual)
        if unusual is not None and quiet.tells(index, value):
            found.append((index, unusual))
    return found


def unusual_hours(hours: Sequence[float]) -> list[tuple[int, Unusual]]:
    """The unusual ones of hours, by index, each event once. The first is that of a midnight."""
    quiet = Quiet(24)
    days = [sum(hours[begin : begin + 24]) for begin in range(0, len(hours), 24)]
    found = []
    for index, value in enumerate(hours):
        if value < LEAST_USD:
            continue
        before = index // 24
        first = max(0, before - _HOURS_DAYS)
        unusual = unusual_hour(value, hours[first * 24 + index % 24 : index : 24], days[first:before])
        if unusual is not None and quiet.tells(index, value):
            found.append((index, unusual))
    return found

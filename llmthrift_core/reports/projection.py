"""`Projection`: the rest of a period, from the days before it and the part of today that has passed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from llmthrift_core.money import NANO_PER_USD, to_usd
from llmthrift_core.reports.daily_spend import Days
from llmthrift_core.reports.forecasting import Band, Outlook, band_of, look_ahead

HISTORY_DAYS: Final = 120
"""So many days before today are looked at."""
_LEAST_SHARE: Final = 1 / 48
_MILLIONTH: Final = Decimal("0.000001")
_UNKNOWN_DAY: Final = 0.25  # the relative variance of a day of which only a part was seen, and none before it


@dataclass(frozen=True, slots=True)
class DailyAmount:
    """A day of the period.

    Attributes:
        spent_usd: until now; None for days to come.
        expected_usd: at its end; low_usd, high_usd: 80% of cases. Equal to spent_usd for days that are over.
    """

    day: date
    spent_usd: Decimal | None
    expected_usd: Decimal
    low_usd: Decimal
    high_usd: Decimal


@dataclass(frozen=True, slots=True)
class Projection:
    """What comes after now.

    Attributes:
        days: nano-USD by day, so far.
        rest_of_today: the share of today that is to come, in days.
        outlook: whose first day is what is to come of today; None where nothing is to be expected.
        history_days: whole days from the first spend on.
    """

    days: Days
    today: date
    rest_of_today: float
    outlook: Outlook | None
    history_days: int

    def until(self, day: date) -> Band:
        """What comes from now to the end of a day, in US dollars."""
        count = (day - self.today).days + 1
        if self.outlook is None or count <= 0:
            return Band(0.0, 0.0, 0.0)
        return self.outlook.band(count, max(count - 1 + self.rest_of_today, _LEAST_SHARE))

    def daily(self, first: date, last: date) -> Iterator[DailyAmount]:
        """One row for each of these days."""
        for number in range((last - first).days + 1):
            day = first + timedelta(days=number)
            spent = to_usd(self.days.get(day, 0))
            if day < self.today:
                yield DailyAmount(day, spent, spent, spent, spent)
            elif self.outlook is None:
                yield DailyAmount(day, spent if day == self.today else None, spent, spent, spent)
            else:
                index = (day - self.today).days
                band = band_of(
                    self.outlook.days[index], self.outlook.variance(1.0 if index else max(self.rest_of_today, _LEAST_SHARE), index)
                )
                low, expected, high = (spent + in_usd(amount) for amount in (band.low, band.expected, band.high))
                yield DailyAmount(day, spent if day == self.today else None, expected, low, high)


def project(days: Days, *, today: date, last: date, share_passed: float) -> Projection:
    """Continue a series of days to the last one.

    Args:
        days: nano-USD by day; today is not over.
        share_passed: of a usual day's spend, how much has come by now.
    """
    so_far = days.get(today, 0) / NANO_PER_USD
    begin = min((day for day, nano_usd in days.items() if nano_usd > 0), default=None)
    rest = 1 - share_passed
    if begin is None or begin > today:
        return Projection(days, today, rest, None, 0)
    begin = max(begin, today - timedelta(days=HISTORY_DAYS))
    known = (today - begin).days
    history = [days.get(begin + timedelta(days=number), 0) / NANO_PER_USD for number in range(known)]
    count = (last - today).days + 1
    if not any(history):  # all that is known is a part of today
        whole = so_far / max(share_passed, _LEAST_SHARE)
        if not whole:
            return Projection(days, today, rest, None, known)
        found = look_ahead([whole], today.weekday(), count)
        found = replace(found, level=found.level + _UNKNOWN_DAY * rest)
        return Projection(days, today, rest, replace(found, days=(whole - so_far, *found.days[1:])), known)
    found = look_ahead(history, begin.weekday(), count)
    # The further the day, the more its own pace counts, and the less what such days took before.
    to_come = rest * (rest * found.days[0] + so_far)
    return Projection(days, today, rest, replace(found, days=(to_come, *found.days[1:])), known)


def in_usd(amount: float) -> Decimal:
    """Dollars to six decimals: an estimate has no more."""
    return Decimal(round(amount, 6)).quantize(_MILLIONTH)

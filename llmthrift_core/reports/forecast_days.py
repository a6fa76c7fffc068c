"""The days of a period, and how far a day has come."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, timedelta, tzinfo
from typing import Final

from llmthrift_core.moments import from_us

PROFILE_DAYS: Final = 28
"""So many days tell at which hours the spend of a day comes."""


def bounds(period: str, today: date) -> tuple[date, date]:
    """The first and the last day of the period that a day is in. Weeks begin on Monday.

    >>> bounds("quarter", date(2026, 2, 3))
    (datetime.date(2026, 1, 1), datetime.date(2026, 3, 31))
    """
    match period:
        case "day":
            return today, today
        case "week":
            first = today - timedelta(days=today.weekday())
            return first, first + timedelta(days=6)
        case "year":
            return date(today.year, 1, 1), date(today.year, 12, 31)
    months = 3 if period == "quarter" else 1
    begin = (today.month - 1) // months * months + 1
    end = begin + months
    following = date(today.year + (end > 12), (end - 1) % 12 + 1, 1) if today.year < 9999 or end <= 12 else date(9999, 12, 31)
    return date(today.year, begin, 1), following - timedelta(days=1) if following.day == 1 else following


def share_passed(hours: Sequence[int], at_us: int, zone: tzinfo) -> float:
    """The share of a usual day's spend that has come by this time of the day: by the hours of the last weeks, and as if one more of 28
    days had been even."""
    local = from_us(at_us).astimezone(zone)
    total = sum(hours)
    shares = [(PROFILE_DAYS * hour / total + 1 / 24) / (PROFILE_DAYS + 1) if total > 0 else 1 / 24 for hour in hours]
    within = (local.minute * 60 + local.second + local.microsecond / 1e6) / 3600
    return min(1.0, math.fsum(shares[: local.hour]) + within * shares[local.hour])

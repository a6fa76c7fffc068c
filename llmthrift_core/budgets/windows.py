"""Windows of time: one row per window in the database makes a job that resets counts unnecessary."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from llmthrift_core.budgets.budget import Budget, Window
from llmthrift_core.budgets.scopes import Scope
from llmthrift_core.budgets.store import Amounts, Part
from llmthrift_core.moments import MICROSECONDS

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS: Final = {"minute": 60, "hour": 3600}


def window_at(window: Window, tz: str, now_us: int) -> tuple[int, int | None]:
    """The window that a time falls in: when it begins and ends, in microseconds since the epoch.

    Days, weeks and months begin at local midnight, so that a day on which the clock changes has 23 or 25 hours. Hours and minutes are
    always 60 minutes and 60 seconds long. "request" and "total" begin at 0 and never end.

    >>> window_at("day", "UTC", 86_400_000_000 + 5)
    (86400000000, 172800000000)
    """
    if window in ("request", "total"):
        return 0, None
    latest = _latest.get((window, tz))
    if latest is None or not latest[0] <= now_us < latest[1]:
        latest = _latest[window, tz] = _window_at(window, tz, now_us)
    return latest


# Most calls fall in the window of the call before. One entry for each kind of window and zone.
_latest: Final[dict[tuple[Window, str], tuple[int, int]]] = {}


def _window_at(window: Window, tz: str, now_us: int) -> tuple[int, int]:
    if (seconds := _SECONDS.get(window)) is not None:
        # Zones differ from UTC by whole minutes, some by half an hour: an hour begins when the local clock says so.
        offset = _zone(tz).utcoffset(_moment(now_us).astimezone(_zone(tz)))
        shift_us = int((offset or timedelta()).total_seconds()) % seconds * MICROSECONDS
        length_us = seconds * MICROSECONDS
        start_us = (now_us + shift_us) // length_us * length_us - shift_us
        return start_us, start_us + length_us
    today = _moment(now_us).astimezone(_zone(tz)).toordinal()
    return _days(window, tz, today)


@lru_cache(maxsize=1024)
def _days(window: Window, tz: str, ordinal: int) -> tuple[int, int]:
    day = datetime.fromordinal(ordinal)
    if window == "week":
        first = day - timedelta(days=day.weekday())
        following = first + timedelta(days=7)
    elif window == "month":
        first = day.replace(day=1)
        following = (first + timedelta(days=32)).replace(day=1)
    else:
        first, following = day, day + timedelta(days=1)
    return _midnight(first, tz), _midnight(following, tz)


def _midnight(day: datetime, tz: str) -> int:
    # Where midnight does not exist because the clock jumps over it, zoneinfo takes the offset of before: the first moment of the day.
    since = day.replace(tzinfo=_zone(tz)).astimezone(UTC) - _EPOCH
    return (since.days * 86_400 + since.seconds) * MICROSECONDS


def _moment(now_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=now_us)


@lru_cache(maxsize=128)
def _zone(tz: str) -> ZoneInfo:
    return ZoneInfo(tz)


def parts_of(applying: Sequence[Budget], scope: Scope, now_us: int) -> list[Part]:
    """The windows of a moment that a call counts in, in the order in which they are taken."""
    parts = []
    for budget in applying:
        start_us, resets_us = window_at(budget.window, budget.tz, now_us)
        mode = "warn" if budget.on_exceed == "warn" else "request" if budget.window == "request" else "limit"
        parts.append(Part(budget.name, scope.key(budget), start_us, resets_us, mode))  # type: ignore[arg-type]
    return sorted(parts)


def never_fits(budget: Budget, amounts: Amounts) -> bool:
    """Whether a budget cannot hold so much even where nothing is spent."""
    limits = (budget.limit_nano_usd, budget.limit_tokens, budget.limit_requests)
    return budget.window == "request" or any(limit is not None and amount > limit for limit, amount in zip(limits, amounts, strict=True))


def has_room(budget: Budget, spent: Amounts, reserved: Amounts, amounts: Amounts) -> bool:
    """Whether a budget holds so much beside what is spent and reserved.

    >>> has_room(Budget(limit_tokens=10), Amounts(tokens=4), Amounts(tokens=3), Amounts(tokens=3))
    True
    """
    tokens = budget.limit_tokens if budget.limit_tool_calls is None else budget.limit_tool_calls
    limits = (budget.limit_nano_usd, tokens, budget.limit_requests)
    return all(
        limit is None or not amount or used + held + amount <= limit
        for limit, used, held, amount in zip(limits, spent, reserved, amounts, strict=True)
    )

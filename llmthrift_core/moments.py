"""Points in time as users give them, to integer microseconds since the epoch."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from llmthrift_core.errors import ConfigurationError, MomentTypeError

# A datetime without a zone, a date and an ISO string are UTC unless they say otherwise. A date is its midnight.
Moment = datetime | date | str

MICROSECONDS: Final = 1_000_000
"""In a second."""
DAY_US: Final = 86_400 * MICROSECONDS
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_US: Final = -62_135_596_800 * MICROSECONDS
"""The year 1 begins."""
LAST_US: Final = 253_402_300_800 * MICROSECONDS - 1
"""The year 9999 ends. No datetime is later."""
_WRITE: Final = "write it like 2026-01-31 or 2026-01-31T14:30:00+01:00"


def to_us(moment: Moment) -> int:
    """Microseconds since the epoch, exact.

    >>> to_us("2026-01-02"), to_us("2026-01-02T03:00:00+03:00")
    (1767312000000000, 1767312000000000)

    Raises:
        ConfigurationError: a string that is no ISO date or time, or a time before the year 1 or after 9999 in UTC.
        MomentTypeError: something else, such as a number.
    """
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            raise ConfigurationError(f"not a date or time: {moment!r}; {_WRITE}") from None
    elif not isinstance(moment, datetime):
        if not isinstance(moment, date):
            raise MomentTypeError(
                f"a datetime, a date or an ISO string is needed, not {moment!r}; {_WRITE}, or give seconds since 1970 as "
                "datetime.fromtimestamp(seconds, UTC)"
            )
        moment = datetime(moment.year, moment.month, moment.day)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - _EPOCH
    at_us = (since.days * 86_400 + since.seconds) * MICROSECONDS + since.microseconds
    if not FIRST_US <= at_us <= LAST_US:
        raise ConfigurationError(f"{moment.isoformat()} lies outside of the years 1 to 9999 in UTC; {_WRITE}")
    return at_us


def from_us(at_us: int) -> datetime:
    """The UTC datetime of microseconds since the epoch; the first or the last that there is for what lies beyond the years 1 to 9999."""
    return _EPOCH + timedelta(microseconds=min(max(at_us, FIRST_US), LAST_US))


def zone_of(name: str | None) -> tzinfo:
    """A time zone by its name; None is UTC.

    Raises:
        ConfigurationError: there is no such zone.
    """
    if name is None or name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, LookupError, OSError, TypeError):
        raise ConfigurationError(f"unknown time zone {name!r}; write it like Europe/Berlin") from None

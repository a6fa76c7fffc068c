"""When a price is in force: half-open intervals [from_us, until_us) of microseconds since the epoch."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

ALWAYS_FROM_US = -(2**62)
ALWAYS_UNTIL_US = 2**62

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Moment = datetime | date | str


def moment_us(moment: Moment) -> int:
    """Microseconds since the epoch. A time without a zone is UTC, a date is its first moment in UTC, text is ISO 8601.

    Raises:
        ValueError: text that is no date or time.
        TypeError: something else.

    >>> moment_us("1970-01-02"), moment_us("1970-01-01T01:00:00+01:00")
    (86400000000, 0)
    """
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    if not isinstance(moment, datetime):
        if not isinstance(moment, date):
            raise TypeError(f"expected a datetime, a date or ISO 8601 text, not {type(moment).__name__}")
        moment = datetime.combine(moment, time())
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(at_us: int) -> datetime:
    """The UTC time; beyond what datetime can hold, its first or last."""
    try:
        return _EPOCH + timedelta(microseconds=at_us)
    except OverflowError:
        return _LAST if at_us > 0 else _FIRST


def bound(at_us: int) -> datetime | None:
    """The end of an interval as a UTC time; None where it is open."""
    return None if at_us in (ALWAYS_FROM_US, ALWAYS_UNTIL_US) else moment_of(at_us)

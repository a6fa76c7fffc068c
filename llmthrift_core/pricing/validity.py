"""When a price is in force: half-open intervals [from_us, until_us) of microseconds since the epoch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

ALWAYS_FROM_US = -(2**62)
ALWAYS_UNTIL_US = 2**62

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def moment_of(at_us: int) -> datetime:
    """The UTC time; beyond what datetime can hold, its first or last."""
    try:
        return _EPOCH + timedelta(microseconds=at_us)
    except OverflowError:
        return _LAST if at_us > 0 else _FIRST


def bound(at_us: int) -> datetime | None:
    """The end of an interval as a UTC time; None where it is open."""
    return None if at_us in (ALWAYS_FROM_US, ALWAYS_UNTIL_US) else moment_of(at_us)

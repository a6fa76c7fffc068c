"""Points in time as users give them, to integer microseconds since the epoch."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Final

from llmthrift_core.errors import ConfigurationError

# A datetime without a zone, a date and an ISO string are UTC unless they say otherwise. A date is its midnight.
Moment = datetime | date | str

MICROSECONDS: Final = 1_000_000
"""In a second."""
DAY_US: Final = 86_400 * MICROSECONDS
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def to_us(moment: Moment) -> int:
    """Microseconds since the epoch, exact.

    >>> to_us("2026-01-02"), to_us("2026-01-02T03:00:00+03:00")
    (1767312000000000, 1767312000000000)

    Raises:
        ConfigurationError: a string that is no ISO date or time.
        TypeError: something else.
    """
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            raise ConfigurationError(f"not a date or time: {moment!r}; write it like 2026-01-31 or 2026-01-31T14:30:00+01:00") from None
    elif not isinstance(moment, datetime):
        if not isinstance(moment, date):
            raise TypeError(f"a datetime, a date or an ISO string is needed, not {type(moment).__name__}")
        moment = datetime(moment.year, moment.month, moment.day)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * MICROSECONDS + since.microseconds


def from_us(at_us: int) -> datetime:
    """The UTC datetime of microseconds since the epoch."""
    return datetime.fromtimestamp(at_us // MICROSECONDS, UTC).replace(microsecond=at_us % MICROSECONDS)

"""Spend by local day, of everything and of the values of an attribute: from stored sums, and from rows only at the edge of the period."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
from typing import Any, Final

from sqlalchemy import Connection, select

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.ledger.rollups import DAY, DIMENSIONS, HOUR
from llmthrift_core.moments import MICROSECONDS, from_us
from llmthrift_core.reports.sums import Amounts, SumsReader
from llmthrift_core.storage.tables import rollups

Days = dict[date, int]
"""nano-USD by local day; days without spend are missing."""
SPENT: Final = ("cost_nano_usd", "other_cost_nano_usd", "unpriced")
"""The measures that spend consists of, and calls that it misses."""
_SPENT: Final = rollups.c.cost_nano_usd + rollups.c.other_cost_nano_usd
_BUCKETS_AT_ONCE: Final = 500


@dataclass
class Spend:
    """Spend in a period.

    Attributes:
        days: of calls and other costs. hours: of the last weeks, by the hour of the local day.
        unpriced: calls without a price, which no amount includes.
    """

    days: Days = field(default_factory=dict)
    hours: list[int] = field(default_factory=lambda: [0] * 24)
    unpriced: int = 0


@dataclass(frozen=True, slots=True)
class SpendReader:
    """Reads the spend of [since_us, until_us).

    Args:
        connection: sees one snapshot.
        zone: of the days.
        whole_before_us: as for SumsReader.
    """

    connection: Connection
    zone: tzinfo
    since_us: int
    until_us: int
    whole_before_us: int | None = None

    def total(self, *, hours_since_us: int | None = None) -> Spend:
        """Of everything. Hours are those of whole days from `hours_since_us` on: what has come of the last one is no whole one."""
        found, last = Spend(), self._day(self.until_us - 1)
        for begin, amounts in self._sums(self.since_us).by_time(DAY, self.zone).items():
            found.days[begin.date()] = found.days.get(begin.date(), 0) + spent_of(amounts)
            found.unpriced += amounts[-1]
        if hours_since_us is not None:
            for begin, amounts in self._sums(max(hours_since_us, self.since_us)).by_time(HOUR, self.zone).items():
                if begin.date() != last:
                    found.hours[begin.hour] += spent_of(amounts)
        return found

    def largest(self, dimension: str, most: int) -> list[str]:
        """The values of a dimension on which most was spent, the largest first. The hours at both ends of the period count whole."""
        hour_us = HOUR * MICROSECONDS
        since_us, until_us = self.since_us - self.since_us % hour_us, self.until_us + -self.until_us % hour_us
        hours = SumsReader(self.connection, since_us=since_us, until_us=until_us, whole_before_us=self.whole_before_us, measures=SPENT)
        found = hours.largest(dimension, most)
        return [] if found is None else [value for value, nano_usd in found[1].items() if nano_usd > 0]

    def of_values(self, dimension: str, values: Sequence[str]) -> dict[str, Days]:
        """Of values of a dimension. In zones that are no whole hours from UTC, an hour is of the day in which it begins."""
        found: dict[str, Days] = {value: {} for value in values}
        if not values:
            return found
        start, edge = self.since_us // MICROSECONDS, self.until_us // MICROSECONDS // HOUR * HOUR
        span = DAY if self.zone is UTC else HOUR
        last = edge // span * span
        days: dict[int, date] = {}
        for length, buckets in (
            (span, range(start - start % span, last, span)),
            (HOUR, range(max(last, start - start % HOUR), edge, HOUR)),
        ):
            for value, bucket, nano_usd in self._of_buckets(dimension, length, buckets, values):
                if bucket not in days:
                    days[bucket] = self._day(bucket * MICROSECONDS)
                _add(found[value], days[bucket], nano_usd)
        if edge * MICROSECONDS < self.until_us:
            for value, amounts in self._sums(edge * MICROSECONDS).by_dimension(dimension, values).items():
                if value is not None:
                    _add(found[value], self._day(edge * MICROSECONDS), spent_of(amounts))
        return found

    def _of_buckets(self, dimension: str, span: int, buckets: range, values: Sequence[str]) -> Iterator[Any]:
        """Value, bucket and nano-USD. Buckets are named one by one, so that no other value of them is read."""
        query = select(rollups.c.value, rollups.c.bucket, _SPENT).where(rollups.c.dimension == dimension, rollups.c.span == span)
        for begin in range(0, len(buckets), _BUCKETS_AT_ONCE):
            some = rollups.c.bucket.in_(list(buckets[begin : begin + _BUCKETS_AT_ONCE]))
            yield from self.connection.execute(query.where(some, rollups.c.value.in_(values))).all()

    def _day(self, at_us: int) -> date:
        return from_us(at_us).astimezone(self.zone).date()

    def _sums(self, since_us: int) -> SumsReader:
        return SumsReader(self.connection, since_us=since_us, until_us=self.until_us, whole_before_us=self.whole_before_us, measures=SPENT)


def spent_of(amounts: Amounts) -> int:
    """nano-USD of calls and of other costs, in sums of SPENT."""
    return amounts[0] + amounts[1]


def rest_of(total: Days, parts: Iterable[Days]) -> Days:
    """What the parts leave of a total."""
    rest = dict(total)
    for part in parts:
        for day, nano_usd in part.items():
            _add(rest, day, -nano_usd)
    return {day: nano_usd for day, nano_usd in rest.items() if nano_usd > 0}


def dimension_of(by: str, connection: Connection) -> str:
    """The dimension of the sums that an attribute or a tag has.

    Raises:
        ConfigurationError: neither is one.
    """
    if by in DIMENSIONS:
        return by
    if isinstance(by, str) and by:
        dimension = f"tag:{by.removeprefix('tag:')}"
        known = select(rollups.c.bucket).where(rollups.c.dimension == dimension, rollups.c.span == DAY).limit(1)
        if connection.execute(known).first() is not None:
            return dimension
        if by == dimension and connection.execute(select(rollups.c.bucket).limit(1)).first() is None:
            return dimension  # nothing is recorded yet: this tag may come
    tags = "a tag that was recorded, or, of a tag that is still to come, tag:NAME"
    raise ConfigurationError(f"no sums are kept by {by!r}; choose one of {', '.join(DIMENSIONS)}, or {tags}")


def midnight_us(day: date, zone: tzinfo) -> int:
    """When a local day begins; where the clock jumps over midnight, its first moment."""
    local = datetime(day.year, day.month, day.day, tzinfo=zone)
    return int(local.astimezone(UTC).timestamp()) * MICROSECONDS


def of_days(days: Mapping[date, int], first: date, last: date) -> int:
    """nano-USD from the first to the last day, both included."""
    return sum(nano_usd for day, nano_usd in days.items() if first <= day <= last)


def _add(days: Days, day: date, nano_usd: int) -> None:
    days[day] = days.get(day, 0) + nano_usd

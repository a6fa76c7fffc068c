"""Spend by local day, of everything and of the values of an attribute: from stored sums, and from rows only at the edge of the period."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
from typing import Any, Final

from sqlalchemy import Connection, func, select

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.ledger.rollups import DAY, DIMENSIONS, HOUR
from llmthrift_core.ledger.statements import MEASURES
from llmthrift_core.moments import MICROSECONDS, from_us
from llmthrift_core.reports.sums import Amounts, SumsReader
from llmthrift_core.storage.tables import rollups

Days = dict[date, int]
"""nano-USD by local day; days without spend are missing."""
_COST: Final = MEASURES.index("cost_nano_usd")
_OTHER: Final = MEASURES.index("other_cost_nano_usd")
_UNPRICED: Final = MEASURES.index("unpriced")
_SPENT: Final = rollups.c.cost_nano_usd + rollups.c.other_cost_nano_usd


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
            found.unpriced += amounts[_UNPRICED]
        if hours_since_us is not None:
            for begin, amounts in self._sums(max(hours_since_us, self.since_us)).by_time(HOUR, self.zone).items():
                if begin.date() != last:
                    found.hours[begin.hour] += spent_of(amounts)
        return found

    def largest(self, dimension: str, most: int) -> list[str]:
        """The values of a dimension on which most was spent, the largest first."""
        spent = func.sum(_SPENT)
        query = select(rollups.c.value).where(*self._of(dimension, DAY)).group_by(rollups.c.value).having(spent > 0)
        return list(self.connection.execute(query.order_by(spent.desc(), rollups.c.value).limit(most)).scalars())

    def of_values(self, dimension: str, values: Sequence[str]) -> dict[str, Days]:
        """Of values of a dimension. In zones that are no whole hours from UTC, an hour is of the day in which it begins."""
        found: dict[str, Days] = {value: {} for value in values}
        if not values:
            return found
        edge_us = self.until_us - self.until_us % (HOUR * MICROSECONDS)
        span = DAY if self.zone is UTC else HOUR
        last = edge_us // MICROSECONDS // span * span
        query = select(rollups.c.value, rollups.c.bucket, _SPENT).where(rollups.c.value.in_(values))
        for length, start, end in ((span, None, last), (HOUR, last, edge_us // MICROSECONDS)):
            rows = query.where(*self._of(dimension, length), rollups.c.bucket < end)
            for value, bucket, nano_usd in self.connection.execute(rows if start is None else rows.where(rollups.c.bucket >= start)):
                _add(found[value], self._day(int(bucket) * MICROSECONDS), int(nano_usd))
        if edge_us < self.until_us:
            for value, amounts in self._sums(edge_us).by_dimension(dimension).items():
                if value in found:
                    _add(found[value], self._day(edge_us), spent_of(amounts))
        return found

    def _of(self, dimension: str, span: int) -> list[Any]:
        start = self.since_us // MICROSECONDS
        return [rollups.c.dimension == dimension, rollups.c.span == span, rollups.c.bucket >= start - start % span]

    def _day(self, at_us: int) -> date:
        return from_us(at_us).astimezone(self.zone).date()

    def _sums(self, since_us: int) -> SumsReader:
        return SumsReader(self.connection, since_us=since_us, until_us=self.until_us, whole_before_us=self.whole_before_us)


def spent_of(amounts: Amounts) -> int:
    """nano-USD of calls and of other costs."""
    return amounts[_COST] + amounts[_OTHER]


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
        if connection.execute(known).first() is not None or connection.execute(select(rollups.c.bucket).limit(1)).first() is None:
            return dimension
    raise ConfigurationError(f"no sums are kept by {by!r}; choose one of {', '.join(DIMENSIONS)}, or a tag that was recorded")


def midnight_us(day: date, zone: tzinfo) -> int:
    """When a local day begins; where the clock jumps over midnight, its first moment."""
    local = datetime(day.year, day.month, day.day, tzinfo=zone)
    return int(local.astimezone(UTC).timestamp()) * MICROSECONDS


def of_days(days: Mapping[date, int], first: date, last: date) -> int:
    """nano-USD from the first to the last day, both included."""
    return sum(nano_usd for day, nano_usd in days.items() if first <= day <= last)


def _add(days: Days, day: date, nano_usd: int) -> None:
    days[day] = days.get(day, 0) + nano_usd

"""Read sums of a period: stored ones for whole buckets, the rows themselves for the edges."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from operator import add, sub
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Null, Select, and_, case, func, literal, literal_column, null, or_, select, union_all

from llmthrift_core.ledger.rollups import ALL, DAY, QUARTER, spans_of
from llmthrift_core.ledger.statements import MEASURES
from llmthrift_core.moments import DAY_US, FIRST_US, LAST_US, from_us
from llmthrift_core.storage.tables import adjustments, calls, other_costs, rollups, run_of_calls, run_of_costs

# One number per measure that is read.
Amounts = list[int]
Groups = dict[Any, Amounts]
# Of a routed call. An answer that was asked for because another one was rejected is not the first.
_FIRST_ANSWER: Final = (
    calls.c.tier.is_not(None),
    calls.c.error.is_(None),
    or_(calls.c.attempt_reason.is_(None), calls.c.attempt_reason != "escalation"),
)
MICROSECONDS: Final = 1_000_000
_RUNS_AT_ONCE: Final = 500
_SPENT: Final = (rollups.c.cost_nano_usd + rollups.c.other_cost_nano_usd).label("spent")


class SumsReader:
    """Sums of the period [since_us, until_us). None is unbounded.

    Args:
        connection: sees one snapshot.
        whole_before_us: single rows before this time may have been pruned: their buckets are taken whole.
        measures: what is read, some of MEASURES: of thousands of users, two sums take a fifth of the time of all.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        since_us: int | None,
        until_us: int | None,
        whole_before_us: int | None = None,
        measures: Sequence[str] = MEASURES,
    ) -> None:
        self._connection = connection
        self._since_us = since_us
        self._until_us = until_us
        self._whole_before_us = whole_before_us
        self._measures = tuple(measures)
        self._sums = [func.sum(rollups.c[name]) for name in self._measures]

    def only(self, measures: Sequence[str]) -> SumsReader:
        """A reader of the same period that reads only these measures."""
        since_us, until_us, whole_us = self._since_us, self._until_us, self._whole_before_us
        return SumsReader(self._connection, since_us=since_us, until_us=until_us, whole_before_us=whole_us, measures=measures)

    def by_dimension(self, dimension: str, values: Collection[str | None] | None = None) -> Groups:
        """Sums by value of a dimension of the rollups; None collects the calls without a value.

        Args:
            values: only these; None: all that there are.
        """
        buckets, edges = self._divide(spans_of(dimension))
        groups: Groups = {}
        named = None if values is None else [value for value in values if value is not None]
        for piece in buckets if named is None or named else ():
            for value, *amounts in self._stored(piece, dimension, rollups.c.value, named):
                _add_to(groups, value, amounts)
        rest = self._without_value(dimension, buckets, groups if values is None else None) if values is None or None in values else []
        tag = dimension.removeprefix("tag:") if dimension.startswith("tag:") else None
        for edge in edges:
            for key, amounts in self._rows(edge.start_us, edge.end_us, "tags" if tag is not None else dimension):
                value = (key if tag is None else json.loads(key).get(tag) if key else None) or None
                if values is None or value in values:
                    _add_to(groups, value, amounts)
        if any(rest):
            _add_to(groups, None, rest)
        return groups

    def largest(self, dimension: str, most: int) -> tuple[int, dict[str, int]] | None:
        """How many values of a dimension there are, and the nano-USD of those on which most was spent: added up in the database.

        None where the period begins or ends within a bucket, whose rows would have to be read.
        """
        buckets, edges = self._divide(spans_of(dimension))
        if edges or not buckets:
            return None
        pieces = [_of_piece(select(rollups.c.value, _SPENT, rollups.c.attempts), piece, dimension) for piece in buckets]
        stored = union_all(*pieces).subquery()
        spent, attempts = func.sum(stored.c.spent).label("of_value"), func.sum(stored.c.attempts).label("attempts_of_value")
        query = select(stored.c.value, spent, attempts, func.count().over()).group_by(stored.c.value)
        rows = self._connection.execute(query.order_by(spent.desc(), attempts.desc(), stored.c.value).limit(most)).all()
        return int(rows[0][3]) if rows else 0, {row[0]: int(row[1]) for row in rows}

    def by_run(self, runs: Collection[str | None] | None = None) -> Groups:
        """Sums by run, of which there are too many for stored sums: the rows of the period are read.

        Where no run is named, nested calls of one trace are one, as budgets have it.

        Args:
            runs: only the rows of these, which an index finds; None: every row.
        """
        groups: Groups = {}
        named = None if runs is None else [run for run in runs if run is not None]
        for place in range(0, 1 if named is None else len(named), _RUNS_AT_ONCE):
            some = None if named is None else named[place : place + _RUNS_AT_ONCE]
            for run, amounts in self._rows(self._since_us, self._until_us, "run", run_of_calls, run_of_costs, some):
                _add_to(groups, run, amounts)
        return groups

    def by_time(self, width: int, zone: tzinfo) -> dict[datetime, Amounts]:
        """Sums by hours or days (`width` in seconds) of a time zone, keyed by when they begin at the offset then in force.

        A day on which the clocks change has two keys, of the same date.
        """
        groups: dict[datetime, Amounts] = {}
        for start_us, end_us, offset in self._constant_offsets(zone):
            spans = [span for span in spans_of(ALL) if width % span == 0 and offset % span == 0] or [QUARTER]
            buckets, edges = divide(start_us, end_us, spans, whole_before_us=self._whole_before_us)
            first = datetime(1970, 1, 1, tzinfo=timezone(timedelta(seconds=offset)))
            found: list[tuple[Any, Sequence[Any]]] = []
            for piece in buckets:
                index = (rollups.c.bucket + literal_column(str(offset))) // literal_column(str(width))
                found += [(row[0], row[1:]) for row in self._stored(piece, ALL, index)]
            for edge in edges:
                # An edge is shorter than a bucket, and no bucket lies across the beginning of an hour or day.
                for _, amounts in self._rows(edge.start_us, edge.end_us, None):
                    found.append(((edge.start_us // MICROSECONDS + offset) // width, amounts))
            for index, amounts in found:
                _add_to(groups, _begin(first, int(index) * width), amounts)
        return groups

    def total(self) -> Amounts:
        """Sums of everything in the period."""
        buckets, edges = self._divide(spans_of(ALL))
        total = self._stored_total(buckets)
        for edge in edges:
            for _, amounts in self._rows(edge.start_us, edge.end_us, None):
                total = list(map(add, total, amounts))
        return total

    def _divide(self, spans: Sequence[int]) -> tuple[list[Buckets], list[Edge]]:
        return divide(self._since_us, self._until_us, spans, whole_before_us=self._whole_before_us)

    def _without_value(self, dimension: str, buckets: Sequence[Buckets], groups: Groups | None) -> Amounts:
        """What all calls of the buckets have more than those with a value, which are read where `groups` has not all of them."""
        rest = self._stored_total(_of_all(buckets))
        for amounts in [self._stored_total(buckets, dimension)] if groups is None else groups.values():
            rest = list(map(sub, rest, amounts))
        return rest

    def _stored_total(self, buckets: Iterable[Buckets], dimension: str = ALL) -> Amounts:
        total = [0] * len(self._measures)
        for piece in buckets:
            for _, *amounts in self._stored(piece, dimension, null()):
                total = list(map(add, total, (int(amount or 0) for amount in amounts)))
        return total

    def _stored(self, piece: Buckets, dimension: str, key: ColumnElement[Any], values: Sequence[str] | None = None) -> Sequence[Any]:
        query = _of_piece(select(key, *self._sums), piece, dimension)
        if not isinstance(key, Null):
            query = query.group_by(key)
        if values is not None:
            query = query.where(rollups.c.value.in_(values))
        return self._connection.execute(query).all()

    def _rows(
        self,
        start_us: int | None,
        end_us: int | None,
        column: str | None,
        of_calls: ColumnElement[Any] | None = None,
        of_costs: ColumnElement[Any] | None = None,
        values: Sequence[str] | None = None,
    ) -> Iterator[tuple[Any, Sequence[Any]]]:
        """Sums by a column, where `of_calls` and `of_costs` may stand for it in calls and other costs; of some of its values, or of all."""
        joined = calls.outerjoin(adjustments, adjustments.c.request_id == calls.c.request_id)
        key = null() if column is None else calls.c[column] if of_calls is None else of_calls
        query = select(key, *_measures_of_rows(self._measures)).select_from(joined).where(*_within(calls.c.at_us, start_us, end_us))
        if column is not None:
            query = query.group_by(key)
        if values is not None:  # the index has no rows without a value, which the second term tells
            query = query.where(key.in_(values), key.is_not(None))
        for value, *amounts in self._connection.execute(query).all():
            if any(amounts):
                yield value, amounts
        if "other_cost_nano_usd" not in self._measures:
            return
        key = null() if column is None or column not in other_costs.c else other_costs.c[column] if of_costs is None else of_costs
        spent = select(key, func.sum(other_costs.c.cost_nano_usd)).where(*_within(other_costs.c.at_us, start_us, end_us))
        if column is not None and column in other_costs.c:
            spent = spent.group_by(key)
            if values is not None:
                spent = spent.where(key.in_(values), key.is_not(None))
        for value, nano_usd in self._connection.execute(spent):
            if nano_usd:
                yield value, [nano_usd if name == "other_cost_nano_usd" else 0 for name in self._measures]

    def _constant_offsets(self, zone: tzinfo) -> Iterator[tuple[int, int, int]]:
        """The period, as far as there is data, in parts (start_us, end_us, offset) of one UTC offset in seconds."""
        days = select(rollups.c.bucket).where(rollups.c.dimension == ALL, rollups.c.span == DAY).order_by(rollups.c.bucket)
        for first, last in _stretches([int(day) for day in self._connection.execute(days).scalars()]):
            start = first * MICROSECONDS if self._since_us is None else max(self._since_us, first * MICROSECONDS)
            end_of_data = (last + DAY) * MICROSECONDS
            end = end_of_data if self._until_us is None else min(self._until_us, end_of_data)
            while start < end:
                offset = _offset(zone, start)
                change = _next_change(zone, start, end, offset)
                yield start, change, offset
                start = change


def _of_piece(query: Select[Any], piece: Buckets, dimension: str) -> Select[Any]:
    query = query.where(rollups.c.dimension == dimension, rollups.c.span == piece.span)
    if piece.start is not None:
        query = query.where(rollups.c.bucket >= piece.start)
    return query if piece.end is None else query.where(rollups.c.bucket < piece.end)


def _stretches(days: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The first and the last of days with data that lie less than a year apart: a row of the year 9999 is no reason to look through
    three million days."""
    first = last = None
    for day in days:
        if first is None or last is None or day - last > 366 * DAY:
            if first is not None and last is not None:
                yield first, last
            first = day
        last = day
    if first is not None and last is not None:
        yield first, last


def _next_change(zone: tzinfo, start_us: int, end_us: int, offset: int) -> int:
    """When the offset changes after `start_us`, to the quarter of an hour; or `end_us`."""
    day, quarter = DAY * MICROSECONDS, QUARTER * MICROSECONDS
    high = start_us
    while high < end_us and _offset(zone, high) == offset:
        high += day
    if high >= end_us and _offset(zone, end_us) == offset:
        return end_us
    low = high - day
    while high - low > quarter:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(zone, middle) == offset else (low, middle)
    return min(end_us, high - high % quarter)


def _begin(first: datetime, seconds: int) -> datetime:
    try:
        return first + timedelta(seconds=seconds)
    except OverflowError:  # the calendar ends between UTC and the zone
        return (datetime.max if seconds > 0 else datetime.min).replace(tzinfo=first.tzinfo)


def _offset(zone: tzinfo, at_us: int) -> int:
    # Two days from the ends of the calendar no zone leads beyond it.
    inside_us = min(max(at_us, FIRST_US + 2 * DAY_US), LAST_US - 2 * DAY_US)
    offset = from_us(inside_us).astimezone(zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def _within(at_us: ColumnElement[Any], start_us: int | None, end_us: int | None) -> list[ColumnElement[bool]]:
    conditions = []
    if start_us is not None:
        conditions.append(at_us >= start_us)
    if end_us is not None:
        conditions.append(at_us < end_us)
    return conditions


def _measures_of_rows(measures: Sequence[str]) -> list[ColumnElement[Any]]:
    """One aggregate per measure, with later prices in place."""
    cost = func.coalesce(calls.c.cost_nano_usd, adjustments.c.cost_nano_usd)
    special: dict[str, ColumnElement[Any]] = {
        "requests": _count(calls.c.attempt == 1),
        "attempts": literal(1),
        "errors": _count(calls.c.error.is_not(None)),
        "retries": _count(calls.c.attempt_reason == "retry"),
        "fallbacks": _count(calls.c.attempt_reason == "fallback"),
        "escalations": _count(calls.c.attempt_reason == "escalation"),
        "cache_hits": _count(calls.c.cache.is_not(None)),
        "unpriced": _count(cost.is_(None)),
        "cost_nano_usd": cost,
        "input_cost_nano_usd": func.coalesce(calls.c.input_cost_nano_usd, adjustments.c.input_cost_nano_usd),
        "output_cost_nano_usd": func.coalesce(calls.c.output_cost_nano_usd, adjustments.c.output_cost_nano_usd),
        "other_cost_nano_usd": literal(0),
        "timed": _count(calls.c.latency_us.is_not(None)),
        "routed": _count(and_(*_FIRST_ANSWER)),
        "escalated_requests": _count(and_(*_FIRST_ANSWER, calls.c.escalated == 1)),
        "escalated_cost_nano_usd": case((calls.c.escalated == 1, cost), else_=0),
        "retry_cost_nano_usd": case((calls.c.attempt_reason == "retry", cost), else_=0),
        "fallback_cost_nano_usd": case((calls.c.attempt_reason == "fallback", cost), else_=0),
    }
    return [func.coalesce(func.sum(special.get(name, calls.c.get(name))), 0) for name in measures]


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return case((condition, 1), else_=0)


def _add_to(groups: dict[Any, Amounts], key: Any, amounts: Iterable[Any]) -> None:
    exact = list(map(int, amounts))  # PostgreSQL's sums are Decimals
    found = groups.get(key)
    groups[key] = exact if found is None else list(map(add, found, exact))


@dataclass(frozen=True, slots=True)
class Buckets:
    """Whole buckets of one length: those with start <= bucket < end, in seconds. None is unbounded."""

    span: int
    start: int | None
    end: int | None


@dataclass(frozen=True, slots=True)
class Edge:
    """A part of a bucket: rows with start_us <= at_us < end_us."""

    start_us: int
    end_us: int


def divide(
    since_us: int | None, until_us: int | None, spans: Sequence[int], *, whole_before_us: int | None = None
) -> tuple[list[Buckets], list[Edge]]:
    """Divide [since_us, until_us) into as few buckets as possible, and edges.

    >>> hour = 3600 * MICROSECONDS
    >>> divide(5 * hour, None, [3600, 86400])
    ([Buckets(span=86400, start=86400, end=None), Buckets(span=3600, start=18000, end=86400)], [])
    >>> divide(hour + 7, 3 * hour, [3600])
    ([Buckets(span=3600, start=7200, end=10800)], [Edge(start_us=3600000007, end_us=7200000000)])

    Args:
        spans: lengths of buckets in seconds, each a divisor of the next.
        whole_before_us: an edge in a bucket that begins before this time becomes the whole bucket.
    """
    if since_us is not None and until_us is not None and since_us >= until_us:
        return [], []
    smallest = spans[0] * MICROSECONDS
    edges: list[Edge] = []
    if whole_before_us is not None:
        if since_us is not None and since_us - since_us % smallest < whole_before_us:
            since_us -= since_us % smallest
        if until_us is not None and until_us - until_us % smallest < whole_before_us:
            until_us += -until_us % smallest
    first_us = None if since_us is None else since_us + -since_us % smallest
    last_us = None if until_us is None else until_us - until_us % smallest
    if first_us is not None and last_us is not None and first_us > last_us:
        assert since_us is not None and until_us is not None  # noqa: S101, PT018 - narrows the types
        return [], [Edge(since_us, until_us)]
    if since_us is not None and first_us is not None and since_us < first_us:
        edges.append(Edge(since_us, first_us))
    if until_us is not None and last_us is not None and last_us < until_us:
        edges.append(Edge(last_us, until_us))
    start = None if first_us is None else first_us // MICROSECONDS
    end = None if last_us is None else last_us // MICROSECONDS
    return _buckets(start, end, spans), edges


def _of_all(buckets: Sequence[Buckets]) -> list[Buckets]:
    """The same time in buckets that all calls have."""
    longest = spans_of(ALL)[-1]
    return [Buckets(min(piece.span, longest), piece.start, piece.end) for piece in buckets]


def _buckets(start: int | None, end: int | None, spans: Sequence[int]) -> list[Buckets]:
    """[start, end) by the longest span in the middle and shorter ones around it."""
    if start is not None and end is not None and start >= end:
        return []
    *shorter, span = spans
    if not shorter:
        return [Buckets(span, start, end)]
    first = None if start is None else start + -start % span
    last = None if end is None else end - end % span
    if first is not None and last is not None and first >= last:
        return _buckets(start, end, shorter)
    parts = [Buckets(span, first, last)]
    if start != first:
        parts += _buckets(start, first, shorter)
    if end != last:
        parts += _buckets(last, end, shorter)
    return parts

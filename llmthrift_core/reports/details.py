"""What a report has with `details=True`: shares, slow answers, and the trend against the time before."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import cache
from typing import Any, Final

from sqlalchemy import bindparam, select

from llmthrift_core.ledger.rollups import DIMENSIONS
from llmthrift_core.moments import FIRST_US, LAST_US, Moment, to_us
from llmthrift_core.reports.report import TIMES, Report, costs_of, report
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import calls, run_of_calls

_NEWEST: Final = 10_000  # calls whose latency is looked at: their rows are read, whatever the length of the period
_LEAST_TIMED: Final = 20  # below that the slowest call is the 95th percentile


def detailed_report(
    database: Database,
    *,
    by: str,
    since: Moment | None,
    until: Moment | None,
    tz: str | None,
    now_us: int,
    most: int | None = None,
    with_slow: bool = True,
) -> Report:
    """A report with its details.

    Args:
        now_us: where the period ends without `until`.
        most: as for `report`.
        with_slow: False leaves p95_latency_seconds unknown, for which the newest rows are read.

    Raises:
        ConfigurationError: as `report`.
        StorageError: the database cannot be read.
    """
    found = report(database, by=by, since=since, until=until, tz=tz, most=most)
    is_time = by in TIMES
    slow = {} if is_time or not with_slow else _slow_latencies(database, found.by, since, until)
    before, whole = (None, None) if is_time or since is None else _costs_before(database, found, since, until, now_us)
    rows: list[Mapping[str, Any]] = []
    for place, row in enumerate(found.rows):
        value = row[found.by]
        if is_time:
            previous = found.rows[place - 1]["cost_usd"] if place and most is None else None
        else:
            previous = None if before is None else before.get(value, Decimal(0))
        rows.append(_with_details(row, found.total, previous, slow.get(value)))
    total = _with_details(found.total, found.total, whole, _slow_of(slow))
    return replace(found, rows=tuple(rows), total=total, has_details=True, notes=(*found.notes, *_notes(since, slow, is_time)))


def _with_details(row: Mapping[str, Any], total: Mapping[str, Any], previous: Decimal | None, slow: Sequence[int] | None) -> dict[str, Any]:
    cost = row["cost_usd"]
    return {
        **row,
        "share": float(cost / total["cost_usd"]) if total["cost_usd"] else None,
        "p95_latency_seconds": _percentile(slow),
        "previous_cost_usd": previous,
        "trend": float(cost / previous) - 1 if previous else None,
    }


def _costs_before(
    database: Database, found: Report, since: Moment, until: Moment | None, now_us: int
) -> tuple[dict[Any, Decimal] | None, Decimal | None]:
    """The cost by value, and of all, in the period of the same length before; None where there is no room for one."""
    since_us = to_us(since)
    length_us = (now_us if until is None else to_us(until)) - since_us
    if length_us <= 0:
        return None, None
    values = [row[found.by] for row in found.rows]
    return costs_of(database, by=_asked(found.by), values=values, since_us=since_us - length_us, until_us=since_us)


def _asked(by: str) -> str:
    return by if by in (*DIMENSIONS, "run") else f"tag:{by}"


def _slow_latencies(database: Database, by: str, since: Moment | None, until: Moment | None) -> dict[Any, list[int]]:
    """The latencies of the newest calls of the period, by value, in microseconds. Answers of a cache are not among them."""
    is_column = by in (*DIMENSIONS, "run")
    read = _same if is_column else _tag(by)
    statement = _newest_of(by if is_column else "tags")
    since_us, until_us = FIRST_US if since is None else to_us(since), LAST_US + 1 if until is None else to_us(until)
    found: dict[Any, list[int]] = {}
    for value, latency_us, hit in database.fetch_all(statement, statement.in_order(since_us=since_us, until_us=until_us)):
        if latency_us is not None and hit is None:
            found.setdefault(read(value), []).append(latency_us)
    return found


@cache
def _newest_of(column: str) -> Statement:
    key = run_of_calls if column == "run" else calls.c[column]
    within = calls.c.at_us >= bindparam("since_us"), calls.c.at_us < bindparam("until_us")
    newest = select(key, calls.c.latency_us, calls.c.cache).where(*within).order_by(calls.c.at_us.desc()).limit(_NEWEST)
    return Statement(newest)


def _same(value: Any) -> Any:
    return value


def _tag(name: str) -> Callable[[Any], Any]:
    return lambda tags: json.loads(tags).get(name) if tags else None


def _slow_of(slow: Mapping[Any, Sequence[int]]) -> list[int]:
    return [latency for latencies in slow.values() for latency in latencies]


def _percentile(latencies: Sequence[int] | None) -> float | None:
    """The smallest latency that 95% do not exceed, in seconds; None for too few."""
    if latencies is None or len(latencies) < _LEAST_TIMED:
        return None
    return sorted(latencies)[-(-len(latencies) * 95 // 100) - 1] / 1e6


def _notes(since: Moment | None, slow: Mapping[Any, Sequence[int]], is_time: bool) -> tuple[str, ...]:
    notes = []
    if since is None and not is_time:
        notes.append("The trend needs a period: give since.")
    if sum(map(len, slow.values())) >= _NEWEST // 2:
        notes.append(f"p95 is of the newest {_NEWEST:,} calls of the period at most.")
    return tuple(notes)

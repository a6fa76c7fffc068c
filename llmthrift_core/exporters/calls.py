"""Export single calls: every column of the ledger, row by row, in constant memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from sqlalchemy import bindparam, false, func, literal_column, or_, select

from llmthrift_core.attachments import AccountHost
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.exporters.columns import Column, Kind, Values
from llmthrift_core.exporters.exported import Exported, Period, file_of_day, is_whole
from llmthrift_core.exporters.table_files import Format, TableFile, format_of, open_table
from llmthrift_core.ledger.reading import select_calls
from llmthrift_core.ledger.retention import pruned_until_us
from llmthrift_core.moments import FIRST_US, LAST_US, MICROSECONDS, Moment, from_us
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import calls
from llmthrift_core.texts import require_thrift

_ROWS_AT_ONCE: Final = 10_000
# Numbers that a router learns from, and that mean nothing outside; and the row's own number.
_LEFT_OUT: Final = frozenset({"id", "lexical_counts"})
_SECONDS: Final = {"latency_us": "latency_seconds", "first_token_us": "first_token_seconds"}
_FLAGS: Final = frozenset({"estimated", "stream", "escalated", "adjusted"})
_NUMBERS: Final = frozenset({"expected_quality", "confidence"})


def _column(name: str, type_name: str) -> Column:
    if name == "at_us":
        return Column("at", "time")
    if name in _SECONDS:
        return Column(_SECONDS[name], "number")
    if name.endswith("_nano_usd"):
        return Column(name.replace("_nano_usd", "_usd"), "money")
    kind: Kind = "count" if "INT" in type_name else "text"
    return Column(name, "flag" if name in _FLAGS else "number" if name in _NUMBERS else kind)


_STORED: Final = tuple(column for column in calls.c if column.name not in _LEFT_OUT)
CALL_COLUMNS: Final = (*(_column(column.name, str(column.type).upper()) for column in _STORED), Column("adjusted", "flag"))
"""One row is one attempt or one hit. Names and units are those of `RecordedCall`; tags and other objects are JSON."""
_NAMES: Final = (*(column.name for column in _STORED), "adjusted")
_SELECTED: Final = tuple(select_calls().selected_columns[name] for name in _NAMES)
_AT: Final = _NAMES.index("at_us")
# By column, what it has where nothing was recorded in it.
_EMPTY: Final = {
    index: None if column.nullable else 0
    for index, column in enumerate(_STORED)
    if column.nullable or (column.server_default is not None and column.name != "attempt")
}
_TO_SECONDS: Final = tuple(index for index, name in enumerate(_NAMES) if name in _SECONDS)


def export_calls(
    thrift: AccountHost,
    out: str | os.PathLike[str],
    *,
    format: Format | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    per_day: bool = False,
    overwrite: bool = False,
) -> Exported:
    """Write every recorded call of a period to CSV or Parquet, in the order of their times.

    Memory does not grow with the number of calls. A file is written under another name and renamed when it is whole. Prices that came later
    are in place; money is in exact decimals.

    Args:
        out: the file; with `per_day` the directory of files such as calls-2026-01-31.parquet.
        format: "csv" or "parquet"; None goes by the name of the file (.csv, .csv.gz, .parquet), and per day takes Parquet.
        since, until: the half-open period [since, until); with `per_day` whole days.
        per_day: one file for each day (UTC) with calls. Files that were written after the end of their day are left as they are, so that an
            export goes on where the last one ended.
        overwrite: write these again.

    Raises:
        ConfigurationError: an argument that cannot be used, or a place that cannot be written.
        MissingExtraError: Parquet is asked for without the extra `export`.
        StorageError: the database cannot be read.
    """
    require_thrift(thrift, "export_calls")
    period = Period.of(since, until)
    form: Format = format_of("calls.parquet" if per_day else out, format)
    thrift.ledger.catch_up()
    notes = _notes(thrift.database, period)
    path = Path(out)
    if not per_day:
        if path.is_dir():
            raise ConfigurationError(f"{path} is a directory; name a file, or write one file for each day into it with per_day=True")
        with open_table(path, form, CALL_COLUMNS) as table:
            rows = _write(table, thrift.database, period)
        return Exported((path,), rows=rows, notes=notes)
    period.require_whole_days()
    files, skipped, rows = [], [], 0
    for day, part in period.days(lambda at_us: _next_us(thrift.database, at_us)):
        file = file_of_day(path, "calls", day, form)
        if not overwrite and is_whole(file, day):
            skipped.append(file)
            continue
        with open_table(file, form, CALL_COLUMNS) as table:
            rows += _write(table, thrift.database, part)
        files.append(file)
    return Exported(tuple(files), tuple(skipped), rows, notes)


def read_columns(database: Database, period: Period) -> Iterator[Sequence[Values]]:
    """The calls of a period in their order, ten thousand at once, as one sequence of values for each of CALL_COLUMNS.

    Each group is read by itself: no long transaction keeps the database from tidying up. Most of the sixty columns are empty in most
    ledgers, and to hand over an empty value takes as long as a full one: those that were empty in the group before are not read where the
    database says that they still are.
    """
    after_us = FIRST_US if period.since_us is None else period.since_us
    until_us = LAST_US + 1 if period.until_us is None else period.until_us
    after_id, idle = -1, frozenset[int]()
    while True:
        place = {"after_us": after_us, "until_us": until_us, "after_id": after_id}
        rows = _read(database, idle, place)
        if idle and any(row[-1] for row in rows):
            idle = frozenset()
            rows = _read(database, idle, place)
        if not rows:
            return
        *found, ids, _ = zip(*rows, strict=True)
        values = iter(found)
        columns: list[Values] = [[_EMPTY[index]] * len(ids) if index in idle else next(values) for index in range(len(_NAMES))]
        idle = frozenset(index for index in _EMPTY if not any(columns[index]))
        after_us, after_id = columns[_AT][-1], ids[-1]
        for index in _TO_SECONDS:
            columns[index] = [None if value is None else value / MICROSECONDS for value in columns[index]]
        yield columns
        if len(ids) < _ROWS_AT_ONCE:
            return


def _read(database: Database, idle: frozenset[int], place: Mapping[str, int]) -> Sequence[Sequence[Any]]:
    statement = _group(idle)
    return database.fetch_all(statement, statement.in_order(**place))


@lru_cache(maxsize=64)
def _group(idle: frozenset[int]) -> Statement:
    """Reads the next group without the idle columns; after the others each row has its number, and whether an idle column is used in it."""
    shown = [column for index, column in enumerate(_SELECTED) if index not in idle]
    unlike = [(_SELECTED[index], _EMPTY[index]) for index in idle]
    is_used = or_(false(), *(column.is_not(None) if empty is None else column != literal_column(str(empty)) for column, empty in unlike))
    is_in_order = or_(calls.c.at_us > bindparam("after_us"), calls.c.id > bindparam("after_id"))
    query = select_calls().with_only_columns(*shown, calls.c.id, is_used, maintain_column_froms=True)
    within = calls.c.at_us >= bindparam("after_us"), calls.c.at_us < bindparam("until_us"), is_in_order
    return Statement(query.where(*within).order_by(calls.c.at_us, calls.c.id).limit(_ROWS_AT_ONCE))


def _write(table: TableFile, database: Database, period: Period) -> int:
    rows = 0
    for values in read_columns(database, period):
        table.add(values)
        rows += len(values[0])
    return rows


def _next_us(database: Database, at_us: int | None) -> int | None:
    query = select(func.min(calls.c.at_us))
    with database.read() as connection:
        found: Any = connection.execute(query if at_us is None else query.where(calls.c.at_us >= at_us)).scalar()
    return None if found is None else int(found)


def _notes(database: Database, period: Period) -> tuple[str, ...]:
    pruned_us = pruned_until_us(database)
    if pruned_us is None or (period.since_us is not None and period.since_us >= pruned_us):
        return ()
    return (f"Calls from before {from_us(pruned_us):%Y-%m-%d %H:%M} UTC were pruned: only their sums are kept, which reports show.",)

"""SQLAlchemy Core constructs, compiled once per dialect, to run on a driver connection with parameters by position."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from typing import Any, Final

from sqlalchemy import Executable, Table, bindparam, func, literal_column
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

# `insert` of the dialect that is compiled for; both know on_conflict_do_update and on_conflict_do_nothing.
DialectInsert = Callable[..., Any]
Build = Callable[[DialectInsert], Executable]


class Statement:
    """A Core construct, compiled once per dialect.

    Every parameter is a named `bindparam` without a value; constants become part of the text.

    >>> from sqlalchemy import bindparam, select
    >>> from llmthrift_core.storage.tables import calls
    >>> by_id = Statement(select(calls.c.model).where(calls.c.request_id == bindparam("request_id")))
    >>> by_id.names
    ('request_id',)

    Args:
        build: the construct, or a function from the dialect's `insert` to the construct.
    """

    def __init__(self, build: Executable | Build) -> None:
        self._build: Build = (lambda _: build) if isinstance(build, Executable) else build

    @property
    def names(self) -> tuple[str, ...]:
        """The order of the positional parameters, the same on every dialect."""
        return self._sqlite[1]

    def in_order(self, **values: Any) -> tuple[Any, ...]:
        """Parameters by name in the order of `names`, for a statement that takes one of them twice."""
        return tuple(values[name] for name in self.names)

    @cached_property
    def sqlite(self) -> str:
        """The text for sqlite3, parameters written "?"."""
        return self._sqlite[0]

    @cached_property
    def postgresql(self) -> str:
        """The text for psycopg, parameters written "%s"."""
        text, names = _for_postgresql(self._build(postgresql_insert))
        _require_order(names, self.names)
        return text

    @cached_property
    def _sqlite(self) -> tuple[str, tuple[str, ...]]:
        return _for_sqlite(self._build(sqlite_insert))


class RowsInsert:
    """An INSERT of many rows that are given by position, run by `Transaction.insert`.

    sqlite3 releases the interpreter lock for every row of an `executemany`, and then waits up to 5 ms to get it back from
    a busy thread; to bind a None it looks for an adapter (0.3 us, and a ledger row has 30 of them). So on SQLite one
    statement inserts many rows, and on both dialects '' in a nullable column is stored as NULL.

    Args:
        table: where to insert.
        columns: the order of the values in a row.
        on_conflict: adds the ON CONFLICT clause to the dialect's insert.
        constants: what every row has in further columns.
    """

    def __init__(
        self, table: Table, columns: Sequence[str], on_conflict: Callable[[Any], Executable], *, constants: Mapping[str, int] | None = None
    ) -> None:
        self.columns = tuple(columns)
        self.nullable = tuple(bool(table.c[name].nullable) for name in columns)
        self._table = table
        self._on_conflict = on_conflict
        self._constants: dict[str, Any] = {name: literal_column(str(value)) for name, value in (constants or {}).items()}
        # SQLite refuses a statement with more than 32,766 parameters.
        self.block_rows: Final = max(1, min(128, 30_000 // len(self.columns)))
        self.sqlite = cache(self._sqlite)

    @cached_property
    def postgresql(self) -> str:
        row = {name: bindparam(name, type_=self._table.c[name].type) for name in self.columns}
        text, names = _for_postgresql(self._on_conflict(postgresql_insert(self._table).values({**row, **self._constants})))
        _require_order(names, self.columns)
        return text

    def _sqlite(self, rows: int) -> str:
        text = self._sqlite_row
        head, rest = text.split(" VALUES ", 1)
        row, tail = rest.split(" ON CONFLICT", 1)
        return f"{head} VALUES {', '.join([row] * rows)} ON CONFLICT{tail}"

    @cached_property
    def _sqlite_row(self) -> str:
        empty: Any = literal_column("''")
        row: dict[str, Any] = dict(self._constants)
        for name in self.columns:
            column = self._table.c[name]
            parameter = bindparam(name, type_=column.type)
            row[name] = func.nullif(parameter, empty) if column.nullable else parameter
        text, names = _for_sqlite(self._on_conflict(sqlite_insert(self._table).values(row)))
        _require_order(names, self.columns)
        return text


def _for_sqlite(construct: Executable) -> tuple[str, tuple[str, ...]]:
    return _compile(construct, SQLiteDialect_pysqlite(paramstyle="qmark"))


def _for_postgresql(construct: Executable) -> tuple[str, tuple[str, ...]]:
    return _compile(construct, PGDialect_psycopg(paramstyle="format"))  # type: ignore[no-untyped-call]


def _compile(construct: Executable, dialect: Any) -> tuple[str, tuple[str, ...]]:
    if not isinstance(construct, ClauseElement):
        raise TypeError(f"not a SQLAlchemy construct: {construct!r}")
    compiled = construct.compile(dialect=dialect)
    if not isinstance(compiled, SQLCompiler):
        raise TypeError(f"not a query or a change of rows: {construct!r}")
    placeholder = "?" if dialect.paramstyle == "qmark" else "%s"
    first, *rest = compiled.string.split(placeholder)
    places = compiled.positiontup or []
    if len(rest) != len(places):
        raise TypeError(f"{placeholder!r} inside of a constant: {compiled.string}")
    text = first
    names = []
    for name, after in zip(places, rest, strict=True):
        value = compiled.params[name]
        if value is None:
            names.append(name)
            text += placeholder + after
        else:
            text += compiled.render_literal_value(value, compiled.binds[name].type) + after
    return text, tuple(names)


def _require_order(found: tuple[str, ...], expected: tuple[str, ...]) -> None:
    if found != expected:
        raise TypeError(f"the order of the parameters is {found}, expected {expected}")

"""A write transaction on SQLite's driver connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from types import TracebackType
from typing import Any, Final, Protocol

from llmthrift_core.storage.backend import Row
from llmthrift_core.storage.faults import storage_error
from llmthrift_core.storage.statements import RowsInsert, Statement

# What sqlite3 raises for a statement: its own errors, an integer beyond 64 bits, a lone surrogate.
ERRORS: Final = (sqlite3.Error, OverflowError, UnicodeError)


class Writer(Protocol):
    """Who lends the writing connection."""

    def begin_immediate(self) -> sqlite3.Connection: ...

    def end(self) -> None: ...


class SQLiteTransaction:
    """A write transaction: holds the process's write lock from BEGIN IMMEDIATE to COMMIT."""

    __slots__ = ("_connection", "_writer")

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def __enter__(self) -> SQLiteTransaction:
        self._connection = self._writer.begin_immediate()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            if kind is None:
                self._connection.execute("COMMIT")
        except sqlite3.Error as failure:
            raise storage_error(failure, "cannot commit") from failure
        finally:
            self._writer.end()

    def execute(self, statement: Statement, parameters: Sequence[Any] = ()) -> int:
        try:
            return self._connection.execute(statement.sqlite, parameters).rowcount
        except ERRORS as error:
            raise storage_error(error, "cannot write") from error

    def executemany(self, statement: Statement, rows: Sequence[Sequence[Any]]) -> int:
        try:
            return self._connection.executemany(statement.sqlite, rows).rowcount if rows else 0
        except ERRORS as error:
            raise storage_error(error, "cannot write") from error

    def insert(self, statement: RowsInsert, rows: Sequence[Sequence[Any]]) -> int:
        written = start = 0
        try:
            while rest := len(rows) - start:
                count = statement.block_rows if rest >= statement.block_rows else 8 if rest >= 8 else 1
                values = list(chain.from_iterable(rows[start : start + count]))
                written += self._connection.execute(statement.sqlite(count), values).rowcount
                start += count
        except ERRORS as error:
            raise storage_error(error, "cannot write") from error
        return written

    def fetch_one(self, statement: Statement, parameters: Sequence[Any] = ()) -> Row | None:
        try:
            row: Row | None = self._connection.execute(statement.sqlite, parameters).fetchone()
        except ERRORS as error:
            raise storage_error(error, "cannot read") from error
        return row

    def fetch_all(self, statement: Statement, parameters: Sequence[Any] = ()) -> list[Row]:
        try:
            return self._connection.execute(statement.sqlite, parameters).fetchall()
        except ERRORS as error:
            raise storage_error(error, "cannot read") from error

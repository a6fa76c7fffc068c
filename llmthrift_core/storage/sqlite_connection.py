"""Opening one SQLite connection: the pragmas and their order, and files that may only be read."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from itertools import chain
from types import TracebackType
from typing import Any, Final, Literal, Protocol

from llmthrift_core.errors import StorageError
from llmthrift_core.storage.backend import Row
from llmthrift_core.storage.faults import storage_error
from llmthrift_core.storage.location import Location
from llmthrift_core.storage.statements import RowsInsert, Statement

Synchronous = Literal["NORMAL", "FULL"]
_CACHE_KIB: Final = 16_384  # SQLite's own default of 2 MB holds too little of the rollups' B-tree
_WAL_LIMIT_BYTES: Final = 64 * 1024 * 1024
_CHECKPOINT_PAGES: Final = 4_000  # 16 MB: a checkpoint syncs the file, so not after every busy second
# What sqlite3 raises for a statement: its own errors, an integer beyond 64 bits, a lone surrogate.
ERRORS: Final = (sqlite3.Error, OverflowError, UnicodeError)


class SQLiteOpener:
    """Opens connections to one database.

    Args:
        location: where the database is.
        busy_timeout_seconds: how long a statement waits for another connection's lock.
        synchronous: NORMAL survives the death of the process, FULL also the loss of power.

    Attributes:
        read_only: True when the file cannot be written; known after `writer()`.
    """

    def __init__(self, location: Location, *, busy_timeout_seconds: float, synchronous: Synchronous) -> None:
        self.location = location
        self.busy_timeout_seconds = busy_timeout_seconds
        self.read_only = False
        self._synchronous = synchronous
        self._immutable = False

    def writer(self) -> sqlite3.Connection:
        """The connection that writes, or only reads where the file is read-only. Raises StorageError."""
        path = self.location.path
        if path is not None:
            if not path.parent.is_dir():
                raise StorageError(f"cannot open {self.location}: the directory {path.parent} does not exist")
            if path.is_dir():
                raise StorageError(f"cannot open {self.location}: it is a directory")
            self._look_for_write_protection()
        try:
            connection = self._connect()
            try:
                connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
                if not self.read_only:
                    self._prepare(connection)
            except BaseException:
                connection.close()
                raise
        except sqlite3.Error as error:
            raise storage_error(error, f"cannot open {self.location}") from error
        return connection

    def reader(self) -> sqlite3.Connection:
        """A connection that refuses to write. Raises StorageError."""
        try:
            connection = self._connect()
            connection.execute("PRAGMA query_only = ON")
        except sqlite3.Error as error:
            raise storage_error(error, f"cannot open {self.location}") from error
        return connection

    def _look_for_write_protection(self) -> None:
        path = self.location.path
        assert path is not None  # noqa: S101 - narrows the type
        if not path.exists():
            return
        # WAL needs two files beside the database: a directory that cannot be written makes the database read-only too.
        directory_writable = os.access(path.parent, os.W_OK)
        options = self.location.uri or ""
        self.read_only = not (os.access(path, os.W_OK) and directory_writable) or "mode=ro" in options or "immutable=1" in options
        # Without a log that could hold newer pages, and no way to make one, the file is all there is.
        self._immutable = not directory_writable and not path.with_name(path.name + "-wal").exists()

    def _connect(self) -> sqlite3.Connection:
        path = self.location.path
        name, uri = (":memory:", False) if path is None else (str(path), False)
        if self.location.uri is not None:
            name, uri = self.location.uri, True
        elif self._immutable and path is not None:
            name, uri = f"{path.as_uri()}?immutable=1", True
        # `timeout` is SQLite's busy_timeout, so it is in force before journal_mode is changed below.
        return sqlite3.connect(
            name,
            timeout=self.busy_timeout_seconds,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
            uri=uri,
        )

    def _prepare(self, connection: sqlite3.Connection) -> None:
        self._write_ahead(connection)
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        connection.execute("PRAGMA foreign_keys = ON")

    def _write_ahead(self, connection: sqlite3.Connection) -> None:
        # Changing the journal mode needs the file for itself, and SQLite does not call the busy handler for that lock.
        deadline = time.monotonic() + self.busy_timeout_seconds
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL").fetchone()
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() >= deadline:
                    raise
                time.sleep(0.01)


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

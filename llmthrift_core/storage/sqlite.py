"""SQLite: one writing connection per process under a lock, one reading connection per thread."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool, StaticPool

from llmthrift_core.errors import StorageError
from llmthrift_core.storage.backend import Row
from llmthrift_core.storage.faults import ClosedError, as_storage_errors, storage_error
from llmthrift_core.storage.sqlite_connection import SQLiteOpener
from llmthrift_core.storage.sqlite_transaction import ERRORS, SQLiteTransaction
from llmthrift_core.storage.statements import Statement


class SQLiteBackend(ABC):
    """The writing side, which a file and an in-memory database have in common."""

    def __init__(self, opener: SQLiteOpener) -> None:
        self._opener = opener
        self._name = str(opener.location)
        self._closed = False
        # Re-entrant only so that a nested transaction is noticed instead of waiting for itself.
        self._lock = threading.RLock()
        self._writing = False
        self._holding_writes = False
        self._writer = opener.writer()
        self._write_engine: Engine | None = None

    @property
    def read_only(self) -> bool:
        return self._opener.read_only

    def begin_immediate(self) -> sqlite3.Connection:
        """Take the write lock and begin.

        Raises:
            StorageError: the lock is held for longer than the busy timeout, or the file cannot be written.
            RuntimeError: this thread is inside a transaction already.
        """
        self._acquire()
        try:
            self._writer.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self.end()
            raise storage_error(error, f"cannot write to {self._name}") from error
        return self._writer

    def end(self) -> None:
        """Roll back what is not committed and let the next transaction in."""
        try:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
        except sqlite3.Error:
            self._replace_writer()
        finally:
            self._writing = False
            self._lock.release()

    def transaction(self, *, upkeep: bool = False) -> SQLiteTransaction:
        return SQLiteTransaction(self)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        self._acquire()
        try:
            with as_storage_errors(f"cannot write to {self._name}"), self._writing_engine().begin() as connection:
                yield connection
        finally:
            self.end()

    @abstractmethod
    def read(self) -> AbstractContextManager[Connection]: ...

    @abstractmethod
    def fetch_one(self, statement: Statement, parameters: Sequence[Any]) -> Row | None: ...

    @abstractmethod
    def fetch_all(self, statement: Statement, parameters: Sequence[Any]) -> list[Row]: ...

    def hold_writes(self) -> None:
        # SQLite keeps its locks per process, in memory that a child inherits: forked in the middle of another thread's
        # transaction, the child would find the database locked for ever.
        self._holding_writes = self._lock.acquire(timeout=self._opener.busy_timeout_seconds + 1.0)

    def release_writes(self) -> None:
        if self._holding_writes:
            self._holding_writes = False
            self._lock.release()

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                self._close()

    def _close(self) -> None:
        if self._write_engine is not None:
            self._write_engine.dispose()
        self._writer.close()

    def _acquire(self) -> None:
        if not self._lock.acquire(timeout=self._opener.busy_timeout_seconds + 1.0):
            raise StorageError(f"cannot write to {self._name}: another thread of this process has not finished its transaction")
        problem: Exception | None = None
        if self._writing:
            problem = RuntimeError("a database transaction was begun inside another one of the same thread")
        elif self._closed:
            problem = ClosedError(self._name)
        elif self.read_only:
            problem = StorageError(f"cannot write to {self._name}: the file or its directory is read-only")
        if problem is not None:
            self._lock.release()
            raise problem
        self._writing = True

    def _writing_engine(self) -> Engine:
        if self._write_engine is None:
            engine = create_engine("sqlite://", creator=lambda: self._writer, poolclass=StaticPool, hide_parameters=True)
            # SQLAlchemy rolls back a new engine's connection once, so that the transaction begins only here.
            event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
            self._write_engine = engine
        return self._write_engine

    def _replace_writer(self) -> None:
        self._writer.close()
        if self._write_engine is not None:
            self._write_engine.dispose()
            self._write_engine = None
        self._writer = self._opener.writer()

    def _read_error(self, error: BaseException) -> StorageError:
        return ClosedError(self._name) if self._closed else storage_error(error, f"cannot read {self._name}")


class _Reader:
    """A thread's reading connection, closed when the thread ends and its thread-local storage goes."""

    __slots__ = ("__weakref__", "connection")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def __del__(self) -> None:
        self.connection.close()


class SQLiteFile(SQLiteBackend):
    """A database file. Readers see the last commit and never wait for the writer."""

    def __init__(self, opener: SQLiteOpener) -> None:
        super().__init__(opener)
        self._local = threading.local()
        self._opening = threading.Lock()  # not the write lock: a reader never waits for a writer
        self._readers: weakref.WeakSet[_Reader] = weakref.WeakSet()
        self._read_engine: Engine | None = None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        if self._closed:
            raise ClosedError(self._name)
        with as_storage_errors("cannot read"), self._reading_engine().connect() as connection:
            yield connection

    def fetch_one(self, statement: Statement, parameters: Sequence[Any]) -> Row | None:
        try:
            connection = self._local.connection
        except AttributeError:
            connection = self._open_reader()
        try:
            row: Row | None = connection.execute(statement.sqlite, parameters).fetchone()
        except ERRORS as error:
            raise self._read_error(error) from error
        return row

    def fetch_all(self, statement: Statement, parameters: Sequence[Any]) -> list[Row]:
        try:
            connection = self._local.connection
        except AttributeError:
            connection = self._open_reader()
        try:
            rows: list[Row] = connection.execute(statement.sqlite, parameters).fetchall()
        except ERRORS as error:
            raise self._read_error(error) from error
        return rows

    def _open_reader(self) -> sqlite3.Connection:
        with self._opening:
            if self._closed:
                raise ClosedError(self._name)
            reader = _Reader(self._opener.reader())
            self._readers.add(reader)
        self._local.reader = reader
        self._local.connection = reader.connection
        return reader.connection

    def _reading_engine(self) -> Engine:
        with self._opening:
            if self._read_engine is None:
                engine = create_engine(
                    "sqlite://",
                    creator=self._opener.reader,
                    poolclass=QueuePool,
                    pool_size=2,
                    max_overflow=-1,
                    hide_parameters=True,
                )
                # pysqlite does not begin before a SELECT: without this each statement of a report would see other rows.
                event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
                self._read_engine = engine
            return self._read_engine

    def _close(self) -> None:
        with self._opening:
            if self._read_engine is not None:
                self._read_engine.dispose()
            for reader in list(self._readers):
                reader.connection.close()
        super()._close()


class SQLiteMemory(SQLiteBackend):
    """A database in memory: one connection for everything, under one lock."""

    @contextmanager
    def read(self) -> Iterator[Connection]:
        # SQLite cannot read beside its own transaction on one connection, so that a read is a transaction here.
        with self.write() as connection:
            yield connection

    def fetch_one(self, statement: Statement, parameters: Sequence[Any]) -> Row | None:
        with self._lock:
            try:
                row: Row | None = self._writer.execute(statement.sqlite, parameters).fetchone()
            except ERRORS as error:
                raise self._read_error(error) from error
            return row

    def fetch_all(self, statement: Statement, parameters: Sequence[Any]) -> list[Row]:
        with self._lock:
            try:
                return self._writer.execute(statement.sqlite, parameters).fetchall()
            except ERRORS as error:
                raise self._read_error(error) from error

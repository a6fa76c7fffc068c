"""SQLite: one writing connection per process under a lock, one reading connection per thread."""

from __future__ import annotations

import sqlite3
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool, StaticPool

from llmthrift_core.errors import StorageError
from llmthrift_core.storage.backend import Row
from llmthrift_core.storage.faults import ClosedError, as_storage_errors, storage_error
from llmthrift_core.storage.sqlite_connection import ERRORS, SQLiteOpener, SQLiteTransaction
from llmthrift_core.storage.statements import Statement

# How long a fork, or closing, waits for readers. A report that takes longer is copied in the middle, or breaks off.
_FORK_SECONDS: Final = 1.0


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

    def write_one(self, statement: Statement, parameters: Sequence[Any]) -> Row | None:
        with self.transaction() as transaction:
            return transaction.fetch_one(statement, parameters)

    def hold_writes(self) -> None:
        # SQLite keeps its locks per process, in memory that a child inherits: forked in the middle of another thread's
        # transaction, the child would find the database locked for ever.
        self._holding_writes = self._lock.acquire(timeout=self._opener.busy_timeout_seconds + 1.0)

    def release_writes(self) -> None:
        if self._holding_writes:
            self._holding_writes = False
            self._lock.release()

    def overwrite_deleted(self) -> bool:
        # Pages that were split or emptied long ago hold copies of rows: only a new file has none. It is written to the log first.
        self._acquire()
        try:
            self._writer.execute("VACUUM")
            busy = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.Error as error:
            raise storage_error(error, f"cannot rewrite {self._name}") from error
        finally:
            self.end()
        return not busy

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
            problem = self._closed_error()
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
        return self._closed_error() if self._closed else storage_error(error, f"cannot read {self._name}")

    def _closed_error(self) -> StorageError:
        return ClosedError(self._name)


class _Reader:
    """A thread's reading connection, and the lock that the thread holds while it uses it.

    A fork takes the lock: inside SQLite a thread holds mutexes, its connection's and some of the whole process, which nobody would
    ever release in the child. Nobody else waits for it.
    """

    __slots__ = ("__weakref__", "_ended", "connection", "turn")

    def __init__(self, connection: sqlite3.Connection, ended: deque[sqlite3.Connection]) -> None:
        self.connection = connection
        self.turn = threading.RLock()
        self._ended = ended

    def __del__(self) -> None:
        # The thread has ended, or this is a forked child, in which Python drops what other threads had before anything of ours runs:
        # to close a connection there that was in use means to wait for ever. So whoever writes or opens the next one closes it.
        self._ended.append(self.connection)


class SQLiteFile(SQLiteBackend):
    """A database file. Readers see the last commit and never wait for the writer."""

    def __init__(self, opener: SQLiteOpener) -> None:
        super().__init__(opener)
        self._local = threading.local()
        self._opening = threading.Lock()  # not the write lock: a reader never waits for a writer
        self._readers: weakref.WeakSet[_Reader] = weakref.WeakSet()
        self._ended: deque[sqlite3.Connection] = deque()  # connections of threads that have ended
        self._held_for_fork: list[Any] = []
        self._is_retired = False
        self._read_engine: Engine | None = None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        if self._closed:
            raise self._closed_error()
        with self._reader().turn, as_storage_errors("cannot read"), self._reading_engine().connect() as connection:
            yield connection

    def fetch_one(self, statement: Statement, parameters: Sequence[Any]) -> Row | None:
        reader = self._reader()
        with reader.turn:
            try:
                row: Row | None = reader.connection.execute(statement.sqlite, parameters).fetchone()
            except ERRORS as error:
                raise self._read_error(error) from error
            return row

    def fetch_all(self, statement: Statement, parameters: Sequence[Any]) -> list[Row]:
        reader = self._reader()
        with reader.turn:
            try:
                rows: list[Row] = reader.connection.execute(statement.sqlite, parameters).fetchall()
            except ERRORS as error:
                raise self._read_error(error) from error
            return rows

    def end(self) -> None:
        self._close_ended()  # while this thread has the write lock, which a fork waits for
        super().end()

    def hold_writes(self) -> None:
        super().hold_writes()
        deadline = time.monotonic() + _FORK_SECONDS
        self._hold(self._opening, deadline)
        for reader in list(self._readers):
            self._hold(reader.turn, deadline)

    def release_writes(self) -> None:
        while self._held_for_fork:
            self._held_for_fork.pop().release()
        super().release_writes()

    def _hold(self, lock: Any, deadline: float) -> None:
        if lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            self._held_for_fork.append(lock)

    def _reader(self) -> _Reader:
        try:
            reader: _Reader = self._local.reader
        except AttributeError:
            return self._open_reader()
        return reader

    def _open_reader(self) -> _Reader:
        with self._opening:
            if self._closed:
                raise self._closed_error()
            self._close_ended()
            reader = _Reader(self._opener.reader(), self._ended)
            self._readers.add(reader)
        self._local.reader = reader
        return reader

    def retire(self) -> None:
        """Close, because another object takes over: what is being done fails now, and may be tried again."""
        self._is_retired = True
        self.close()

    def _closed_error(self) -> StorageError:
        return StorageError(f"{self._name} is being opened anew") if self._is_retired else super()._closed_error()

    def _close_ended(self) -> None:
        while self._ended:
            try:
                ended = self._ended.popleft()
            except IndexError:  # another thread took it
                return
            ended.close()

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
            deadline = time.monotonic() + _FORK_SECONDS
            for reader in list(self._readers):
                # Nobody should be reading any more. Who still does is waited for, so that the memory that it maps is not taken away.
                waited = reader.turn.acquire(timeout=max(0.0, deadline - time.monotonic()))
                reader.connection.close()
                if waited:
                    reader.turn.release()
            self._close_ended()
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

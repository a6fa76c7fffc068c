"""`Database`: the one door to SQLite or PostgreSQL."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

from sqlalchemy import Connection, text

from llmthrift_core.errors import ConfigurationError, StorageError
from llmthrift_core.storage import schema
from llmthrift_core.storage.backend import Backend, Row, Transaction
from llmthrift_core.storage.circuit import Circuit
from llmthrift_core.storage.location import Dialect, Location, locate
from llmthrift_core.storage.postgresql import PostgreSQLBackend
from llmthrift_core.storage.sqlite import SQLiteFile, SQLiteMemory
from llmthrift_core.storage.sqlite_connection import SQLiteOpener, Synchronous
from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.vectors import vector_table_names

logger = logging.getLogger("llmthrift")

_FORK_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class DatabaseCheck:
    """What `Database.check` found.

    Attributes:
        dialect: "sqlite" or "postgresql".
        url: where the database is, without its password.
        revision: the schema's revision.
        size_bytes: the size of the tables and indexes.
        writable: False for a read-only file.
        problems: what the integrity check found, empty when the database is whole.
    """

    dialect: Dialect
    url: str
    revision: str | None
    size_bytes: int
    writable: bool
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


class Database:
    """One database, safe to share between threads. After fork the child opens connections of its own.

    An SQLite file has one writing connection per process, under a lock, and readers that never wait for it. `:memory:` is
    one connection under one lock, and a forked child starts with an empty one. Transactions do not nest in a thread: use
    the transaction's own `fetch_one` inside of it.

    Attributes:
        place: equal for all objects of one database, whoever logs in; None in memory. Found out when the object is made, since links are
            followed in the file system.
    """

    def __init__(self, location: Location, *, busy_timeout_seconds: float, synchronous: Synchronous) -> None:
        self._location = location
        self.place = location.place
        self._busy_timeout_seconds = busy_timeout_seconds
        self._synchronous: Synchronous = synchronous
        self._opening = threading.Lock()
        self._holding_opening = False
        self._connected: Backend | None = None
        self._name = None if location.path is None else str(location.path)
        self._file: tuple[int, int] | None = None
        self._log: tuple[int, int] | None = None
        self._replaced = 0
        self._closed = False
        self._circuit = Circuit(str(location), answer_seconds=busy_timeout_seconds + 1.0)
        _open_databases.add(self)

    @classmethod
    def open(
        cls,
        url: str | Path | None,
        *,
        busy_timeout_seconds: float = 5.0,
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
        now: bool = True,
    ) -> Self:
        """Open a database, create its tables if it is new, and migrate them if they are older.

        Args:
            url: a path, ":memory:", a SQLAlchemy URL, or None for $LLMTHRIFT_URL, else ./llmthrift.db.
            busy_timeout_seconds: how long to wait for other writers. A PostgreSQL that says nothing is waited for a second longer, and then
                not at all until one attempt has shown that it answers again.
            synchronous: of SQLite: "NORMAL" survives the death of the process, "FULL" also the loss of power.
            now: False connects when it is first used, in the thread that uses it.

        Raises:
            ConfigurationError: a URL or option that cannot be used.
            MissingExtraError: a PostgreSQL URL without psycopg.
            StorageError: the database cannot be opened. SchemaVersionError: a newer llmthrift wrote it.
        """
        if synchronous not in ("NORMAL", "FULL"):
            raise ConfigurationError(f'synchronous must be "NORMAL" or "FULL", not {synchronous!r}')
        if not 0 <= busy_timeout_seconds <= 3600:
            raise ConfigurationError(f"busy_timeout_seconds must be from 0 to 3600, not {busy_timeout_seconds!r}")
        database = cls(locate(url), busy_timeout_seconds=busy_timeout_seconds, synchronous=synchronous)
        if now:
            database._backend()
        return database

    @property
    def dialect(self) -> Dialect:
        """ "sqlite" or "postgresql"."""
        return self._location.dialect

    @property
    def url(self) -> str:
        """Where the database is, without its password."""
        return str(self._location)

    @property
    def path(self) -> Path | None:
        """The file of an SQLite database; None in memory and on PostgreSQL."""
        return self._location.path

    @property
    def read_only(self) -> bool:
        """True where every write raises StorageError."""
        return self._backend().read_only

    def read(self) -> AbstractContextManager[Connection]:
        """A SQLAlchemy connection that sees one snapshot, for queries that are not hot. Raises StorageError."""
        return self._backend().read()

    def write(self) -> AbstractContextManager[Connection]:
        """A SQLAlchemy connection in a write transaction, committed when the block ends well. Raises StorageError."""
        return self._present().write()

    def transaction(self, *, upkeep: bool = False) -> Transaction:
        """A write transaction on the driver connection: `with database.transaction() as transaction`. Raises StorageError.

        Args:
            upkeep: no call waits for it: on PostgreSQL its statements may take minutes instead of the busy timeout and a second.
        """
        return self._present().transaction(upkeep=upkeep)

    def fetch_one(self, statement: Statement, parameters: Sequence[Any] = ()) -> Row | None:
        """The first row, on this thread's reading connection. Parameters in the order of `statement.names`."""
        return (self._connected or self._backend()).fetch_one(statement, parameters)

    def fetch_all(self, statement: Statement, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows, on this thread's reading connection. Parameters in the order of `statement.names`."""
        return (self._connected or self._backend()).fetch_all(statement, parameters)

    def write_one(self, statement: Statement, parameters: Sequence[Any] = ()) -> Row | None:
        """Run a statement that writes, as a transaction of its own: on PostgreSQL one round trip. Its first row. Raises StorageError.

        It may be sent twice, where a connection that lay in the pool is lost meanwhile.
        """
        return self._present().write_one(statement, parameters)

    def check(self) -> DatabaseCheck:
        """Look for damage. Reads the whole file. Raises StorageError when the database cannot be read at all."""
        problems: tuple[str, ...] = ()
        with self.read() as connection:
            if self.dialect == "sqlite":
                found = connection.execute(text("PRAGMA quick_check(20)")).scalars().all()
                problems = () if found == ["ok"] else tuple(str(problem) for problem in found)
                pages = connection.execute(text("PRAGMA page_count")).scalar_one()
                size_bytes = int(pages * connection.execute(text("PRAGMA page_size")).scalar_one())
            else:
                names = schema.table_names() + vector_table_names(connection)
                tables = ", ".join(f"pg_total_relation_size('{name}')" for name in names)
                size_bytes = sum(connection.execute(text(f"SELECT {tables}")).one())
            revision = schema.revision(connection)
        return DatabaseCheck(self.dialect, self.url, revision, size_bytes, writable=not self.read_only, problems=problems)

    def overwrite_deleted(self) -> bool:
        """Leave nothing of what was deleted in the files of an SQLite database: it is written anew, while other writers wait.

        PostgreSQL overwrites deleted rows by itself, when it vacuums their tables.

        Returns:
            False where a reader of another process kept the write-ahead log from being emptied.

        Raises:
            StorageError: it cannot be written, or there is no room for a second copy.
        """
        done = self._backend().overwrite_deleted()
        if not done:
            logger.warning("another process reads %s: what was erased is in its write-ahead log until that is reset", self.url)
        return done

    def trouble(self) -> str | None:
        """What happened to the file of an SQLite database while it was open, and what that means; None where nothing did."""
        path = self._location.path
        if path is None or self._connected is None:
            return None
        if _file_at(path) != self._file:
            return f"{path} was deleted or replaced while it was open; the next write opens what is there then, or makes a new database"
        if self._replaced:
            return (
                f"{path} was deleted or replaced while it was open, {self._replaced} time(s): what the old file held is gone with it, "
                "budgets included; what was recorded since is in the new one"
            )
        return None

    def close(self) -> None:
        """Close every connection. Closing twice does nothing; anything else afterwards raises StorageError."""
        with self._opening:
            self._closed = True
            if self._connected is not None:
                self._connected.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _backend(self) -> Backend:
        if self._connected is not None:
            return self._connected
        with self._opening:
            if self._connected is None:
                if self._closed:
                    raise StorageError(f"the database {self.url} is closed")
                self._connected = self._connect()
            return self._connected

    def _present(self) -> Backend:
        """The backend, opened anew where its file is not there any more: what is written to a deleted file is lost."""
        backend, name, path = self._connected or self._backend(), self._name, self._location.path
        if name is None or path is None or _file_at(name) == self._file or self._closed:
            return backend
        with self._opening:
            if isinstance(self._connected, SQLiteFile) and _file_at(path) != self._file:
                logger.error("%s was deleted or replaced while it was open; it is opened anew, and what it held is gone", path)
                self._replaced += 1
                # Closed first: with two logs of one name open in a process, SQLite's locks would not hold.
                self._connected.retire()
                self._connected = None
                # SQLite leaves the log of a file that has moved: beside another file of that name it would be taken for that one's.
                if _file_at(path) is None or _file_at(_log_of(path)) == self._log:
                    for log in (_log_of(path), path.with_name(path.name + "-shm")):
                        log.unlink(missing_ok=True)
        return self._backend()

    def _connect(self) -> Backend:
        location = self._location
        backend: Backend
        if location.dialect == "postgresql":
            backend = PostgreSQLBackend(location, busy_timeout_seconds=self._busy_timeout_seconds, circuit=self._circuit)
        else:
            opener = SQLiteOpener(location, busy_timeout_seconds=self._busy_timeout_seconds, synchronous=self._synchronous)
            backend = SQLiteMemory(opener) if location.in_memory else SQLiteFile(opener)
        try:
            schema.prepare(backend, name=str(location))
        except BaseException:
            backend.close()
            raise
        if location.path is not None:
            self._file, self._log = _file_at(location.path), _file_at(_log_of(location.path))
        return backend

    def _before_fork(self) -> None:
        self._holding_opening = self._opening.acquire(timeout=_FORK_SECONDS)  # another thread may be opening it
        if self._connected is not None:
            self._connected.hold_writes()

    def _after_fork_in_parent(self) -> None:
        if self._connected is not None:
            self._connected.release_writes()
        if self._holding_opening:
            self._holding_opening = False
            self._opening.release()

    def _after_fork_in_child(self) -> None:
        # SQLite forbids the use of a connection across fork, and closing one of PostgreSQL would end the parent's session:
        # the parent's connections are kept, so that nothing finalises them, and never touched.
        if self._connected is not None:
            _inherited.append(self._connected)
            self._connected = None
        self._opening = threading.Lock()
        self._holding_opening = False


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _file_at(path: Path | str) -> tuple[int, int] | None:
    """What tells a file from another one of the same name; None where there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


_open_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_inherited: list[Backend] = []


_forking = threading.Lock()  # two threads may fork at once
_held: list[Database] = []


def _before_fork() -> None:
    _forking.acquire()
    while True:
        try:
            _held[:] = _open_databases
            break
        except RuntimeError:  # another thread has just opened one
            continue
    for database in _held:
        database._before_fork()


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop()._after_fork_in_parent()
    _forking.release()


def _after_fork_in_child() -> None:
    _held.clear()
    for database in list(_open_databases):  # also one that another thread was opening
        database._after_fork_in_child()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)

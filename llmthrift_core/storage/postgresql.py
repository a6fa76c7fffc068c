"""PostgreSQL through psycopg: pooled connections, the statements of storage/ unchanged."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, PoolProxiedConnection, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from llmthrift_core.errors import MissingExtraError, StorageError
from llmthrift_core.storage.backend import Row
from llmthrift_core.storage.bounded_connection import connection_class
from llmthrift_core.storage.circuit import Circuit
from llmthrift_core.storage.faults import ClosedError, UnavailableError, storage_error
from llmthrift_core.storage.location import Location
from llmthrift_core.storage.statements import RowsInsert, Statement
from llmthrift_core.storage.turns import Turns
from llmthrift_core.storage.vectors import teach_psycopg

_POOL_CONNECTIONS: Final = 5
_POOL_OVERFLOW: Final = 10
# How long a call waits for a connection while others, which are bounded themselves, make progress: only load makes it so long.
_TURN_SECONDS: Final = 30.0
# A report, a migration or an erasure may keep the server busy for so long.
_LONG_ANSWER_SECONDS: Final = 300.0
# Where there is a network, the kernel notices that nobody is there any more.
_KEEPALIVE: Final = {"keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}

T = TypeVar("T")


class PostgreSQLTransaction:
    """A write transaction on a pooled connection. Waits for rows that others hold, up to the busy timeout."""

    __slots__ = ("_backend", "_borrowed", "_cursor", "_errors", "_upkeep")

    def __init__(self, backend: PostgreSQLBackend, *, upkeep: bool) -> None:
        self._backend = backend
        self._upkeep = upkeep
        self._errors = backend.driver_errors

    def __enter__(self) -> PostgreSQLTransaction:
        self._borrowed, self._cursor = self._backend.begin(upkeep=self._upkeep)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            self._run("cannot commit", lambda: self._cursor.execute("COMMIT" if kind is None else "ROLLBACK"))
        except BaseException as failure:
            self._borrowed.invalidate()
            if kind is None or not isinstance(failure, StorageError):
                raise
        finally:
            self._backend.give_back(self._borrowed)

    def execute(self, statement: Statement, parameters: Sequence[Any] = ()) -> int:
        count: int = self._run("cannot write", lambda: self._cursor.execute(statement.postgresql, parameters).rowcount)
        return count

    def executemany(self, statement: Statement, rows: Sequence[Sequence[Any]]) -> int:
        return self._many(statement.postgresql, rows)

    def insert(self, statement: RowsInsert, rows: Sequence[Sequence[Any]]) -> int:
        nullable = statement.nullable
        values = [[None if value == "" and null else value for value, null in zip(row, nullable, strict=True)] for row in rows]
        return self._many(statement.postgresql, values)

    def fetch_one(self, statement: Statement, parameters: Sequence[Any] = ()) -> Row | None:
        row: Row | None = self._run("cannot read", lambda: self._cursor.execute(statement.postgresql, parameters).fetchone())
        return row

    def fetch_all(self, statement: Statement, parameters: Sequence[Any] = ()) -> list[Row]:
        rows: list[Row] = self._run("cannot read", lambda: self._cursor.execute(statement.postgresql, parameters).fetchall())
        return rows

    def _many(self, text: str, rows: Sequence[Sequence[Any]]) -> int:
        if not rows:
            return 0

        def run() -> int:
            self._cursor.executemany(text, rows)
            count: int = self._cursor.rowcount
            return count

        return self._run("cannot write", run)

    def _run(self, doing: str, action: Callable[[], T]) -> T:
        try:
            return action()
        except self._errors as error:
            raise self._backend.failure(error, doing) from None  # psycopg's message may quote values of the row


class PostgreSQLBackend:
    """Two small pools: one in autocommit for hot statements, one for SQLAlchemy connections.

    What goes wrong on a connection, or while one is made, leaves this class as StorageError: `failure` is the one place. Hot statements
    wait a second longer than `busy_timeout_seconds` for a server that says nothing, then the circuit is open.

    Args:
        location: where the database is.
        busy_timeout_seconds: how long to wait for a connection, and for locks of others.
        circuit: of this server; connections that are made anew share it.

    Raises:
        MissingExtraError: psycopg is not installed.
    """

    read_only = False

    def __init__(self, location: Location, *, busy_timeout_seconds: float, circuit: Circuit) -> None:
        try:
            import psycopg
        except ImportError:
            raise MissingExtraError("postgres", "psycopg") from None
        teach_psycopg()
        self.driver_errors: tuple[type[Exception], ...] = (psycopg.Error, UnicodeError, OverflowError, OSError)
        self._reported_errors: tuple[type[Exception], ...] = (SQLAlchemyError, psycopg.Error)
        self._connect_errors: tuple[type[Exception], ...] = (*self._reported_errors, OSError)
        self._disconnects: Final = (psycopg.OperationalError, psycopg.InterfaceError)
        self._name = str(location)
        self._closed = False
        self._circuit = circuit
        self._turns = Turns(_POOL_CONNECTIONS + _POOL_OVERFLOW)
        self._answer_seconds = busy_timeout_seconds + 1.0
        lock_ms = max(1, int(busy_timeout_seconds * 1000))  # 0 would mean "for ever"
        connect_args = {name: value for name, value in _KEEPALIVE.items() if name not in location.url.query}
        connect_args.setdefault("tcp_user_timeout", int(self._answer_seconds * 1000))
        connect_args.setdefault("connect_timeout", max(1, math.ceil(busy_timeout_seconds)))

        def engine(*, longest_seconds: float, **options: Any) -> Engine:
            # The server gives up a little earlier, so that a statement that is only slow does not count as silence.
            statement_ms = int(longest_seconds * 1000) - 500

            made = create_engine(
                location.url,
                connect_args=connect_args,
                pool_size=_POOL_CONNECTIONS,
                max_overflow=_POOL_OVERFLOW,
                pool_timeout=_TURN_SECONDS,
                hide_parameters=True,
                **options,
            )

            def connect(_dialect: Any, _record: Any, arguments: Any, parameters: dict[str, Any]) -> Any:
                connection = connection_class().connect(*arguments, **parameters)
                connection.silence_seconds = self._answer_seconds
                return connection

            def set_limits(connection: Any, _: Any) -> None:
                connection.execute(f"SET lock_timeout = {lock_ms}")
                connection.execute(f"SET statement_timeout = {statement_ms}")
                if not connection.autocommit:
                    connection.commit()

            event.listen(made, "do_connect", connect)
            event.listen(made, "connect", set_limits)
            return made

        # A hot connection comes back without a transaction, or not at all: there is nothing that the pool would have to roll back.
        self._hot = engine(longest_seconds=self._answer_seconds, isolation_level="AUTOCOMMIT", pool_reset_on_return=None)
        self._cold = engine(longest_seconds=_LONG_ANSWER_SECONDS, pool_pre_ping=True)

        def allow_long_answers(connection: Any, *_: Any) -> None:
            connection.silence_seconds = _LONG_ANSWER_SECONDS

        def expect_quick_ping(connection: Any, *_: Any) -> None:
            if connection is not None:
                connection.silence_seconds = self._answer_seconds

        event.listen(self._cold, "checkout", allow_long_answers)
        event.listen(self._cold, "checkin", expect_quick_ping)

    def begin(self, *, upkeep: bool) -> tuple[PoolProxiedConnection, Any]:
        """A connection inside a transaction, and its cursor. Raises StorageError."""
        text = f"BEGIN; SET LOCAL statement_timeout = {int(_LONG_ANSWER_SECONDS * 1000) - 500}" if upkeep else "BEGIN"
        borrowed, cursor, _ = self._on_live_connection("cannot write", lambda cursor: cursor.execute(text, prepare=False))
        if upkeep:
            driver: Any = borrowed.driver_connection
            driver.silence_seconds = _LONG_ANSWER_SECONDS
        return borrowed, cursor

    def give_back(self, borrowed: PoolProxiedConnection) -> None:
        """A transaction has ended: its connection goes back to the pool."""
        try:
            driver: Any = borrowed.driver_connection if borrowed.is_valid else None
            if driver is not None:
                driver.silence_seconds = self._answer_seconds
            borrowed.close()
        finally:
            self._turns.give_back()

    def failure(self, error: BaseException, doing: str) -> StorageError:
        """The StorageError for what psycopg, SQLAlchemy or the system raised. Opens the circuit where the server does not answer."""
        found = storage_error(error, f"{doing}: {self._name}")
        if isinstance(found, UnavailableError):
            self._circuit.failed(found)
        elif getattr(error, "sqlstate", None) is not None:
            self._circuit.answered()  # if only to refuse
        return found

    def transaction(self, *, upkeep: bool = False) -> PostgreSQLTransaction:
        return PostgreSQLTransaction(self, upkeep=upkeep)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._reached("cannot read"), self._cold.connect() as connection:
            self._circuit.answered()
            # One snapshot for all queries of a report.
            yield connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with self._reached("cannot write"), self._cold.begin() as connection:
            self._circuit.answered()
            yield connection

    def fetch_one(self, statement: Statement, parameters: Sequence[Any]) -> Row | None:
        row: Row | None = self._fetch(statement, parameters, lambda cursor: cursor.fetchone())
        return row

    def fetch_all(self, statement: Statement, parameters: Sequence[Any]) -> list[Row]:
        rows: list[Row] = self._fetch(statement, parameters, lambda cursor: cursor.fetchall())
        return rows

    def write_one(self, statement: Statement, parameters: Sequence[Any]) -> Row | None:
        # The connections of hot statements commit by themselves.
        row: Row | None = self._fetch(
            statement, parameters, lambda cursor: cursor.fetchone() if cursor.description else None, "cannot write"
        )
        return row

    def hold_writes(self) -> None:
        """Nothing: the child opens sessions of its own, and the server knows whose locks are whose."""

    def release_writes(self) -> None:
        """Nothing."""

    def overwrite_deleted(self) -> bool:
        """Nothing: what was deleted is the server's to overwrite, by (auto)vacuum, and its archived log's owner's to delete."""
        return True

    def close(self) -> None:
        self._closed = True
        self._hot.dispose()
        self._cold.dispose()

    @contextmanager
    def _reached(self, doing: str) -> Iterator[None]:
        self._require_open()
        self._circuit.enter()
        try:
            yield
        except self._reported_errors as error:
            raise self.failure(error, doing) from None

    def _fetch(self, statement: Statement, parameters: Sequence[Any], take: Callable[[Any], T], doing: str = "read") -> T:
        text = statement.postgresql
        borrowed, _, result = self._on_live_connection(f"cannot {doing}", lambda cursor: take(cursor.execute(text, parameters)))
        self.give_back(borrowed)
        return result

    def _on_live_connection(self, doing: str, action: Callable[[Any], T]) -> tuple[PoolProxiedConnection, Any, T]:
        """Run on a pooled connection; once more on a new one if the server had closed it while it lay in the pool."""
        self._require_open()
        finds_out = self._circuit.enter()
        if not self._turns.take(_TURN_SECONDS):
            raise StorageError(
                f"{doing}: {self._name}: none of {_POOL_CONNECTIONS + _POOL_OVERFLOW} connections came free within {_TURN_SECONDS:g} s; "
                "run fewer threads at once, or look for what keeps the server busy"
            )
        try:
            if not finds_out:
                self._circuit.enter()  # those who waited for a silent server have told meanwhile
            return self._borrowed(doing, action)
        except BaseException:
            self._turns.give_back()
            raise

    def _borrowed(self, doing: str, action: Callable[[Any], T]) -> tuple[PoolProxiedConnection, Any, T]:
        for last in (False, True):
            try:
                borrowed = self._hot.raw_connection()
            except self._connect_errors as error:
                raise self.failure(error, doing) from None
            cursor = borrowed.cursor()
            try:
                result = action(cursor)
            except BaseException as error:
                driver = borrowed.driver_connection
                was_lost = isinstance(error, self._disconnects) and getattr(driver, "closed", True)
                is_silent = was_lost and getattr(driver, "is_silent", False)
                if was_lost or not isinstance(error, self.driver_errors):
                    borrowed.invalidate()
                borrowed.close()
                if not isinstance(error, self.driver_errors):
                    raise
                if last or not was_lost or is_silent:
                    raise self.failure(error, doing) from None
                self._hot.dispose()  # a server that was restarted has closed the others in the pool as well
            else:
                self._circuit.answered()
                return borrowed, cursor, result
        raise StorageError(f"{doing}: {self._name}")

    def _require_open(self) -> None:
        if self._closed:
            raise ClosedError(self._name)

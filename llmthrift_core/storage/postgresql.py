"""PostgreSQL through psycopg: pooled connections, the statements of storage/ unchanged."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, PoolProxiedConnection, create_engine, event

from llmthrift_core.errors import MissingExtraError, StorageError
from llmthrift_core.storage.backend import Row
from llmthrift_core.storage.faults import ClosedError, as_storage_errors, storage_error
from llmthrift_core.storage.half_vectors import teach_psycopg
from llmthrift_core.storage.location import Location
from llmthrift_core.storage.statements import RowsInsert, Statement

_POOL_CONNECTIONS: Final = 5
_POOL_OVERFLOW: Final = 10

T = TypeVar("T")


class PostgreSQLTransaction:
    """A write transaction on a pooled connection. Waits for rows that others hold, up to the busy timeout."""

    __slots__ = ("_backend", "_borrowed", "_cursor", "_errors")

    def __init__(self, backend: PostgreSQLBackend) -> None:
        self._backend = backend
        self._errors = backend.driver_errors

    def __enter__(self) -> PostgreSQLTransaction:
        self._borrowed, self._cursor = self._backend.begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            self._run("cannot commit", lambda: self._cursor.execute("COMMIT" if kind is None else "ROLLBACK"))
        except StorageError:
            self._borrowed.invalidate()
            if kind is None:
                raise
        finally:
            self._borrowed.close()

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
            raise storage_error(error, doing) from None  # psycopg's message may quote values of the row


class PostgreSQLBackend:
    """Two small pools: one in autocommit for hot statements, one for SQLAlchemy connections.

    Args:
        location: where the database is.
        busy_timeout_seconds: how long to wait for a connection, and for locks of others.

    Raises:
        MissingExtraError: psycopg is not installed.
    """

    read_only = False

    def __init__(self, location: Location, *, busy_timeout_seconds: float) -> None:
        try:
            import psycopg
        except ImportError:
            raise MissingExtraError("postgres", "psycopg") from None
        teach_psycopg()
        self.driver_errors: tuple[type[Exception], ...] = (psycopg.Error, UnicodeError, OverflowError)
        self._disconnects: Final = (psycopg.OperationalError, psycopg.InterfaceError)
        self._name = str(location)
        self._closed = False
        connect_args: dict[str, Any] = {"connect_timeout": max(1, math.ceil(busy_timeout_seconds))}

        def engine(**options: Any) -> Engine:
            made = create_engine(
                location.url,
                connect_args=connect_args,
                pool_size=_POOL_CONNECTIONS,
                max_overflow=_POOL_OVERFLOW,
                pool_timeout=busy_timeout_seconds,
                hide_parameters=True,
                **options,
            )

            def set_lock_timeout(connection: Any, _: Any) -> None:
                connection.execute(f"SET lock_timeout = {int(busy_timeout_seconds * 1000)}")
                if not connection.autocommit:
                    connection.commit()

            event.listen(made, "connect", set_lock_timeout)
            return made

        self._hot = engine(isolation_level="AUTOCOMMIT")
        self._cold = engine(pool_pre_ping=True)

    def begin(self) -> tuple[PoolProxiedConnection, Any]:
        """A connection inside a transaction, and its cursor. Raises StorageError."""
        return self._on_live_connection("cannot write", lambda cursor: cursor.execute("BEGIN"))[:2]

    def transaction(self) -> PostgreSQLTransaction:
        return PostgreSQLTransaction(self)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        self._require_open()
        with as_storage_errors(f"cannot read {self._name}"), self._cold.connect() as connection:
            # One snapshot for all queries of a report.
            yield connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        self._require_open()
        with as_storage_errors(f"cannot write to {self._name}"), self._cold.begin() as connection:
            yield connection

    def fetch_one(self, statement: Statement, parameters: Sequence[Any]) -> Row | None:
        row: Row | None = self._fetch(statement, parameters, lambda cursor: cursor.fetchone())
        return row

    def fetch_all(self, statement: Statement, parameters: Sequence[Any]) -> list[Row]:
        rows: list[Row] = self._fetch(statement, parameters, lambda cursor: cursor.fetchall())
        return rows

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

    def _fetch(self, statement: Statement, parameters: Sequence[Any], take: Callable[[Any], T]) -> T:
        text = statement.postgresql
        borrowed, _, result = self._on_live_connection("cannot read", lambda cursor: take(cursor.execute(text, parameters)))
        borrowed.close()
        return result

    def _on_live_connection(self, doing: str, action: Callable[[Any], T]) -> tuple[PoolProxiedConnection, Any, T]:
        """Run on a pooled connection; once more on a new one if the server had closed it while it lay in the pool."""
        self._require_open()
        for last in (False, True):
            with as_storage_errors(f"{doing}: {self._name}"):
                borrowed = self._hot.raw_connection()
            cursor = borrowed.cursor()
            try:
                return borrowed, cursor, action(cursor)
            except self.driver_errors as error:
                broken = isinstance(error, self._disconnects) and getattr(borrowed.driver_connection, "broken", True)
                if broken:
                    borrowed.invalidate()
                borrowed.close()
                if last or not broken:
                    raise storage_error(error, f"{doing}: {self._name}") from None
        raise StorageError(f"{doing}: {self._name}")

    def _require_open(self) -> None:
        if self._closed:
            raise ClosedError(self._name)

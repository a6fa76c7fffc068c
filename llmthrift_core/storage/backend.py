"""The protocol that `Database` drives, of SQLite and of PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Protocol

from sqlalchemy import Connection

from llmthrift_core.storage.statements import RowsInsert, Statement

Row = tuple[Any, ...]


class Transaction(Protocol):
    """One write transaction on a driver connection; a context manager that commits, or rolls back on an exception.

    Parameters are given by position, in the order of `statement.names`. Each method raises StorageError.
    """

    def execute(self, statement: Statement, parameters: Sequence[Any] = ()) -> int:
        """Run a statement that returns no rows. Returns the number of rows that it changed."""
        ...

    def executemany(self, statement: Statement, rows: Sequence[Sequence[Any]]) -> int:
        """Run a statement once per row. Returns the number of rows that all of them changed."""
        ...

    def insert(self, statement: RowsInsert, rows: Sequence[Sequence[Any]]) -> int:
        """Insert many rows, values in the order of `statement.columns`. Returns the number of rows written.

        '' in a nullable column is stored as NULL.
        """
        ...

    def fetch_one(self, statement: Statement, parameters: Sequence[Any] = ()) -> Row | None: ...

    def fetch_all(self, statement: Statement, parameters: Sequence[Any] = ()) -> list[Row]: ...

    def __enter__(self) -> Transaction: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None: ...


class Backend(Protocol):
    """The connections to one database. Safe to share between threads."""

    @property
    def read_only(self) -> bool: ...

    def read(self) -> AbstractContextManager[Connection]: ...

    def write(self) -> AbstractContextManager[Connection]: ...

    def transaction(self, *, upkeep: bool = False) -> Transaction: ...

    def fetch_one(self, statement: Statement, parameters: Sequence[Any]) -> Row | None: ...

    def fetch_all(self, statement: Statement, parameters: Sequence[Any]) -> list[Row]: ...

    def write_one(self, statement: Statement, parameters: Sequence[Any]) -> Row | None: ...

    def hold_writes(self) -> None:
        """Before a fork: wait until no thread is inside a transaction, and keep the others out."""
        ...

    def release_writes(self) -> None:
        """After a fork, in the parent."""
        ...

    def overwrite_deleted(self) -> bool:
        """Leave nothing of what was deleted in the database's files, as far as that can be done from here. False where others kept it
        from being done."""
        ...

    def close(self) -> None: ...

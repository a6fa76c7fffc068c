"""Statements for the size of a namespace, and the lock under which it is made less."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import Executable, bindparam, select

from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import cache_sizes

if TYPE_CHECKING:
    from llmthrift_core.storage.backend import Row, Transaction
    from llmthrift_core.storage.database import Database

_SIZE: Final = select(cache_sizes.c.entries, cache_sizes.c.size_bytes).where(
    cache_sizes.c.kind == bindparam("kind"), cache_sizes.c.namespace == bindparam("namespace")
)
_GET_SIZE: Final = Statement(_SIZE)
_LOCK_SIZE: Final = Statement(_SIZE.with_for_update())


class Size(NamedTuple):
    """The number of entries, and what they count in bytes."""

    entries: int
    size_bytes: int


def size_of(database: Database, kind: str, namespace: str) -> Size:
    """How much a namespace holds. Raises StorageError."""
    return _size(database.fetch_one(_GET_SIZE, (kind, namespace)))


def lock_size(transaction: Transaction, kind: str, namespace: str) -> Size:
    """How much a namespace holds; nobody changes that until the transaction ends. Raises StorageError.

    On PostgreSQL a transaction that removes or replaces entries comes here before it touches any of them, and touches those of one
    namespace only: so two never wait for each other. On SQLite one that writes is alone.
    """
    return _size(transaction.fetch_one(_LOCK_SIZE, (kind, namespace)))


def lock_of(kind: str, namespace: str) -> Executable:
    """The same lock for a transaction on a SQLAlchemy connection."""
    return _SIZE.with_for_update().params(kind=kind, namespace=namespace)


def _size(row: Row | None) -> Size:
    entries, size_bytes = (0, 0) if row is None else row
    return Size(entries if type(entries) is int else 0, size_bytes if type(size_bytes) is int else 0)

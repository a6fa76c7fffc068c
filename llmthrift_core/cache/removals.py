"""The statements that keep an answer from being stored while what it was made of is being removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, delete, func, literal_column, select

from llmthrift_core.cache.statements import GET_EPOCH, RAISE_EPOCH
from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import cache_removals

if TYPE_CHECKING:
    from llmthrift_core.storage.backend import Transaction
    from llmthrift_core.storage.database import Database

_LOCK: Any = literal_column("5247810623")  # an arbitrary number, of this purpose alone
# On SQLite a transaction that writes is alone. On PostgreSQL those that store go together, and one that removes waits for them.
_LOCK_SHARED: Final = Statement(select(func.pg_advisory_xact_lock_shared(_LOCK)))
_LOCK_ALONE: Final = Statement(select(func.pg_advisory_xact_lock(_LOCK)))
_ADD_REMOVAL: Final = Statement(
    lambda insert: insert(cache_removals).values({name: bindparam(name) for name in ("epoch", "criteria", "at_us")})
)
_REMOVALS_SINCE: Final = Statement(select(cache_removals.c.criteria).where(cache_removals.c.epoch > bindparam("since")))
FORGET_REMOVALS: Final = Statement(delete(cache_removals).where(cache_removals.c.at_us <= bindparam("at_us")))


def announce(database: Database, criteria: str, at_us: int) -> int:
    """Note that what fulfils the criteria is about to be removed: from now on nothing that was asked for before is stored, if it does.
    Returns the new epoch. Raises StorageError."""
    with database.transaction() as transaction:
        if database.dialect == "postgresql":
            transaction.fetch_one(_LOCK_ALONE)
        transaction.execute(RAISE_EPOCH)
        row = transaction.fetch_one(GET_EPOCH)
        epoch = 0 if row is None else int(row[0])
        transaction.execute(_ADD_REMOVAL, (epoch, criteria, at_us))
    return epoch


def removals_since(database: Database, since: int) -> list[str]:
    """The criteria of what was removed after an epoch, until now. Raises StorageError."""
    return [str(row[0]) for row in database.fetch_all(_REMOVALS_SINCE, (since,))]


def removed_since(transaction: Transaction, database: Database, since: int) -> list[str]:
    """The criteria of what was removed after an epoch. Until the transaction ends, nothing else is announced. Raises StorageError."""
    if database.dialect == "postgresql":
        transaction.fetch_one(_LOCK_SHARED)
    return [str(row[0]) for row in transaction.fetch_all(_REMOVALS_SINCE, (since,))]

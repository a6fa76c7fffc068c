"""Delete what is older than it should be kept. The sums stay."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from sqlalchemy import Delete, Table, bindparam, case, delete, func, select

from llmthrift_core.errors import ConfigurationError, StorageError
from llmthrift_core.moments import DAY_US
from llmthrift_core.storage.clock import Sanity
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import adjustments, calls, captures, feedback, ledger_state, other_costs

logger = logging.getLogger("llmthrift.ledger")

_BATCH: Final = 1_000
_EVERY_US: Final = 3_600_000_000
_PRUNED: Final = "pruned_us"


def _oldest(table: Table, key: str) -> Any:
    before = table.c.at_us < bindparam("before_us")
    return select(table.c[key]).where(before).order_by(table.c.at_us, table.c[key]).limit(_BATCH)


def _delete_oldest(table: Table, key: str) -> Delete:
    return delete(table).where(table.c[key].in_(_oldest(table, key)))


def _raise_state(insert: Any) -> Any:
    row = insert(ledger_state).values(name=bindparam("name"), value=bindparam("value"))
    later = case((row.excluded.value > ledger_state.c.value, row.excluded.value), else_=ledger_state.c.value)
    return row.on_conflict_do_update(index_elements=["name"], set_={"value": later})


_RAISE_STATE: Final = Statement(_raise_state)
_NEWEST: Final = Statement(select(func.max(calls.c.at_us)).where(calls.c.at_us < bindparam("before_us")))
_READ_STATE: Final = Statement(select(ledger_state.c.value).where(ledger_state.c.name == bindparam("name")))
# A price that came later goes with its call, and so before it.
_DELETE_CALLS: Final = (
    Statement(delete(adjustments).where(adjustments.c.request_id.in_(_oldest(calls, "request_id")))),
    Statement(_delete_oldest(calls, "request_id")),
)
_DELETE: Final = {
    "captures": Statement(_delete_oldest(captures, "request_id")),
    "other_costs": Statement(_delete_oldest(other_costs, "id")),
    "feedback": Statement(_delete_oldest(feedback, "id")),
}


def prune(database: Database, *, before_us: int) -> dict[str, int]:
    """Delete rows from before a time, a thousand per transaction.

    Returns:
        Table to number of deleted rows.

    Raises:
        StorageError: the database cannot be written.
    """
    with database.transaction(upkeep=True) as transaction:
        # First: a report that begins or ends inside a pruned hour must not miss the rows that are about to go.
        transaction.execute(_RAISE_STATE, (_PRUNED, before_us))
    deleted = {"calls": 0}
    while True:
        with database.transaction(upkeep=True) as transaction:
            for statement in _DELETE_CALLS:
                count = transaction.execute(statement, (before_us,))
        deleted["calls"] += count
        if count < _BATCH:
            break
    for name, statement in _DELETE.items():
        deleted[name] = _delete_all(database, statement, before_us)
    return deleted


class Retention:
    """Prunes what is older than a number of days: with the first commit, and then once an hour while the ledger is written.

    A clock that is days ahead of all that is recorded prunes nothing before it is certain that it is right.

    Raises:
        ConfigurationError: days is not a positive number.
    """

    def __init__(self, database: Database, *, days: float, clock: Callable[[], float]) -> None:
        if isinstance(days, bool) or not isinstance(days, int | float) or not 0 < days < 100_000:
            raise ConfigurationError(f"retention_days must be a positive number of days, not {days!r}")
        self._database = database
        self._kept_us = round(days * DAY_US)
        self._sanity = Sanity(clock, lambda before_us: _newest_us(database, before_us))
        self._due_us = 0
        with suppress(StorageError):
            self._sanity.now_us()  # before this process records anything, which would prove nothing

    def prune_if_due(self) -> None:
        """Prune, unless that happened within the hour. A database that cannot be written now is pruned another time."""
        try:
            now_us = self._sanity.now_us()
            if now_us is None or now_us < self._due_us:
                return
            self._due_us = now_us + _EVERY_US
            prune(self._database, before_us=now_us - self._kept_us)
        except StorageError as error:
            logger.warning("old calls could not be deleted, which is tried again in an hour: %s", error)


def pruned_until_us(database: Database) -> int | None:
    """Calls before this time may be missing, while their sums are whole. None: nothing was ever pruned."""
    row = database.fetch_one(_READ_STATE, (_PRUNED,))
    return None if row is None else int(row[0])


def _newest_us(database: Database, before_us: int) -> int | None:
    row = database.fetch_one(_NEWEST, (before_us,))
    return None if row is None or row[0] is None else int(row[0])


def _delete_all(database: Database, statement: Statement, before_us: int) -> int:
    total = 0
    while True:
        with database.transaction(upkeep=True) as transaction:
            count = transaction.execute(statement, (before_us,))
        total += count
        if count < _BATCH:
            return total

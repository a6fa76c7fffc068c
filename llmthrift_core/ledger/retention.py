"""Delete what is older than it should be kept. The sums stay."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Delete, Table, bindparam, case, delete, select

from llmthrift_core.storage.database import Database
from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import adjustments, calls, captures, feedback, ledger_state, other_costs

_BATCH: Final = 1_000
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
    with database.transaction() as transaction:
        # First: a report that begins or ends inside a pruned hour must not miss the rows that are about to go.
        transaction.execute(_RAISE_STATE, (_PRUNED, before_us))
    deleted = {"calls": 0}
    while True:
        with database.transaction() as transaction:
            for statement in _DELETE_CALLS:
                count = transaction.execute(statement, (before_us,))
        deleted["calls"] += count
        if count < _BATCH:
            break
    for name, statement in _DELETE.items():
        deleted[name] = _delete_all(database, statement, before_us)
    return deleted


def pruned_until_us(database: Database) -> int | None:
    """Calls before this time may be missing, while their sums are whole. None: nothing was ever pruned."""
    row = database.fetch_one(_READ_STATE, (_PRUNED,))
    return None if row is None else int(row[0])


def _delete_all(database: Database, statement: Statement, before_us: int) -> int:
    total = 0
    while True:
        with database.transaction() as transaction:
            count = transaction.execute(statement, (before_us,))
        total += count
        if count < _BATCH:
            return total

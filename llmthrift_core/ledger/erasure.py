"""Forget a user: the rows keep their amounts and lose what says who it was."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

from sqlalchemy import BindParameter, Table, bindparam, delete, null, select, update

from llmthrift_core.ledger.reading import RecordedCall, attribution_of_row, select_calls
from llmthrift_core.ledger.record import CallRecord
from llmthrift_core.ledger.rollups import Sums
from llmthrift_core.ledger.statements import MEASURES, ROLLUP_KEY, add_to_rollups
from llmthrift_core.storage.backend import Transaction
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import calls, captures, feedback, other_costs, rollups

_BATCH: Final = 1_000
# The sums whose values name a person or something of theirs.
_PERSONAL: Final = ("user", "session", "tag")
_CLEARED_IN_CALLS: Final = (
    "user", "session", "run", "run_id", "trace_id", "parent_id", "tags", "prompt_hash", "lexical_counts", "path",
    "response_id", "message_id",
)  # fmt: skip
_CLEARED_IN_COSTS: Final = ("user", "session", "run", "tags", "trace_id", "path")


def _clear(table: Table, names: Sequence[str]) -> Statement:
    return Statement(update(table).where(table.c.id == bindparam("row_id")).values({name: null() for name in names}))


_OF_USER: Final[BindParameter[str]] = bindparam("of_user")
_CALL: Final = select_calls().where(calls.c.id == bindparam("row_id"), calls.c.user == _OF_USER)
_COST: Final = select(other_costs).where(other_costs.c.id == bindparam("row_id"), other_costs.c.user == _OF_USER)
_READ_CALL: Final = Statement(_CALL)
_READ_COST: Final = Statement(_COST)
_CALL_NAMES: Final = tuple(_CALL.selected_columns.keys())
_COST_NAMES: Final = tuple(_COST.selected_columns.keys())
_CLEAR_CALL: Final = _clear(calls, _CLEARED_IN_CALLS)
_CLEAR_COST: Final = _clear(other_costs, _CLEARED_IN_COSTS)
_DELETE_CAPTURE: Final = Statement(delete(captures).where(captures.c.request_id == bindparam("of_request")))
_DELETE_CAPTURES: Final = Statement(delete(captures).where(captures.c.user == _OF_USER))
_CLEAR_COMMENT: Final = Statement(
    update(feedback).where(feedback.c.request_id == bindparam("of_request"), feedback.c.comment.is_not(None)).values(comment=null())
)
# A user who judged answers, of whomever.
_CLEAR_SOURCE: Final = Statement(update(feedback).where(feedback.c.source == _OF_USER).values(source=null(), comment=null()))
_DELETE_SUMS: Final = Statement(delete(rollups).where(rollups.c.dimension == "user", rollups.c.value == _OF_USER))
_DELETE_EMPTY_SUMS: Final = Statement(
    delete(rollups).where(
        *(rollups.c[name] == bindparam(f"of_{name}") for name in ROLLUP_KEY),
        *(rollups.c[name] == 0 for name in MEASURES),
    )
)


def erase(database: Database, *, user: str) -> dict[str, int]:
    """Clear who made a user's calls, and delete the captured text. Reports keep their totals.

    This is the one exception to "rows are appended and never updated". A thousand rows change per transaction, together
    with their sums. Sessions whose calls were pruned cannot be told to be this user's and stay.

    Returns:
        Table to number of changed or deleted rows.

    Raises:
        StorageError: the database cannot be written. Erasing again goes on where it stopped.
    """
    erased = {"calls": 0, "other_costs": 0, "captures": 0, "feedback": 0}
    for ids in _ids(database, calls, user):
        with database.transaction(upkeep=True) as transaction:
            _erase_calls(transaction, ids, user, erased)
    for ids in _ids(database, other_costs, user):
        with database.transaction(upkeep=True) as transaction:
            _erase_costs(transaction, ids, user, erased)
    with database.transaction(upkeep=True) as transaction:
        erased["captures"] += transaction.execute(_DELETE_CAPTURES, (user,))
        erased["feedback"] += transaction.execute(_CLEAR_SOURCE, (user,))
        transaction.execute(_DELETE_SUMS, (user,))
    return erased


def _ids(database: Database, table: Table, user: str) -> Iterator[list[int]]:
    # Found without the write lock: there is no index on users, and a search through millions of rows takes seconds.
    with database.read() as connection:
        found = list(connection.execute(select(table.c.id).where(table.c.user == user).order_by(table.c.id)).scalars())
    for start in range(0, len(found), _BATCH):
        yield found[start : start + _BATCH]


def _erase_calls(transaction: Transaction, ids: list[int], user: str, erased: dict[str, int]) -> None:
    sums = Sums()
    for row_id in ids:
        row = transaction.fetch_one(_READ_CALL, (row_id, user))
        if row is None:
            continue  # another process was quicker
        call = RecordedCall(dict(zip(_CALL_NAMES, row, strict=True)))
        sums.add_call(cast(CallRecord, call))
        transaction.execute(_CLEAR_CALL, (row_id,))
        erased["calls"] += 1
        erased["captures"] += transaction.execute(_DELETE_CAPTURE, (call["request_id"],))
        erased["feedback"] += transaction.execute(_CLEAR_COMMENT, (call["request_id"],))
    _take_away(transaction, sums)


def _erase_costs(transaction: Transaction, ids: list[int], user: str, erased: dict[str, int]) -> None:
    sums = Sums()
    for row_id in ids:
        row = transaction.fetch_one(_READ_COST, (row_id, user))
        if row is None:
            continue
        cost: dict[str, Any] = dict(zip(_COST_NAMES, row, strict=True))
        tags = json.loads(cost["tags"]) if cost["tags"] else {}
        sums.add_other_cost(cost["at_us"], cost["cost_nano_usd"], attribution_of_row(cost, tags))
        transaction.execute(_CLEAR_COST, (row_id,))
        erased["other_costs"] += 1
    _take_away(transaction, sums)


def _take_away(transaction: Transaction, sums: Sums) -> None:
    rows = sums.rows(sign=-1, dimensions=_PERSONAL)
    transaction.insert(add_to_rollups(sums.measures), rows)
    transaction.executemany(_DELETE_EMPTY_SUMS, [row[: len(ROLLUP_KEY)] for row in rows])

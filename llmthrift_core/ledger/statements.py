"""The statements of the ledger that run for every batch of calls."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Executable, bindparam, func, select

from llmthrift_core.storage.statements import RowsInsert, Statement
from llmthrift_core.storage.tables import adjustments, calls, captures, feedback, other_costs, rollups

ROLLUP_KEY: Final = ("dimension", "span", "bucket", "value")
MEASURES: Final = tuple(column.name for column in rollups.c if column.name not in ROLLUP_KEY)
COUNT_FEEDBACK: Final = Statement(select(func.count()).select_from(feedback).where(feedback.c.at_us > bindparam("since_us")))


def _unless_recorded(insert: Any) -> Executable:
    construct: Executable = insert.on_conflict_do_nothing(index_elements=["request_id"])
    return construct


def _unless_same_id(insert: Any) -> Executable:
    construct: Executable = insert.on_conflict_do_nothing(index_elements=["id"])
    return construct


INSERT_CAPTURES: Final = RowsInsert(captures, captures.c.keys(), _unless_recorded)
INSERT_ADJUSTMENTS: Final = RowsInsert(adjustments, adjustments.c.keys(), _unless_recorded)
INSERT_OTHER_COSTS: Final = RowsInsert(other_costs, [column.name for column in other_costs.c if column.name != "id"], _unless_recorded)
INSERT_FEEDBACK: Final = RowsInsert(feedback, [column.name for column in feedback.c if column.name != "id"], _unless_same_id)


@lru_cache(maxsize=64)
def insert_calls(columns: tuple[str, ...]) -> RowsInsert:
    """Inserts rows with these columns, in the order of the table, unless their request ids were recorded; others have their defaults."""
    return RowsInsert(calls, columns, _unless_recorded)


@lru_cache(maxsize=64)
def add_to_rollups(measures: tuple[str, ...]) -> RowsInsert:
    """Adds to sums: of ROLLUP_KEY, then these measures in the order of the table. The others stay as they are."""

    def add(insert: Any) -> Executable:
        sums = {name: rollups.c[name] + insert.excluded[name] for name in measures}
        construct: Executable = insert.on_conflict_do_update(index_elements=list(ROLLUP_KEY), set_=sums)
        return construct

    return RowsInsert(rollups, (*ROLLUP_KEY, *measures), add, constants=dict.fromkeys(set(MEASURES).difference(measures), 0))

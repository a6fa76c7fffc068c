"""One transaction of the ledger: rows and their sums, committed together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from llmthrift_core.errors import RowRejectedError
from llmthrift_core.ledger.record import (
    CallRecord,
    Capture,
    Entry,
    Feedback,
    OtherCost,
    layout_of,
)
from llmthrift_core.ledger.repair import MOST, MOST_NAME_CHARACTERS
from llmthrift_core.ledger.rollups import Sums
from llmthrift_core.ledger.statements import (
    INSERT_CAPTURES,
    INSERT_FEEDBACK,
    INSERT_OTHER_COSTS,
    add_to_rollups,
    insert_calls,
)
from llmthrift_core.storage.backend import Row, Transaction
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.statements import RowsInsert

Recorded = TypeVar("Recorded", CallRecord, OtherCost)


class Outcome(NamedTuple):
    """What a transaction did: entries that are new, and those whose request id was recorded before.

    `new` has the entries that are new, where not all are.
    """

    written: int
    duplicates: int
    new: Sequence[Entry] | None = None


class _DuplicatesError(Exception):
    """Some request ids are recorded already: roll back, and find out which."""


def commit(database: Database, entries: Sequence[Entry]) -> Outcome:
    """Write entries and their sums in one transaction. A repeated request id changes nothing.

    Raises:
        RowRejectedError: a value cannot be stored; nothing was written.
        StorageError: the database cannot be written; nothing was.
    """
    batch = _Batch(entries)
    try:
        with database.transaction() as transaction:
            batch.insert(transaction)
    except _DuplicatesError:
        with database.transaction() as transaction:
            new = batch.insert_new(transaction)
        return Outcome(len(new), len(entries) - len(new), new)
    return Outcome(len(entries), 0)


class _Batch:
    """Entries by table, and what can be computed before the write lock is taken."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._calls: list[CallRecord] = []
        self._costs: list[OtherCost] = []
        self._captures: list[Capture] = []
        self._feedback: list[Feedback] = []
        for entry in entries:
            if isinstance(entry, CallRecord):
                entry.complete()
                self._calls.append(entry)
            elif isinstance(entry, Capture):
                self._captures.append(entry)
            elif isinstance(entry, OtherCost):
                self._costs.append(entry)
            else:
                self._feedback.append(entry)
        try:
            self._layout = layout_of(self._calls)
            self._call_rows = list(map(self._layout.values, self._calls))
            self._cost_rows = [cost.values() for cost in self._costs]
            self._sums = self._sums_of(self._call_rows, self._calls, self._costs)
        except RowRejectedError:
            raise
        except Exception as error:  # an attribute of a wrong type, set by the caller
            raise RowRejectedError(f"cannot read a record ({type(error).__name__})") from error

    def insert(self, transaction: Transaction) -> None:
        """Insert all. Raises _DuplicatesError when some were recorded before."""
        inserted = transaction.insert(insert_calls(self._layout.columns), self._call_rows)
        inserted += transaction.insert(INSERT_OTHER_COSTS, self._cost_rows)
        if inserted != len(self._calls) + len(self._costs):
            raise _DuplicatesError
        transaction.insert(*self._sums)
        self._insert_texts(transaction)

    def insert_new(self, transaction: Transaction) -> list[Entry]:
        """Insert those that were not recorded before, one by one in their order. Returns the entries that were new."""
        calls = _insert_singly(transaction, insert_calls(self._layout.columns), self._calls, self._call_rows)
        costs = _insert_singly(transaction, INSERT_OTHER_COSTS, self._costs, self._cost_rows)
        transaction.insert(*self._sums_of([row for _, row in calls], [call for call, _ in calls], [cost for cost, _ in costs]))
        self._insert_texts(transaction)
        return [*(call for call, _ in calls), *(cost for cost, _ in costs), *self._captures, *self._feedback]

    def _insert_texts(self, transaction: Transaction) -> None:
        transaction.insert(INSERT_CAPTURES, self._captures)
        transaction.insert(INSERT_FEEDBACK, self._feedback)

    def _sums_of(self, rows: Sequence[Row], calls: Sequence[CallRecord], costs: Sequence[OtherCost]) -> tuple[RowsInsert, list[Row]]:
        """The statement that adds to the sums, and its rows."""
        sums = Sums(self._layout, with_other_costs=bool(costs))
        sums.add_calls(rows, calls)
        for cost in costs:
            sums.add_other_cost(cost.at_us, cost.cost_nano_usd, cost.attribution)
        added = sums.rows()
        if added:
            _check(added)
        return add_to_rollups(sums.measures), added


def _check(added: Sequence[Row]) -> None:
    """Refuse what the sums cannot hold, before it makes one overflow, or PostgreSQL refuse the batch."""
    dimensions, _, _, values, *amounts = zip(*added, strict=True)
    if any("\0" in name for name in {*dimensions, *values}):
        raise RowRejectedError("a name holds a NUL character")
    if max(map(len, values)) > MOST_NAME_CHARACTERS or max(map(len, dimensions)) > len("tag:") + MOST_NAME_CHARACTERS:
        raise RowRejectedError("a name is too long")
    if max(map(max, amounts)) > MOST or min(map(min, amounts)) < -MOST:
        raise RowRejectedError("an amount is too large")


def _insert_singly(
    transaction: Transaction, statement: RowsInsert, records: Sequence[Recorded], rows: Sequence[Row]
) -> list[tuple[Recorded, Row]]:
    """The records that were new, and their rows."""
    return [(record, row) for record, row in zip(records, rows, strict=True) if transaction.insert(statement, [row])]

"""The rows of the calls made inside a block, for who wants to tell at once what they cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from llmthrift_core.ledger.record import CallRecord

_rows: ContextVar[list[CallRecord] | None] = ContextVar("llmthrift_rows", default=None)


@contextmanager
def collect_rows() -> Iterator[list[CallRecord]]:
    """A list that fills with the rows of the calls made inside, also in threads and tasks that copy this context.

    A row whose price is read from files later may not have it yet.
    """
    rows: list[CallRecord] = []
    token = _rows.set(rows)
    try:
        yield rows
    finally:
        with suppress(ValueError):  # a generator that is closed by another task than it ran in
            _rows.reset(token)


def note_row(record: CallRecord) -> None:
    """Add a row for who collects them."""
    if (rows := _rows.get()) is not None:
        rows.append(record)

"""The calls of one value of an attribute, in a time that does not grow with the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

from sqlalchemy import Connection, select, text

from llmthrift_core.ledger.reading import RecordedCall, select_calls
from llmthrift_core.ledger.rollups import DIMENSIONS, spans_of
from llmthrift_core.moments import MICROSECONDS
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.tables import COSTLY_NANO_USD, adjustments, calls, rollups, run_of_calls

LOOKED_AT: Final = 10_000
"""Of a longer period so many of the newest calls are looked at."""
COSTLY_LOOKED_AT: Final = 2_500
"""And so many of those that cost most and at least a cent."""
Found = tuple[int, int | None]


def find_calls(
    database: Database, *, by: str, value: str | None, since_us: int | None, order: Literal["newest", "cost"], limit: int
) -> tuple[list[RecordedCall], bool]:
    """The first calls of a value, and whether all of the period were looked at.

    Of a long period the newest are looked at, from the last hour or day in which the value was recorded, and those that cost most.

    Args:
        by: a column, "run", or the name of a tag; "" takes every call.
        value: None takes the calls without one.

    Raises:
        StorageError: the database cannot be read.
    """
    with database.read() as connection:
        found, is_whole = _found(connection, by, value, since_us, order == "cost", limit)
        if order == "cost":
            found.sort(key=lambda each: (-1 if each[1] is None else each[1], each[0]), reverse=True)
        ids = [number for number, _ in found[:limit]]
        rows = [RecordedCall(row._mapping) for row in connection.execute(select_calls().where(calls.c.id.in_(ids)))]
    places = {number: place for place, number in enumerate(ids)}
    return sorted(rows, key=lambda row: places[row["id"]]), is_whole


def _found(connection: Connection, by: str, value: str | None, since_us: int | None, costly: bool, limit: int) -> tuple[list[Found], bool]:
    within = [] if since_us is None else [calls.c.at_us >= since_us]
    is_tag = by not in ("", "run") and by not in calls.c
    key = run_of_calls if by == "run" else calls.c.tags if is_tag or not by else calls.c[by]
    query = select(calls.c.id, calls.c.cost_nano_usd, key).where(*within)
    newest = query.order_by(calls.c.at_us.desc(), calls.c.id.desc())
    name = by.removeprefix("tag:")

    def of_value(rows: Sequence[Any]) -> Iterator[Found]:
        for number, nano_usd, found in rows:
            held = (json.loads(found).get(name) if found else None) if is_tag else found
            if not by or (held or None) == value:
                yield number, nano_usd

    if by == "run" and value is not None:  # which an index finds
        rows = connection.execute(newest.where(key == value, key.is_not(None)).limit(LOOKED_AT)).all()
        return list(of_value(rows)), len(rows) < LOOKED_AT
    last = _last_bucket(connection, f"tag:{name}" if is_tag else by, value)
    rows = connection.execute((newest if last is None else newest.where(calls.c.at_us < last)).limit(LOOKED_AT)).all()
    found, is_whole = list(of_value(rows)), len(rows) < LOOKED_AT
    if is_whole or not costly:
        return found, is_whole or len(found) >= limit
    later = select(calls.c.id, adjustments.c.cost_nano_usd, key).join(adjustments, adjustments.c.request_id == calls.c.request_id)
    found += of_value(connection.execute(later.where(*within).order_by(adjustments.c.cost_nano_usd.desc()).limit(LOOKED_AT)).all())
    # The index has only those that cost a cent, which the term as it stands there tells.
    most = query.where(calls.c.cost_nano_usd >= text(str(COSTLY_NANO_USD))).order_by(calls.c.cost_nano_usd.desc())
    found += of_value(connection.execute(most.limit(COSTLY_LOOKED_AT)).all())
    return list(dict(found).items()), False


def _last_bucket(connection: Connection, dimension: str, value: str | None) -> int | None:
    """When the last hour or day ends in which the value was recorded, in microseconds; None where no sums tell."""
    if value is None or not (dimension in DIMENSIONS or dimension.startswith("tag:")):
        return None
    span = min(spans_of(dimension))
    query = select(rollups.c.bucket).where(rollups.c.dimension == dimension, rollups.c.span == span, rollups.c.value == value)
    bucket = connection.execute(query.order_by(rollups.c.bucket.desc()).limit(1)).scalar()
    return None if bucket is None else (int(bucket) + span) * MICROSECONDS

"""Price, later, the calls that were recorded without a price."""

from __future__ import annotations

from typing import Final, cast

from sqlalchemy import and_

from llmthrift_core.ledger.reading import RecordedCall, select_calls, usage_of_row
from llmthrift_core.ledger.record import CallRecord
from llmthrift_core.ledger.rollups import Sums
from llmthrift_core.ledger.statements import INSERT_ADJUSTMENTS, add_to_rollups
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.tables import adjustments, calls

_BATCH: Final = 1_000


def reprice_unpriced(database: Database, prices: PriceCatalog, *, at_us: int) -> int:
    """Append an adjustment to every unpriced call that can be priced now, at the call's own time.

    Rows and sums change in one transaction per thousand calls. Doing it twice, or at once in two processes, prices
    nothing twice.

    Args:
        at_us: when the adjustment is made.

    Returns:
        How many calls were priced.

    Raises:
        StorageError: the database cannot be read or written.
    """
    priced = 0
    last_id = 0
    while batch := _unpriced(database, last_id):
        last_id = batch[-1]["id"]
        priced += _adjust(database, prices, batch, at_us)
    return priced


def _unpriced(database: Database, after_id: int) -> list[RecordedCall]:
    query = (
        select_calls()
        .where(and_(calls.c.cost_nano_usd.is_(None), adjustments.c.request_id.is_(None), calls.c.id > after_id))
        .order_by(calls.c.id)
        .limit(_BATCH)
    )
    with database.read() as connection:
        return [RecordedCall(row._mapping) for row in connection.execute(query)]


def _adjust(database: Database, prices: PriceCatalog, batch: list[RecordedCall], at_us: int) -> int:
    found = []
    for call in batch:
        price = prices.price(usage_of_row(call), call["model"], call["provider"], call["at_us"])
        if price is not None:
            amounts = (price.nano_usd, price.input_nano_usd, price.output_nano_usd)
            found.append((call, amounts, (call["request_id"], at_us, *amounts, price.price_version)))
    if not found:
        return 0
    sums = Sums()
    new = 0
    with database.transaction(upkeep=True) as transaction:
        for call, amounts, row in found:
            if transaction.insert(INSERT_ADJUSTMENTS, [row]):
                sums.add_backfill(cast(CallRecord, call), *amounts)
                new += 1
        transaction.insert(add_to_rollups(sums.measures), sums.rows())
    return new

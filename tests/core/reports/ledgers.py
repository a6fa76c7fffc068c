"""Ledgers with a known history, written as the ledger writes it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import count

from llmthrift_core import Thrift
from llmthrift_core.attribution import attribution_of
from llmthrift_core.ledger import CallRecord
from llmthrift_core.money import to_nano_usd

_numbers = count()


def spend(thrift: Thrift, at: str | datetime, usd: float | str | None, *, model: str = "gpt-4o-mini", **attribution: str) -> str:
    """Record a call that cost so much; None: without a price. Returns its request id."""
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    request_id = f"call-{next(_numbers)}"
    record = CallRecord(request_id=request_id, call_id=request_id, at_us=round(moment.timestamp() * 1e6), model=model)
    record.attribution = attribution_of(None, **attribution)
    record.cost_nano_usd = None if usd is None else to_nano_usd(usd)
    thrift.ledger.append(record)
    return request_id


def spend_days(thrift: Thrift, moments: Iterable[datetime], usd: float | str, **attribution: str) -> None:
    """Record a call of so much at each moment."""
    for moment in moments:
        spend(thrift, moment, usd, **attribution)
    thrift.flush()

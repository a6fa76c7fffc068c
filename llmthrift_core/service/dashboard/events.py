"""Server-sent events that tell an open page when its figures have changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from sqlalchemy import func, select

from llmthrift_core.storage.tables import adjustments, calls, other_costs
from llmthrift_core.thrift import Thrift

EVERY_SECONDS: Final = 2.0
# A page asks again by itself: no stream outlives a restart for long, and none keeps a worker that is to end.
FOR_SECONDS: Final = 25.0
_RETRY: Final = b"retry: 2000\n\n"


def state_of(thrift: Thrift, watches: str) -> str:
    """Changes when a page would show something else: with a row, a later price or another cost; of budgets with every amount."""
    thrift.ledger.catch_up()
    with thrift.database.read() as connection:
        newest = [connection.execute(select(func.max(table.c.id))).scalar() for table in (calls, other_costs)]
        newest.append(connection.execute(select(func.max(adjustments.c.at_us))).scalar())
    text = ".".join(map(str, newest))
    if watches != "budgets":
        return text
    amounts = [(row["name"], str(row["scope"]), row["spent"], row["reserved"], row["limit"]) for row in thrift.budgets.status()]
    return f"{text}.{hash(tuple(amounts))}"


async def events(
    thrift: Thrift,
    watches: str,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    every: float = EVERY_SECONDS,
    seconds: float = FOR_SECONDS,
) -> AsyncIterator[bytes]:
    """The stream of one page: "changed" where its figures have, else a comment that keeps the connection."""
    yield _RETRY
    before = await asyncio.to_thread(state_of, thrift, watches)
    for _ in range(round(seconds / every)):
        await sleep(every)
        now = await asyncio.to_thread(state_of, thrift, watches)
        yield b"event: changed\ndata: now\n\n" if now != before else b": quiet\n\n"
        before = now

"""When the figures of a page have changed: events that tell an open page, and pages that are kept until then."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

from sqlalchemy import func, select

from llmthrift_core.service.dashboard.view import Page
from llmthrift_core.storage.tables import adjustments, calls, other_costs
from llmthrift_core.thrift import Thrift

EVERY_SECONDS: Final = 2.0
# A page asks again by itself: no stream outlives a restart for long, and none keeps a worker that is to end.
FOR_SECONDS: Final = 25.0
_RETRY: Final = b"retry: 2000\n\n"
KEPT_SECONDS: Final = 10.0
_MOST_KEPT: Final = 64
# Whose figures come from rows alone. What the others show changes without a row: amounts set aside, entries, versions, the process.
_KEPT: Final = frozenset({"spend", "explorer", "calls", "runs", "opportunities", "plans", "prompts", "alerts"})
Make = Callable[[Any, Mapping[str, str]], Page]


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


@dataclass(slots=True)
class _Place:
    lock: Lock = field(default_factory=Lock)
    state: str = ""
    at: float = 0.0
    page: Page | None = None


class KeptPages:
    """Pages as they were made last: for ten seconds, while no row comes. Who asks for a page that is being made waits for that one."""

    def __init__(self, thrift: Thrift) -> None:
        self._thrift = thrift
        self._lock = Lock()
        self._places: OrderedDict[tuple[str, tuple[tuple[str, str], ...]], _Place] = OrderedDict()

    def page(self, name: str, make: Make, query: Mapping[str, str]) -> Page:
        """The page of an address."""
        if name not in _KEPT:
            return make(self._thrift, query)
        with self._lock:
            key = name, tuple(sorted(query.items()))
            place = self._places.setdefault(key, _Place())
            self._places.move_to_end(key)
            if len(self._places) > _MOST_KEPT:
                self._places.popitem(last=False)
        with place.lock:
            state, now = state_of(self._thrift, "calls"), self._thrift.now()
            if place.page is None or place.state != state or not 0 <= now - place.at < KEPT_SECONDS:
                place.page = make(self._thrift, query)
                place.state, place.at = state, now
            return place.page

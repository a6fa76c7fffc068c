"""A caller who is cancelled while the database is asked off the event loop leaves nothing set aside."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage

from llmthrift_core import Budget, Thrift
from llmthrift_core.routing import Review, RouteDecision, RouteRequest, Tiers
from llmthrift_core.testing import LoopbackProvider
from tests.contracts.doors import _LOOP, AnyDoor, Door
from tests.contracts.test_faulty_policies import Policy, in_langchain, in_llamaindex

pytestmark = pytest.mark.loopback
ROUTERS = pytest.mark.parametrize("router", [in_langchain, in_llamaindex])


class Escalates(Policy):
    reviews = True
    holds_streams = True

    def review(self, request: RouteRequest, tier: str, answer: str, tiers: Tiers, context: Any = None) -> Review | None:
        return Review(0.1, RouteDecision("strong", "not good enough")) if tier == "weak" else None


async def read(door: AnyDoor, how: str) -> None:
    model: Any = door.model
    messages: Any = "Hello?" if isinstance(door, Door) else [ChatMessage("Hello?")]
    if how == "whole":
        await (model.ainvoke(messages) if isinstance(door, Door) else model.achat(messages))
        return
    async for _ in model.astream(messages) if isinstance(door, Door) else await model.astream_chat(messages):
        pass


async def cancel_while_it_reserves(thrift: Thrift, door: AnyDoor, *, hold: int, how: str) -> None:
    """Cancel a call that waits for its first or its second hold, which is then granted."""
    reached, go, granted = threading.Event(), threading.Event(), threading.Event()
    grant: Callable[..., Any] = thrift.budgets.hold
    asked: list[int] = []

    def late(*args: Any, **kwargs: Any) -> Any:
        asked.append(1)
        if len(asked) != hold:
            return grant(*args, **kwargs)
        reached.set()
        go.wait(120)
        try:
            return grant(*args, **kwargs)
        finally:
            granted.set()

    thrift.budgets.hold = late  # type: ignore[method-assign]
    task = asyncio.ensure_future(read(door, how))
    assert await asyncio.to_thread(reached.wait, 120)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    assert await asyncio.to_thread(granted.wait, 120)
    for _ in range(2400):
        if not thrift.budgets.holds():
            return
        await asyncio.sleep(0.05)


@ROUTERS
@pytest.mark.parametrize("how", ["whole", "stream"])
@pytest.mark.parametrize("hold", [1, 2], ids=["of the first model", "of the next one"])
def test_nothing_stays_set_aside(thrift: Thrift, provider: LoopbackProvider, router: Callable[..., AnyDoor], hold: int, how: str) -> None:
    thrift.budgets.add(Budget(limit_usd=1, window="day"))
    _LOOP.run(cancel_while_it_reserves(thrift, router(thrift, provider, Escalates()), hold=hold, how=how))
    assert thrift.budgets.holds() == []
    thrift.flush()
    rows = list(thrift.ledger.calls())
    assert sum(row.output_tokens for row in rows) == sum(each.output_tokens for each in provider.usage_log)
    assert len(provider.usage_log) == hold - 1

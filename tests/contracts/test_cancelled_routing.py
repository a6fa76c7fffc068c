"""A caller who is cancelled while the database is asked off the event loop leaves nothing set aside."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage

import llmthrift_core.background.off_loop as off_loop
import llmthrift_langchain as lc
import llmthrift_llamaindex as li
from llmthrift_core import Budget, Thrift
from llmthrift_core.routing import Review, RouteDecision, RouteRequest, Tiers
from llmthrift_core.testing import LoopbackProvider
from tests.contracts.doors import (
    _LOOP,
    AnyDoor,
    Door,
    MakeDoor,
    client,
    uninstall_handlers,
    with_llamaindex_router,
    with_llamaindex_thrifty,
    with_router,
)
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
        await (model.ainvoke(messages, door.config) if isinstance(door, Door) else model.achat(messages))
        return
    async for _ in model.astream(messages, door.config) if isinstance(door, Door) else await model.astream_chat(messages):
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
    assert await asyncio.to_thread(granted.wait, 30)
    for _ in range(2400):
        if not thrift.budgets.holds():
            return
        await asyncio.sleep(0.05)


@ROUTERS
@pytest.mark.parametrize("how", ["whole", "stream"])
@pytest.mark.parametrize("hold", [1, 2], ids=["of the first model", "of the next one"])
def test_nothing_stays_set_aside(
    thrift: Thrift, provider: LoopbackProvider, router: Callable[..., AnyDoor], hold: int, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(off_loop, "_LONGEST_END_SECONDS", 0.0)  # as where the store answers long after the caller has gone
    thrift.budgets.add(Budget(limit_usd=1, window="day"))
    _LOOP.run(cancel_while_it_reserves(thrift, router(thrift, provider, Escalates()), hold=hold, how=how))
    assert thrift.budgets.holds() == []
    thrift.flush()
    rows = list(thrift.ledger.calls())
    assert sum(row.output_tokens for row in rows) == sum(each.output_tokens for each in provider.usage_log)
    assert len(provider.usage_log) == hold - 1


# --- a caller who is cancelled goes on only when nothing is set aside any more ---


def with_thrifty(thrift: Thrift, provider: LoopbackProvider) -> Door:
    return Door(lc.thrifty(client(provider), thrift))


def with_enforcing_handler(thrift: Thrift, provider: LoopbackProvider) -> Door:
    return Door(client(provider), [lc.ThriftCallbackHandler(thrift, enforce=True)])


def with_enforcing_handler_and_cache(thrift: Thrift, provider: LoopbackProvider) -> Door:
    return Door(client(provider, cache=lc.ThriftCache(thrift)), [lc.ThriftCallbackHandler(thrift, enforce=True)])


DOORS: list[MakeDoor] = [
    with_thrifty,
    with_router,
    with_enforcing_handler,
    with_enforcing_handler_and_cache,
    with_llamaindex_thrifty,
    with_llamaindex_router,
]


async def cancel_while_it_is_granted(thrift: Thrift, ask: Callable[[], Any]) -> None:
    """Cancel a call whose reservation is in the store, before its thread has said so."""
    granted, go = threading.Event(), threading.Event()
    reserve: Callable[..., Any] = thrift.budgets._store.reserve

    def slow(*args: Any, **kwargs: Any) -> None:
        reserve(*args, **kwargs)
        granted.set()
        go.wait(30)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thrift.budgets._store, "reserve", slow)
        task = asyncio.ensure_future(ask())
        assert await asyncio.to_thread(granted.wait, 30)
        task.cancel()
        for _ in range(20):  # turns of the loop, in which the call ends if it waits for nothing
            await asyncio.sleep(0)
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("make", DOORS, ids=lambda make: make.__name__.removeprefix("with_"))
@pytest.mark.parametrize("how", ["ainvoke", "astream"])
def test_the_next_call_has_the_room_of_one_that_was_given_up(thrift: Thrift, provider: LoopbackProvider, make: MakeDoor, how: str) -> None:
    thrift.budgets.add(Budget(limit_requests=1, window="day"))
    door = make(thrift, provider)

    async def go() -> None:
        await cancel_while_it_is_granted(thrift, lambda: read(door, "whole" if how == "ainvoke" else "stream"))

    try:
        _LOOP.run(go())
        assert thrift.budgets.holds() == []
        assert all(row.cost_usd == 0 for row in thrift.ledger.calls())
        assert door.ask("And now?", how)
        assert len(provider.requests) == 1
    finally:
        uninstall_handlers()


@pytest.mark.parametrize("on_exceed", ["block", "queue"], ids=["at once", "in a thread of its own"])
@pytest.mark.parametrize("framework", ["langchain", "llamaindex"])
def test_embeddings_that_are_given_up_leave_nothing(thrift: Thrift, provider: LoopbackProvider, framework: str, on_exceed: Any) -> None:
    from langchain_core.embeddings import DeterministicFakeEmbedding
    from llama_index.core.embeddings import MockEmbedding

    thrift.budgets.add(Budget(limit_tokens=20, window="day", unpriced="allow", on_exceed=on_exceed, max_wait_seconds=0.1))
    text = " ".join(["word"] * 15)
    model: Any

    class Named(DeterministicFakeEmbedding):
        model: str = "text-embedding-3-small"

    if framework == "langchain":
        model = lc.ThriftEmbeddings(thrift, Named(size=4))
        embed = model.aembed_query
    else:
        model = li.ThriftEmbedding(thrift, MockEmbedding(embed_dim=4, model_name="text-embedding-3-small"))
        embed = model.aget_text_embedding

    async def go() -> None:
        await cancel_while_it_is_granted(thrift, lambda: embed(text))
        for _ in range(2400):  # a thread of its own is not waited for
            if on_exceed == "block" or not thrift.budgets.holds():
                break
            await asyncio.sleep(0.05)
        assert thrift.budgets.holds() == []
        assert len(await embed(text)) == 4

    _LOOP.run(go())

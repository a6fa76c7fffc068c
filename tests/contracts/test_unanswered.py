"""Sent and not answered is not free, and refused is: the same row and the same hold through every door."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from langchain_core.globals import set_llm_cache
from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAI

import llmthrift_langchain as lc
import llmthrift_langchain.enforcement as unserved
import llmthrift_llamaindex as li
from llmthrift_core import Budget, Thrift
from llmthrift_core.testing import LoopbackProvider
from tests.contracts.doors import (
    _LOOP,
    METERING,
    MODEL,
    STREAM_CACHING,
    AnyDoor,
    Door,
    LlamaIndexDoor,
    MakeDoor,
    ServiceDoor,
    client,
    uninstall_handlers,
)
from tests.contracts.silence import IMPATIENT, Silence, silent

pytestmark = pytest.mark.loopback
PROMPT = "Tell me a long story about a train."
LONGEST = 16_384  # of gpt-4o-mini


def with_enforcing_handler(thrift: Thrift, provider: LoopbackProvider) -> Door:
    return Door(client(provider), [lc.ThriftCallbackHandler(thrift, enforce=True)])


def with_enforcing_handler_and_cache(thrift: Thrift, provider: LoopbackProvider) -> Door:
    return Door(client(provider, cache=lc.ThriftCache(thrift)), [lc.ThriftCallbackHandler(thrift, enforce=True)])


ENFORCING = [with_enforcing_handler, with_enforcing_handler_and_cache, *STREAM_CACHING]
ALL: list[MakeDoor] = [*METERING, with_enforcing_handler, with_enforcing_handler_and_cache]


def named(doors: list[MakeDoor]) -> Any:
    return pytest.mark.parametrize("door", doors, ids=[door.__name__.removeprefix("with_") for door in doors])


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(unserved, "_warned", True)
    yield
    set_llm_cache(None)
    uninstall_handlers()


@pytest.fixture
def silence(provider: LoopbackProvider) -> Iterator[Silence]:
    with silent(provider) as silence:
        yield silence


async def ask(door: AnyDoor) -> None:
    if isinstance(door, Door):
        await door.model.ainvoke(PROMPT, door.config)
    elif isinstance(door, ServiceDoor):
        await door.answer(PROMPT)
    else:
        await door.model.achat([ChatMessage(PROMPT)])


def check_billed(thrift: Thrift, door: MakeDoor, error: str, *, stream: bool = False) -> None:
    """One row that costs what may have been billed, and a budget that knows. `error` is in the name of what the client raised."""
    thrift.flush()
    (row,) = thrift.ledger.calls()
    assert row.model == MODEL
    assert error in row.error
    assert (row.cache, bool(row.stream), row.estimated) == (None, stream, True)
    assert 5 < row.input_tokens < 50
    assert row.output_tokens == LONGEST
    assert row.cost_nano_usd == row.input_tokens * 150 + LONGEST * 600
    assert thrift.budgets.holds() == []
    (status,) = thrift.budgets.status()
    assert status["reserved"] == 0
    if door in ENFORCING:
        assert status["spent"] >= row.cost_usd
    assert thrift.cache.stats()["stores"] == 0


@named(ALL)
@pytest.mark.parametrize("how", ["invoke", "ainvoke", "astream"])
def test_a_client_that_stops_waiting(thrift, provider, silence, door, how):
    thrift.budgets.add(Budget(limit_usd=1, window="day"))
    made = door(thrift, provider)
    with pytest.raises(Exception, match=r"(?i)tim(e|ed )out"):
        made.ask(PROMPT, how, timeout=IMPATIENT)
    check_billed(thrift, door, "Timeout", stream=how == "astream")


@named(ALL)
def test_a_call_within_a_time_limit(thrift, provider, silence, door):
    thrift.budgets.add(Budget(limit_usd=1, window="day"))
    made = door(thrift, provider)

    async def hurried() -> None:
        async with asyncio.timeout(None) as limit:

            async def strike() -> None:
                await silence.until_asked()
                limit.reschedule(asyncio.get_running_loop().time())

            striking = asyncio.create_task(strike())
            await ask(made)
        await striking

    with pytest.raises(TimeoutError):
        _LOOP.run(hurried())
    check_billed(thrift, door, "CancelledError")


@named(ALL)
def test_a_call_whose_sibling_fails(thrift, provider, silence, door):
    thrift.budgets.add(Budget(limit_usd=1, window="day"))
    made = door(thrift, provider)

    async def fail() -> None:
        await silence.until_asked()
        raise RuntimeError("the sibling")

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(ask(made))
            group.create_task(fail())

    with pytest.raises(ExceptionGroup, match="unhandled errors"):
        _LOOP.run(both())
    check_billed(thrift, door, "CancelledError")


def openai_model(framework: str, provider: LoopbackProvider, own: httpx.AsyncClient) -> Any:
    if framework == "langchain":
        return ChatOpenAI(model=MODEL, base_url=provider.openai_url, api_key="k", max_retries=0, http_async_client=own)
    return OpenAI(model=MODEL, api_base=provider.openai_url, api_key="k", max_retries=0, async_http_client=own)


WITH_OWN_CLIENT: dict[str, Callable[[Thrift, LoopbackProvider, httpx.AsyncClient], AnyDoor]] = {
    "thrifty": lambda thrift, *at: Door(lc.thrifty(openai_model("langchain", *at), thrift)),
    "router": lambda thrift, *at: Door(lc.ChatRouter(thrift, models={"only": openai_model("langchain", *at)})),
    "llamaindex_thrifty": lambda thrift, *at: LlamaIndexDoor(li.thrifty(openai_model("llamaindex", *at), thrift)),
    "llamaindex_router": lambda thrift, *at: LlamaIndexDoor(li.RouterLLM(thrift, models={"only": openai_model("llamaindex", *at)})),
}


@pytest.mark.parametrize("make", WITH_OWN_CLIENT.values(), ids=WITH_OWN_CLIENT)
def test_a_call_that_was_given_up_before_it_was_sent_is_free(thrift, provider, silence, make):
    thrift.budgets.add(Budget(limit_usd=1, window="day"))
    thrift.budgets.add(Budget(limit_requests=1, window="day"))

    async def waits_for_a_connection() -> None:
        begun = asyncio.Event()

        async def begins(request: httpx.Request) -> None:
            begun.set()

        async with httpx.AsyncClient(limits=httpx.Limits(max_connections=1), timeout=60) as own:
            body = {"model": MODEL, "messages": [{"role": "user", "content": "Hold the line."}]}
            holding = asyncio.create_task(own.post(f"{provider.openai_url}/chat/completions", json=body))
            await silence.until_asked()
            own.event_hooks = {"request": [begins]}
            asking = asyncio.create_task(ask(make(thrift, provider, own)))
            await begun.wait()
            await asyncio.sleep(0.02)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            holding.cancel()

    _LOOP.run(waits_for_a_connection())
    thrift.flush()
    (row,) = thrift.ledger.calls()
    assert (row.error, row.cost_nano_usd, row.input_tokens, row.output_tokens) == ("CancelledError", 0, 0, 0)
    assert [(each["spent"], each["reserved"]) for each in thrift.budgets.status()] == [(0, 0), (0, 0)]


@named(ALL)
@pytest.mark.parametrize("status", [400, 429, 503])
def test_a_refusal_is_free(thrift, provider, door, status):
    thrift.budgets.add(Budget(limit_usd=1, window="day"))
    made = door(thrift, provider)
    provider.fail_next(status=status, times=1)
    with pytest.raises(Exception, match=str(status)):
        made.ask(PROMPT)
    (row,) = thrift.ledger.calls()
    assert (row.input_tokens, row.output_tokens, row.cost_nano_usd, row.estimated) == (0, 0, 0, False)
    assert row.error
    (budget,) = thrift.budgets.status()
    assert (budget["spent"], budget["reserved"], thrift.budgets.holds()) == (0, 0, [])


@named(ALL)
def test_a_gateway_that_stops_waiting_is_no_refusal(thrift, provider, door):
    thrift.budgets.add(Budget(limit_usd=1, window="day"))
    made = door(thrift, provider)
    provider.fail_next(status=504, times=1)
    with pytest.raises(Exception, match="504"):
        made.ask(PROMPT)
    check_billed(thrift, door, "Error")


@named(ENFORCING)
def test_an_abandoned_stream_may_have_been_billed_to_its_end(thrift, provider, door):
    thrift.budgets.add(Budget(limit_usd=1, window="day"))
    made = door(thrift, provider)
    made.begin_and_leave(PROMPT)
    (row,) = thrift.ledger.calls()
    assert (row.error, row.estimated) == ("abandoned", True)
    assert 0 < row.output_tokens < 20  # as many as had come
    assert thrift.budgets.holds() == []
    (status,) = thrift.budgets.status()
    assert (status["reserved"], status["spent"] * 10**9 >= LONGEST * 600) == (0, True)

"""Runs whose end LangChain does not report, and attempts that a time-out ended."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.runnables import Runnable
from langchain_openai import ChatOpenAI

from llmthrift_core import Budget, Thrift
from llmthrift_core.testing import LoopbackProvider
from llmthrift_langchain import ChatRouter, ThriftCallbackHandler, thrifty
from tests.contracts.doors import _ASYNC_CLIENT, _LOOP
from tests.contracts.silence import IMPATIENT, Silence, silent

pytestmark = pytest.mark.loopback
MINI, LARGE = "gpt-4o-mini", "gpt-4o"
Client = Callable[..., ChatOpenAI]


@pytest.fixture
def silence(provider: LoopbackProvider) -> Iterator[Silence]:
    with silent(provider) as silence:
        yield silence


@pytest.fixture
def handler(thrift: Thrift) -> ThriftCallbackHandler:
    return ThriftCallbackHandler(thrift)


def rows(thrift: Thrift) -> list[Any]:
    thrift.flush()
    return sorted(thrift.ledger.calls(), key=lambda row: (row.at_us, row.attempt))


def told(thrift: Thrift) -> dict[str, Any]:
    thrift.flush()
    total = thrift.report().total
    return {name: total[name] for name in ("requests", "attempts", "errors", "retries", "fallbacks")}


async def ask_within_a_limit(model: ChatOpenAI, config: Any, silence: Silence) -> None:
    """Call a model whose answer does not come, and stop waiting for it, without ending this task."""
    asking = asyncio.current_task()
    assert asking is not None

    async def strike() -> None:
        await silence.until_asked()
        asking.cancel()

    striking = asyncio.create_task(strike())
    try:
        await model.ainvoke("Hello", config)
    except asyncio.CancelledError:
        asking.uncancel()  # as asyncio.timeout does
    await striking
    for _ in range(20):  # turns of the loop, for what is called soon
        await asyncio.sleep(0)


async def test_a_call_that_is_given_up_is_a_row_while_its_task_goes_on(thrift, client, silence, handler):
    await ask_within_a_limit(client(max_tokens=50), {"callbacks": [handler]}, silence)
    (row,) = rows(thrift)
    assert (row.error, row.estimated, row.output_tokens) == ("CancelledError", True, 50)
    assert handler._runs == {}


async def test_where_others_keep_its_id_the_next_call_shows_its_end(thrift, client, provider, handler):
    class Keeper(BaseCallbackHandler):
        run_inline = True
        kept: list[Any] = []

        def on_chat_model_start(self, *given: Any, run_id: Any, **kwargs: Any) -> None:
            self.kept.append(run_id)

    config = {"callbacks": [Keeper(), handler, ThriftCallbackHandler(thrift)]}
    with silent(provider) as silence:
        await ask_within_a_limit(client(max_tokens=50), config, silence)
    assert rows(thrift) == []
    await client().ainvoke("Hello again", config)
    lost, answered = rows(thrift)
    assert (lost.error, lost.output_tokens, answered.error) == ("CancelledError", 50, None)
    assert handler._runs == {}


async def test_a_stream_outlives_the_task_that_began_it_and_other_calls_of_its_reader(thrift, client, handler):
    config = {"callbacks": [handler]}
    stream = client().astream("Tell me a story.", config)
    await asyncio.create_task(anext(stream))  # type: ignore[arg-type]
    await client().ainvoke("Hello", config)
    async for _ in stream:
        pass
    assert [row.error for row in rows(thrift)] == [None, None]
    assert not any(row.estimated for row in rows(thrift))


def test_of_several_prompts_those_before_a_failure_were_answered_and_those_after_it_not_sent(thrift, client, provider, handler):
    provider.answerer = lambda question: 1 / 0 if question.last_user_text == "bad" else "ok"  # type: ignore[assignment,return-value]
    with pytest.raises(Exception, match="500"):
        client(max_tokens=40).generate([[HumanMessage("good")], [HumanMessage("bad")], [HumanMessage("later")]], callbacks=[handler])
    assert [(row.estimated, row.output_tokens) for row in rows(thrift)] == [(True, 40), (False, 0), (False, 0)]
    assert handler._runs == {}


async def test_of_several_prompts_asked_at_once_each_has_its_own_end(thrift, client, provider, handler):
    provider.answerer = lambda question: 1 / 0 if question.last_user_text == "bad" else "ok"  # type: ignore[assignment,return-value]
    with pytest.raises(Exception, match="500"):
        await client().agenerate([[HumanMessage("good")], [HumanMessage("bad")], [HumanMessage("later")]], callbacks=[handler])
    assert [(row.error is None, row.estimated, row.output_tokens > 0) for row in rows(thrift)] == [
        (True, False, True),
        (False, False, False),
        (True, False, True),
    ]


@pytest.mark.parametrize("asked", ["sync", "async"])
def test_a_router_bills_the_model_that_timed_out_and_asks_the_next(thrift, client, provider, asked):
    thrift.budgets.add(Budget(limit_usd=1, window="day"))
    models = {
        "cheap": client(MINI, max_tokens=50, timeout=IMPATIENT, http_async_client=_ASYNC_CLIENT),
        "strong": client(LARGE, http_async_client=_ASYNC_CLIENT),
    }
    router = ChatRouter(thrift, models=models, policy=lambda request: "cheap")
    with silent(provider, only=MINI):
        answer = router.invoke("Hello") if asked == "sync" else _LOOP.run(router.ainvoke("Hello"))
    assert answer.content
    first, second = rows(thrift)
    assert (first.model, first.estimated, first.output_tokens) == (MINI, True, 50)
    assert (second.attempt_reason, second.error, second.estimated) == ("fallback", None, False)
    assert first.call_id == second.call_id
    assert thrift.budgets.holds() == []
    assert thrift.budgets.status()[0]["spent"] == sum(row.cost_usd for row in rows(thrift))


def in_the_constructor(thrift: Thrift, client: Client) -> Callable[..., Runnable[Any, Any]]:
    return lambda name: client(name, callbacks=[ThriftCallbackHandler(thrift)], http_async_client=_ASYNC_CLIENT)


def with_thrifty(thrift: Thrift, client: Client) -> Callable[..., Runnable[Any, Any]]:
    return lambda name: thrifty(client(name, http_async_client=_ASYNC_CLIENT), thrift, cache=False)


@pytest.mark.parametrize("how", [in_the_constructor, with_thrifty])
@pytest.mark.parametrize("asked", ["sync", "async"])
def test_retries_and_fallbacks_are_attempts_of_one_call(thrift, client, provider, how, asked):
    make = how(thrift, client)

    def ask(model: Runnable[Any, Any]) -> None:
        assert (model.invoke("Hello") if asked == "sync" else _LOOP.run(model.ainvoke("Hello"))).content

    provider.fail_next(status=500, times=2)
    ask(make(MINI).with_retry(stop_after_attempt=4, wait_exponential_jitter=False))
    assert told(thrift) == {"requests": 1, "attempts": 3, "errors": 2, "retries": 2, "fallbacks": 0}
    provider.fail_next(status=500, times=1)
    ask(make(MINI).with_fallbacks([make(LARGE)]).with_config(run_name="another"))
    assert told(thrift) == {"requests": 2, "attempts": 5, "errors": 3, "retries": 2, "fallbacks": 1}
    ask(make(MINI))
    assert told(thrift)["requests"] == 3


def test_an_attempt_that_timed_out_is_billed_before_its_retry(thrift, client, provider):
    model = client(max_tokens=50, timeout=IMPATIENT, callbacks=[ThriftCallbackHandler(thrift)])
    with silent(provider), pytest.raises(Exception, match="timed out"):
        model.with_retry(stop_after_attempt=2, wait_exponential_jitter=False).invoke("Hello")
    first, second = rows(thrift)
    assert (first.output_tokens, second.output_tokens, second.attempt_reason) == (50, 50, "retry")
    assert first.call_id == second.call_id


@pytest.mark.parametrize("how", ["handler", "thrifty"])
def test_what_a_client_sent_again_by_itself_is_billed_as_often(thrift, client, provider, how):
    thrift.budgets.add(Budget(limit_usd=1, window="day"))
    model = client(max_tokens=50, timeout=IMPATIENT, max_retries=1)
    config: dict[str, Any] = {}
    if how == "handler":
        config["callbacks"] = [ThriftCallbackHandler(thrift, enforce=True)]
    else:
        model = thrifty(model, thrift, cache=False)
    with silent(provider), pytest.raises(Exception, match="timed out"):
        model.invoke("Hello", config)
    (row,) = rows(thrift)
    assert (row.output_tokens, row.estimated, len(provider.requests)) == (100, True, 2)
    assert thrift.budgets.status()[0]["spent"] == row.cost_usd


async def test_of_a_stream_whose_reader_is_cancelled_the_row_says_what_had_come(thrift, client, handler):
    come = asyncio.Event()

    async def read() -> None:
        async for chunk in client(max_tokens=50).astream("Tell me a story.", {"callbacks": [handler]}):
            if chunk.content:
                come.set()
                await asyncio.Event().wait()

    reading = asyncio.create_task(read())
    await come.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    del reading
    for _ in range(20):
        await asyncio.sleep(0)
    (row,) = rows(thrift)
    assert (row.error, row.estimated, 0 < row.output_tokens < 20) == ("abandoned", True, True)
    assert handler._runs == {}


@pytest.mark.parametrize("how", ["handler", "enforcing handler", "thrifty"])
def test_an_event_stream_that_is_left_is_a_row_and_holds_nothing(thrift, client, how):
    thrift.budgets.add(Budget(limit_usd=1, window="day"))
    model, config = client(max_tokens=50), dict[str, Any]()
    if how == "thrifty":
        model = thrifty(model, thrift, cache=False)
    else:
        config["callbacks"] = [ThriftCallbackHandler(thrift, enforce=how != "handler")]

    def leave() -> None:
        events = iter(model.stream_events("Tell me a story.", config, version="v3"))
        assert [next(events) for _ in range(4)]

    leave()
    gc.collect()
    until = time.monotonic() + 60
    while not rows(thrift) or thrift.budgets.holds():  # in a thread
        assert time.monotonic() < until
        time.sleep(0.01)
    (row,) = rows(thrift)
    assert (row.error, row.estimated, row.output_tokens < 20) == ("abandoned", True, True)
    assert thrift.budgets.status()[0]["spent"] >= (0 if how == "handler" else row.cost_usd)

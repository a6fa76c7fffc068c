"""Gemini's explicit caches through both frameworks' clients: created, renewed, read and deleted; storage is in the ledger."""

from __future__ import annotations

import asyncio
import functools
import operator
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_google_genai import ChatGoogleGenerativeAI, create_context_cache
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.google_genai import GoogleGenAI

import llmthrift_langchain
import llmthrift_llamaindex
from llmthrift_core import Thrift
from llmthrift_core.calls.prefix_planners import PrefixPlanners
from llmthrift_core.testing import Answer, LoopbackProvider, ToolCall
from tests.core.clock import Clock

pytestmark = [pytest.mark.loopback, pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")]
LONG = "Answer from the manual, and say on which page it stands. " * 300


def weather(city: str) -> str:
    """The weather of a city."""
    return f"rain in {city}"


def stock(item: str) -> str:
    """How many of an item there are."""
    return f"none of {item}"


class LangChain:
    """LangChain's client of Gemini."""

    @staticmethod
    def plain(billing: LoopbackProvider, **more: Any) -> Any:
        return ChatGoogleGenerativeAI(model="gemini-2.5-flash", google_api_key="k", base_url=billing.google_url, max_retries=1, **more)

    @staticmethod
    def thrifty(model: Any, thrift: Thrift, **options: Any) -> Any:
        return llmthrift_langchain.thrifty(model, thrift, cache=False, **options)

    @staticmethod
    def routed(models: dict[str, Any], thrift: Thrift, **options: Any) -> Any:
        return llmthrift_langchain.ChatRouter(models=models, thrift=thrift, cache=False, **options)

    @staticmethod
    def ask_with_tools(model: Any, number: int, choice: str | None = None) -> list[str]:
        bound = model.bind_tools([weather, stock], tool_choice=choice)
        prompt = [SystemMessage(LONG), HumanMessage(f"Question {number}?")]
        answer = (
            lambda: bound.invoke(prompt),
            lambda: functools.reduce(operator.add, bound.stream(prompt)),
            lambda: asyncio.run(bound.ainvoke(prompt)),
        )[number % 3]()
        return [call["name"] for call in answer.tool_calls]

    @staticmethod
    def ask(model: Any, number: int) -> None:
        prompt = [SystemMessage(LONG), HumanMessage(f"Question {number}?")]
        (
            lambda: model.invoke(prompt),
            lambda: list(model.stream(prompt)),
            lambda: asyncio.run(model.ainvoke(prompt)),
        )[number % 3]()


class LlamaIndex:
    """LlamaIndex's client of Gemini."""

    @staticmethod
    def plain(billing: LoopbackProvider, **more: Any) -> Any:
        address: Any = {"base_url": billing.google_url}
        known: dict[str, Any] = {"context_window": 1_000_000, "max_tokens": 1_000}  # else it asks for them
        return GoogleGenAI(model="gemini-2.5-flash", api_key="k", http_options=address, max_retries=1, **known, **more)

    @staticmethod
    def thrifty(model: Any, thrift: Thrift, **options: Any) -> Any:
        return llmthrift_llamaindex.thrifty(model, thrift, cache=False, **options)

    @staticmethod
    def routed(models: dict[str, Any], thrift: Thrift, **options: Any) -> Any:
        return llmthrift_llamaindex.RouterLLM(models=models, thrift=thrift, cache=False, **options)

    @staticmethod
    def ask_with_tools(model: Any, number: int, choice: str | None = None) -> list[str]:
        tools: Any = [FunctionTool.from_defaults(weather), FunctionTool.from_defaults(stock)]
        prompt = [ChatMessage(role="system", content=LONG), ChatMessage(role="user", content=f"Question {number}?")]
        said: dict[str, Any] = {"chat_history": prompt, "tool_required": choice is not None}

        async def ask() -> Any:
            return await model.achat_with_tools(tools, **said)

        answer: Any = (
            lambda: model.chat_with_tools(tools, **said),
            lambda: list(model.stream_chat_with_tools(tools, **said))[-1],
            lambda: asyncio.run(ask()),
        )[number % 3]()
        return [call.tool_name for call in model.get_tool_calls_from_response(answer, error_on_no_tool_call=False)]

    @staticmethod
    def ask(model: Any, number: int) -> None:
        prompt = [ChatMessage(role="system", content=LONG), ChatMessage(role="user", content=f"Question {number}?")]
        (
            lambda: model.chat(prompt),
            lambda: list(model.stream_chat(prompt)),
            lambda: asyncio.run(model.achat(prompt)),
        )[number % 3]()


@pytest.fixture(params=[LangChain, LlamaIndex])
def door(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock(1_800_000_000.0)


@pytest.fixture(scope="module")
def _billing(clock: Clock) -> Iterator[LoopbackProvider]:
    with LoopbackProvider(clock=clock) as provider:
        yield provider


@pytest.fixture
def billing(_billing: LoopbackProvider) -> LoopbackProvider:
    _billing.reset()
    return _billing


def test_a_cache_is_made_read_renewed_and_deleted_and_its_storage_is_a_cost(
    tmp_path: Path, door: Any, billing: LoopbackProvider, clock: Clock
) -> None:
    with Thrift(tmp_path / "one.db", clock=clock) as thrift:
        model = door.thrifty(door.plain(billing), thrift, prompt_caching=PrefixPlanners(explicit=True))
        for number in range(12):
            door.ask(model, number)
            clock.now += 60
        rows = thrift.ledger.calls(order="oldest")
        (kept,) = billing.google_caches.log
        assert [row.cache_read_tokens for row in rows] == [kept.tokens] * 12
        assert all("systemInstruction" not in request.body for request in billing.requests if "contents" in request.body)
        assert kept.until > clock.now
        assert thrift.health()["failures"] == {}
        costs = {row["kind"]: row for row in _costs(thrift)}
        price = Decimal("0.30") / 10**6
        assert costs["prompt cache creation"]["usd"] == price * kept.tokens
        stored = Decimal("3.333") * price * kept.tokens * Decimal(kept.until - kept.created) / 3600
        assert abs(costs["prompt cache storage"]["usd"] - stored) < Decimal("1e-8")
        assert thrift.savings().prefix_saved_usd == 12 * kept.tokens * price * Decimal("0.9")
        assert thrift.savings().other_cost_usd == sum(row["usd"] for row in costs.values())
    assert kept.until <= clock.now  # deleted when the ledger was closed


def _costs(thrift: Thrift) -> list[dict[str, Any]]:
    from sqlalchemy import func, select

    from llmthrift_core.storage.tables import other_costs

    thrift.flush()
    query = select(other_costs.c.kind, func.sum(other_costs.c.cost_nano_usd)).group_by(other_costs.c.kind)
    with thrift.database.read() as connection:
        return [{"kind": kind, "usd": Decimal(amount) / 10**9} for kind, amount in connection.execute(query)]


def test_without_being_told_to_it_makes_none(thrift: Thrift, door: Any, billing: LoopbackProvider) -> None:
    model = door.thrifty(door.plain(billing), thrift, prompt_caching=True)
    for number in range(3):
        door.ask(model, number)
    assert billing.google_caches.log == []


def test_what_the_provider_refuses_is_sent_whole(tmp_path: Path, door: Any, billing: LoopbackProvider, clock: Clock) -> None:
    with Thrift(tmp_path / "one.db", clock=clock) as thrift:
        model = door.thrifty(door.plain(billing), thrift, prompt_caching=PrefixPlanners(explicit=True))
        billing.google_caches.refuse = True
        try:
            for number in range(3):
                door.ask(model, number)
        finally:
            billing.google_caches.refuse = False
        assert [row.error for row in thrift.ledger.calls()] == [None] * 3
        assert thrift.health()["failures"] == {"prompt_caching": 1}  # and it is not asked again at once
        assert thrift.savings().other_cost_usd == 0


def test_a_cache_of_the_application_stands(thrift: Thrift, door: Any, billing: LoopbackProvider) -> None:
    own = create_context_cache(LangChain.plain(billing), [SystemMessage(LONG)], ttl="300s")
    model = door.thrifty(door.plain(billing, cached_content=own), thrift, prompt_caching=PrefixPlanners(explicit=True))
    if door is LangChain:
        model.invoke([HumanMessage("Question?")])
    else:
        model.chat([ChatMessage(role="user", content="Question?")])
    assert len(billing.google_caches.log) == 1
    assert thrift.ledger.calls()[0].cache_read_tokens > 1_024


@pytest.mark.parametrize("is_routed", [False, True], ids=["thrifty", "router"])
def test_tools_are_kept_with_the_system_prompt(
    tmp_path: Path, door: Any, billing: LoopbackProvider, clock: Clock, *, is_routed: bool
) -> None:
    with Thrift(tmp_path / "one.db", clock=clock) as thrift:
        caching = PrefixPlanners(explicit=True)
        plain = door.plain(billing)
        model = (
            door.routed({"only": plain}, thrift, prompt_caching=caching)
            if is_routed
            else door.thrifty(plain, thrift, prompt_caching=caching)
        )
        billing.answerer = lambda question: Answer(tool_calls=(ToolCall("weather", {"city": "Oslo"}),))
        assert [door.ask_with_tools(model, number) for number in range(6)] == [["weather"]] * 6
        (kept,) = billing.google_caches.log
        names = [each["name"] for tool in kept.body["tools"] for each in tool["functionDeclarations"]]
        assert names == ["weather", "stock"]
        assert [row.cache_read_tokens for row in thrift.ledger.calls()] == [kept.tokens] * 6
        asked = [request.body for request in billing.requests if "contents" in request.body]
        assert all(not {"systemInstruction", "tools", "toolConfig"} & body.keys() for body in asked)
        assert [door.ask_with_tools(model, number, "any") for number in range(3)] == [["weather"]] * 3
        ways = [kept.body.get("toolConfig", {}).get("functionCallingConfig", {}).get("mode") for kept in billing.google_caches.log]
        assert len(ways) == 2
        assert ways[1] == "ANY"  # what must be called is another cache
        door.ask(model, 0)
        assert len(billing.google_caches.log) == 3  # nor is one without tools the same
        assert thrift.health()["failures"] == {}


def test_a_cache_that_is_gone_breaks_no_call(tmp_path: Path, door: Any, billing: LoopbackProvider, clock: Clock) -> None:
    with Thrift(tmp_path / "one.db", clock=clock) as thrift:
        model = door.thrifty(door.plain(billing), thrift, prompt_caching=PrefixPlanners(explicit=True))
        door.ask(model, 0)
        billing.google_caches.clear()  # somebody deleted it
        for number in range(4):
            door.ask(model, number)
        rows = thrift.ledger.calls(order="oldest")
        assert len(billing.google_caches.log) <= 1
        assert [row.error is None for row in rows] == [True, False, True, True, True, True]

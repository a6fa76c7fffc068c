"""Every way of calling an LLM, through every door: a miss counts what the provider counted, a hit costs nothing, a budget stops it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.llms import LLM, ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from llmthrift_core import Budget, BudgetExceededError
from llmthrift_llamaindex import RouterLLM, ThriftEventHandler, thrifty
from tests.llamaindex.conftest import billed, counted, rows, run

pytestmark = [
    pytest.mark.loopback,
    pytest.mark.filterwarnings("ignore:The 'output_format' parameter is deprecated"),
]


class Song(BaseModel):
    """A song."""

    title: str
    seconds: int


def get_order_status(order_id: int) -> str:
    """Look up where an order is."""
    return f"order {order_id} has shipped"


TOOLS = [FunctionTool.from_defaults(get_order_status)]
MESSAGES = [ChatMessage("Where is order status 123?")]
SONG, ASK = PromptTemplate("A song about {topic}"), PromptTemplate("Tell me about {topic}")


def text(pieces: Any) -> str:
    return "".join(piece.delta or "" for piece in pieces)


async def atext(pieces: Any) -> str:
    return "".join([piece.delta or "" async for piece in await pieces])


async def alast(pieces: Any) -> Any:
    return [piece async for piece in await pieces][-1]


def calls(llm: Any, answer: Any) -> list[tuple[str, Any]]:
    return [(call.tool_name, call.tool_kwargs) for call in llm.get_tool_calls_from_response(answer)]


async def joined(tokens: Any) -> str:
    return "".join([token async for token in await tokens])


ENTRIES: dict[str, Callable[[LLM], Any]] = {
    "complete": lambda llm: llm.complete("Hello").text,
    "chat": lambda llm: llm.chat(list(MESSAGES)).message.content,
    "stream_complete": lambda llm: text(llm.stream_complete("Hello")),
    "stream_chat": lambda llm: text(llm.stream_chat(list(MESSAGES))),
    "acomplete": lambda llm: run(llm.acomplete("Hello")).text,
    "achat": lambda llm: run(llm.achat(list(MESSAGES))).message.content,
    "astream_complete": lambda llm: run(atext(llm.astream_complete("Hello"))),
    "astream_chat": lambda llm: run(atext(llm.astream_chat(list(MESSAGES)))),
    "predict": lambda llm: llm.predict(ASK, topic="cats"),
    "apredict": lambda llm: run(llm.apredict(ASK, topic="cats")),
    "stream": lambda llm: "".join(llm.stream(ASK, topic="cats")),
    "astream": lambda llm: run(joined(llm.astream(ASK, topic="cats"))),
    "structured_predict": lambda llm: llm.structured_predict(Song, SONG, topic="cats"),
    "astructured_predict": lambda llm: run(llm.astructured_predict(Song, SONG, topic="cats")),
    "stream_structured_predict": lambda llm: list(llm.stream_structured_predict(Song, SONG, topic="cats"))[-1].title,
    "as_structured_llm": lambda llm: llm.as_structured_llm(Song).complete("A song about cats").raw,
    "as_structured_llm.stream": lambda llm: list(llm.as_structured_llm(Song).stream_chat([ChatMessage("A song")]))[-1].raw.title,
    "as_structured_llm.achat": lambda llm: run(llm.as_structured_llm(Song).achat([ChatMessage("A song about cats")])).raw,
    "chat_with_tools": lambda llm: calls(llm, llm.chat_with_tools(TOOLS, "Where is order 123?", tool_required=True)),
    "achat_with_tools": lambda llm: calls(llm, run(llm.achat_with_tools(TOOLS, "Where is order 123?", tool_required=True))),
    "stream_chat_with_tools": lambda llm: calls(llm, list(llm.stream_chat_with_tools(TOOLS, "Order status 123?", tool_required=True))[-1]),
    "astream_chat_with_tools": lambda llm: calls(llm, run(alast(llm.astream_chat_with_tools(TOOLS, "Status 123?", tool_required=True)))),
    "predict_and_call": lambda llm: llm.predict_and_call(TOOLS, "What is the order status of 123?").response,
    "apredict_and_call": lambda llm: run(llm.apredict_and_call(TOOLS, "What is the order status of 123?")).response,
}
DOORS: dict[str, Callable[[LLM, Any], LLM]] = {
    "plain": lambda llm, thrift: llm,
    "wrapped": lambda llm, thrift: thrifty(llm, thrift),
    "routed": lambda llm, thrift: RouterLLM(thrift, models={"only": llm}),
}
STRUCTURED = {name for name in ENTRIES if "structured" in name}
entries = pytest.mark.parametrize("name", ENTRIES)
clients = pytest.mark.parametrize("client", ["openai", "anthropic", "responses"])


def tells(name: str, client: str) -> bool:
    """Whether a plain LLM's integration says anything of an entry: some pass `chat` by, and every event (see test_direct.py)."""
    return name not in STRUCTURED or client == "openai" or (client == "responses" and "stream" in name)


WAYS = [
    pytest.param(name, DOORS[door], client, handler, id=f"{name}-{door}-{client}-{'handler' if handler else 'alone'}")
    for name in ENTRIES
    for door in DOORS
    for client in ("openai", "anthropic", "responses")
    for handler in (True, False)
    if door != "plain" or (handler and tells(name, client))  # alone, a plain LLM is no door
]


# What an LLM answers without a door, asked for once: the provider answers the same to the same.
_ANSWERS: dict[tuple[str, str], Any] = {}


@pytest.mark.parametrize(("name", "door", "client", "with_handler"), WAYS)
def test_a_miss_counts_what_the_provider_counted_and_a_repeat_costs_nothing(thrift, provider, request, name, door, client, with_handler):
    entry, is_plain = ENTRIES[name], door is DOORS["plain"]
    if with_handler:
        ThriftEventHandler(thrift).install()
    llm = door(request.getfixturevalue(client)(), thrift)
    if not with_handler and (name, client) not in _ANSWERS:
        _ANSWERS[name, client] = entry(request.getfixturevalue(client)())
    expected = _ANSWERS[name, client] if not with_handler else None
    provider.reset()
    first = entry(llm)
    if expected is not None:
        assert first == expected  # the door changes nothing in the answer
    misses = rows(thrift)
    assert len(misses) == len(provider.requests) > 0
    assert counted(thrift) == billed(provider)
    assert {(row.cache, row.error, row.estimated) for row in misses} == {(None, None, False)}
    asked = len(provider.requests)
    assert entry(llm) == first
    if is_plain:
        assert len(provider.requests) == len(rows(thrift)) == 2 * asked
    else:
        assert len(provider.requests) == asked
        assert [row.cache for row in rows(thrift)[asked:]] == ["exact"] * asked
        assert counted(thrift) == billed(provider)
        (total,) = thrift.report(by="model").to_dicts()
        assert total["saved_usd"] == total["cost_usd"] > 0


@entries
@pytest.mark.parametrize("door", [DOORS["wrapped"], DOORS["routed"]], ids=["wrapped", "routed"])
@clients
def test_a_budget_stops_the_call(thrift, provider, handler, request, name, door, client):
    entry = ENTRIES[name]
    thrift.budgets.add(Budget(limit_usd="0.0000001", window="day"))
    llm = door(request.getfixturevalue(client)(), thrift)
    for _ in range(2):
        with pytest.raises(BudgetExceededError):
            entry(llm)
    assert provider.requests == []
    assert thrift.report().total["cost_usd"] == 0


@entries
def test_a_handler_only_watches(thrift, provider, handler, openai, name):
    thrift.budgets.add(Budget(limit_usd="0.0000001", window="day"))
    ENTRIES[name](openai())
    assert counted(thrift) == billed(provider) != (0, 0)

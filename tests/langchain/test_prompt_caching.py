"""Marks for the provider's prompt cache, through Anthropic's client against a server on loopback."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from llmthrift_core import Thrift
from llmthrift_core.testing import LoopbackProvider
from llmthrift_langchain import ChatRouter, thrifty

pytestmark = pytest.mark.loopback
LONG = "You are careful, and you say where you have it from. " * 300


@tool
def look_up(name: str) -> str:
    """Look up a name."""
    return name


def _marks(value: Any, place: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        if "cache_control" in value:
            yield place
        for key, each in value.items():
            yield from _marks(each, f"{place}/{key}")
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from _marks(each, f"{place}/{index}")


def _model(thrift: Thrift, provider: LoopbackProvider, **options: Any) -> ChatRouter:
    anthropic = ChatAnthropic(model="claude-sonnet-4-5", base_url=provider.anthropic_url, api_key="k", max_retries=0)
    return thrifty(anthropic, thrift, cache=False, prompt_caching=True, **options)


def _turns(count: int) -> list[BaseMessage]:
    turns: list[BaseMessage] = [SystemMessage(LONG), HumanMessage("First?")]
    for number in range(count):
        turns += [AIMessage(f"Answer {number}."), HumanMessage(f"And {number}?")]
    return turns


def test_a_conversation_is_marked_where_it_will_come_again(thrift: Thrift, provider: LoopbackProvider) -> None:
    model = _model(thrift, provider)
    for count in range(3):
        model.invoke(_turns(count))
    marks = [list(_marks(request.body)) for request in provider.requests]
    assert all(1 <= len(each) <= 4 for each in marks)
    assert any(mark.startswith("/messages/") for mark in marks[-1])
    (newest, *_) = thrift.ledger.calls()
    assert "tokens" in newest.prefix_plan
    assert thrift.health()["failures"] == {}


def test_the_text_stays_and_streams_are_marked_too(thrift: Thrift, provider: LoopbackProvider) -> None:
    model = _model(thrift, provider)
    plain = "".join(str(chunk.content) for chunk in model.stream(_turns(0)))
    assert plain
    body = provider.requests[-1].body
    sent = body["system"] if isinstance(body["system"], str) else "".join(block["text"] for block in body["system"])
    assert sent == LONG
    assert list(_marks(body))


def test_marks_of_the_application_are_respected(thrift: Thrift, provider: LoopbackProvider) -> None:
    own = SystemMessage([{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}])
    _model(thrift, provider).invoke([own, HumanMessage("First?")])
    assert list(_marks(provider.requests[-1].body)) == ["/system/0"]
    (row,) = thrift.ledger.calls()
    assert row.prefix_plan is None


def test_short_prompts_and_other_providers_are_left_alone(thrift: Thrift, provider: LoopbackProvider) -> None:
    _model(thrift, provider).invoke("Hi")
    assert not list(_marks(provider.requests[-1].body))
    openai = ChatOpenAI(model="gpt-4o-mini", base_url=provider.openai_url, api_key="k")
    thrifty(openai, thrift, cache=False, prompt_caching=True).invoke(_turns(1))
    assert not list(_marks(provider.requests[-1].body))


def test_tools_and_their_results(thrift: Thrift, provider: LoopbackProvider) -> None:
    model = _model(thrift, provider).bind_tools([look_up])
    called = AIMessage("", tool_calls=[{"name": "look_up", "args": {"name": "x"}, "id": "t1"}])
    turns = [*_turns(0), called, ToolMessage("found " * 400, tool_call_id="t1")]
    for _ in range(3):
        model.invoke(turns)
    assert all(1 <= len(list(_marks(request.body))) <= 4 for request in provider.requests)
    assert thrift.health()["failures"] == {}


def test_observing_marks_nothing(thrift: Thrift, provider: LoopbackProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMTHRIFT_OBSERVE", "1")
    model = _model(thrift, provider)
    for count in range(2):
        model.invoke(_turns(count))
    assert not any(list(_marks(request.body)) for request in provider.requests)
    assert thrift.savings().observed_prefix_usd != 0


def test_a_hundred_tools_and_a_prefix_of_two_hundred_thousand_tokens(thrift: Thrift, provider: LoopbackProvider) -> None:
    tools = [{"name": f"tool_{number}", "description": "Looks up. " * 20, "input_schema": {"type": "object"}} for number in range(100)]
    long = SystemMessage("The rules of the house, in many words that say little. " * 20_000)
    model = _model(thrift, provider).bind_tools(tools)
    for count in range(2):
        model.invoke([long, *_turns(count)[1:]])
    bodies = [request.body for request in provider.requests]
    assert all(1 <= len(list(_marks(body))) <= 4 for body in bodies)
    assert all("cache_control" in body["tools"][-1] for body in bodies)
    planned = re.search(r"writing ([\d,]+) tokens", thrift.ledger.calls(order="oldest")[0].prefix_plan)
    assert planned is not None
    assert int(planned[1].replace(",", "")) > 200_000
    assert thrift.health()["failures"] == {}

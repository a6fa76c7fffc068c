"""Providers' prompt caches through every client that takes marks, keys or switches, against a server that bills them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock

from llmthrift_core import Thrift
from llmthrift_core.testing import LoopbackProvider
from llmthrift_langchain import ChatRouter, ThriftMiddleware
from llmthrift_langchain import thrifty as lc_thrifty
from llmthrift_llamaindex import RouterLLM
from llmthrift_llamaindex import thrifty as li_thrifty
from tests.contracts import test_usage as clients
from tests.contracts.test_usage import _LOOP as LOOP

pytestmark = pytest.mark.loopback
LONG = "You are careful, and you say where you have it from. " * 300
CLAUDE_AT_BEDROCK = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
CLOCK = [0.0]


@pytest.fixture(scope="module")
def _billing() -> Iterator[LoopbackProvider]:
    with LoopbackProvider(prompt_caches=True, clock=lambda: CLOCK[0]) as provider:
        yield provider


@pytest.fixture
def billing(_billing: LoopbackProvider) -> LoopbackProvider:
    _billing.reset()
    return _billing


CLIENTS: dict[str, tuple[Callable[[str, str], Any], str]] = {
    "anthropic": (clients.anthropic, "claude-sonnet-4-5"),
    "openai": (clients.openai, "gpt-5.6-sol"),
    "responses": (clients.openai_responses, "gpt-5.6-sol"),
    "bedrock": (clients.bedrock, CLAUDE_AT_BEDROCK),
    "llama anthropic": (clients.llama_anthropic, "claude-sonnet-4-5"),
    "llama openai": (clients.llama_openai, "gpt-5.6-sol"),
    "llama responses": (clients.llama_responses, "gpt-5.6-sol"),
    "llama bedrock": (clients.llama_bedrock, CLAUDE_AT_BEDROCK),
}
HOWS = ("whole", "stream", "awhole", "astream")


def _door(client: str, thrift: Thrift, url: str, *, routed: bool = False, **more: Any) -> Any:
    make, name = CLIENTS[client]
    model = make(url, name)
    options: dict[str, Any] = {"cache": False, "prompt_caching": True, **more}
    if client.startswith("llama"):
        if routed:
            return RouterLLM(thrift, models={"simple": model, "complex": model}, policy=lambda _: "simple", **options)
        return li_thrifty(model, thrift, **options)
    if routed:
        return ChatRouter(thrift=thrift, models={"simple": model, "complex": model}, policy=lambda _: "simple", **options)
    return lc_thrifty(model, thrift, **options)


class Agent:
    """A LangChain agent behind the middleware, which is asked as a model is."""

    def __init__(self, client: str, thrift: Thrift, url: str) -> None:
        make, name = CLIENTS[client]
        middleware = ThriftMiddleware(thrift, cache=False, prompt_caching=True)
        self._agent: Any = create_agent(make(url, name), tools=[], middleware=[middleware])

    def invoke(self, turns: list[Any]) -> Any:
        return self._agent.invoke({"messages": turns})

    def stream(self, turns: list[Any]) -> Any:
        return self._agent.stream({"messages": turns}, stream_mode="messages")

    def ainvoke(self, turns: list[Any]) -> Any:
        return self._agent.ainvoke({"messages": turns})

    def astream(self, turns: list[Any]) -> Any:
        return self._agent.astream({"messages": turns}, stream_mode="messages")


def _turns(client: str, count: int) -> list[Any]:
    said = [("system", LONG), ("user", "First?")]
    for number in range(count):
        said += [("assistant", f"Answer {number}."), ("user", f"And {number}? " + "Look closely, and say it. " * 80)]
    if client.startswith("llama"):
        return [ChatMessage(role=role, content=text) for role, text in said]
    kinds = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}
    return [kinds[role](text) for role, text in said]


async def _read(stream: Any) -> None:
    async for _ in stream:
        pass


def _ask(door: Any, client: str, how: str, turns: list[Any]) -> None:
    if not client.startswith("llama"):
        if how == "whole":
            door.invoke(turns)
        elif how == "stream":
            list(door.stream(turns))
        elif how == "awhole":
            LOOP.run(door.ainvoke(turns))
        else:
            LOOP.run(_read(door.astream(turns)))
    elif how == "whole":
        door.chat(turns)
    elif how == "stream":
        list(door.stream_chat(turns))
    elif how == "awhole":
        LOOP.run(door.achat(turns))
    else:

        async def read() -> None:
            await _read(await door.astream_chat(turns))

        LOOP.run(read())


def _count(value: Any, name: str) -> int:
    if isinstance(value, dict):
        return (name in value) + sum(_count(each, name) for each in value.values())
    return sum(_count(each, name) for each in value) if isinstance(value, list) else 0


# LlamaIndex's agents ask the model that they are given, which is one of the others here.
THROUGH = [
    (client, through) for client in CLIENTS for through in ("thrifty", "router", "agent") if through != "agent" or client[:5] != "llama"
]


@pytest.mark.parametrize(("client", "through"), THROUGH)
def test_a_conversation_is_read_from_the_cache_whichever_way_it_is_asked(
    client: str, through: str, thrift: Thrift, billing: LoopbackProvider
) -> None:
    url = billing.openai_url.removesuffix("/v1")
    door = Agent(client, thrift, url) if through == "agent" else _door(client, thrift, url, routed=through == "router")
    for count, how in enumerate(HOWS):
        _ask(door, client, how, _turns(client, count))
    thrift.flush()
    rows = sorted(thrift.ledger.calls(), key=lambda row: row.at_us)
    assert len(rows) == 4
    assert all(row.cache_read_tokens > 0.7 * row.input_tokens for row in rows[1:])
    assert rows[0].cache_write_tokens > 1_024
    assert all("tokens" in row.prefix_plan for row in rows)
    assert thrift.savings().prefix_saved_usd > 0
    assert thrift.health()["failures"] == {}


@pytest.mark.parametrize("client", ["anthropic", "openai", "llama anthropic", "llama openai"])
@pytest.mark.parametrize("routed", [False, True], ids=["thrifty", "router"])
@pytest.mark.parametrize("is_built_with", [False, True], ids=["built without", "built with"])
def test_a_version_of_a_configuration_switches_it_on_and_off(
    client: str, routed: bool, is_built_with: bool, thrift: Thrift, billing: LoopbackProvider
) -> None:
    door = _door(client, thrift, billing.openai_url.removesuffix("/v1"), routed=routed, prompt_caching=is_built_with, tuning="support")
    tuning = thrift.configurations.follow("support")
    for number, value in enumerate(({}, {"prompt_caching": True}, {"prompt_caching": False})):
        thrift.configurations.save("support", value)
        assert tuning.look()
        for count, how in enumerate(HOWS):
            _ask(door, client, how, _turns(client, count))
        thrift.flush()
        rows = sorted(thrift.ledger.calls(), key=lambda row: row.at_us)[-4:]
        is_on = value.get("prompt_caching", is_built_with)
        assert [row.prefix_plan is not None for row in rows] == [is_on] * 4, number
    assert thrift.health()["failures"] == {}


@pytest.mark.parametrize("client", ["openai", "responses", "llama openai", "llama responses"])
def test_conversations_share_a_key_and_what_never_repeats_is_not_written(client: str, thrift: Thrift, billing: LoopbackProvider) -> None:
    door = _door(client, thrift, billing.openai_url.removesuffix("/v1"))
    for count in range(2):
        _ask(door, client, "whole", _turns(client, count))
    keys = {request.body["prompt_cache_key"] for request in billing.requests}
    assert len(keys) == 1
    assert all(len(key) <= 64 and "careful" not in key for key in keys)
    if not client.startswith("llama"):
        assert all(request.body["prompt_cache_options"] == {"mode": "explicit"} for request in billing.requests)
        assert all(1 <= _count(request.body, "prompt_cache_breakpoint") <= 4 for request in billing.requests)


@pytest.mark.parametrize("client", ["openai", "llama openai"])
def test_older_models_of_openai_are_told_the_key_and_the_retention(client: str, thrift: Thrift, billing: LoopbackProvider) -> None:
    make, _ = CLIENTS[client]
    doors = []
    for model in ("gpt-5.1", "gpt-4o-mini"):
        made = make(billing.openai_url.removesuffix("/v1"), model)
        doors.append((li_thrifty if client.startswith("llama") else lc_thrifty)(made, thrift, cache=False, prompt_caching=True))
    for door in doors:
        _ask(door, client, "whole", _turns(client, 1))
    long, short = (request.body for request in billing.requests)
    assert long["prompt_cache_retention"] == "24h"
    assert "prompt_cache_retention" not in short
    assert long["prompt_cache_key"] != short["prompt_cache_key"]
    assert "prompt_cache_options" not in long | short
    CLOCK[0] += 7_200  # a pause that only the retention outlives
    _ask(doors[0], client, "whole", _turns(client, 1))
    thrift.flush()
    assert max(thrift.ledger.calls(), key=lambda row: row.at_us).cache_read_tokens > 1_024


def test_what_the_application_asks_of_openai_stands(thrift: Thrift, billing: LoopbackProvider) -> None:
    from langchain_openai import ChatOpenAI

    given = {"base_url": billing.openai_url, "api_key": "k", "model": "gpt-5.1"}
    ours = ChatOpenAI(**given, model_kwargs={"prompt_cache_key": "ours", "prompt_cache_retention": "in_memory"})
    _ask(lc_thrifty(ours, thrift, cache=False, prompt_caching=True), "openai", "whole", _turns("openai", 1))
    body = billing.requests[-1].body
    assert (body["prompt_cache_key"], body["prompt_cache_retention"]) == ("ours", "in_memory")
    implicit = ChatOpenAI(**{**given, "model": "gpt-5.6-sol"}, prompt_cache_options={"mode": "implicit"})
    _ask(lc_thrifty(implicit, thrift, cache=False, prompt_caching=True), "openai", "whole", _turns("openai", 1))
    body = billing.requests[-1].body
    assert body["prompt_cache_options"] == {"mode": "implicit"}
    assert _count(body, "prompt_cache_breakpoint") == 0


@pytest.mark.parametrize("client", ["bedrock", "llama bedrock"])
def test_cache_points_of_the_application_stand(client: str, thrift: Thrift, billing: LoopbackProvider) -> None:
    door = _door(client, thrift, billing.bedrock_url)
    turns = _turns(client, 0)
    if client == "bedrock":
        turns[0] = SystemMessage([{"type": "text", "text": LONG}, {"cachePoint": {"type": "default"}}])
    else:
        from llama_index.core.base.llms.types import CacheControl, CachePoint, TextBlock

        turns[0] = ChatMessage(role="system", blocks=[TextBlock(text=LONG), CachePoint(cache_control=CacheControl(type="default"))])
    _ask(door, client, "whole", turns)
    assert _count(billing.requests[-1].body, "cachePoint") == 1
    thrift.flush()
    (row,) = thrift.ledger.calls()
    assert row.prefix_plan is None
    assert row.cache_write_tokens > 1_024


@pytest.mark.parametrize("client", ["anthropic", "llama anthropic"])
def test_a_conversation_with_tools_reads_in_each_turn_what_the_turn_before_had_sent(client: str, billing: LoopbackProvider) -> None:
    said: list[tuple[str, Any]] = [("system", LONG), ("user", "Where is order 1?")]
    for number in range(5):
        said += [("call", number), ("result", f'{{"order": {number}, "state": "{"packed and sent " * 40}"}}')]
    with Thrift(":memory:", clock=lambda: CLOCK[0]) as thrift:
        door = _door(client, thrift, billing.openai_url if client == "openai" else billing.anthropic_url)
        for end in range(2, len(said) + 1, 2):
            CLOCK[0] += 10
            turns = [_turn(client, role, what) for role, what in said[:end]]
            door.chat(turns) if client.startswith("llama") else door.invoke(turns)
        rows = thrift.ledger.calls(order="oldest")
    read, sent = [row.cache_read_tokens for row in rows], [row.input_tokens for row in rows]
    if client == "anthropic":
        assert read[1:] == sent[:-1]
    else:  # the integration has no mark for a tool's result: the call before it is marked
        assert all(before <= found for before, found in zip(sent[:-2], read[2:], strict=True))


def _turn(client: str, role: str, what: Any) -> Any:
    if client.startswith("llama"):
        if role == "call":
            call = ToolCallBlock(tool_call_id=f"t{what}", tool_name="find", tool_kwargs={"order": what})
            return ChatMessage(role="assistant", blocks=[call])
        if role == "result":
            return ChatMessage(role="tool", content=what, additional_kwargs={"tool_call_id": f"t{json.loads(what)['order']}"})
        return ChatMessage(role=role, content=what)
    if role == "call":
        return AIMessage("", tool_calls=[{"name": "find", "args": {"order": what}, "id": f"t{what}"}])
    if role == "result":
        return ToolMessage(what, tool_call_id=f"t{json.loads(what)['order']}")
    return {"system": SystemMessage, "user": HumanMessage}[role](what)


REFUSALS = {
    "anthropic": "messages.0.content.0.cache_control: Extra inputs are not permitted",
    "openai": "Unknown parameter: 'prompt_cache_key'.",
    "responses": "Unknown parameter: 'prompt_cache_options'.",
    "bedrock": "You invoked an unsupported model or your request did not allow prompt caching.",
}


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_provider_that_takes_no_marks_is_asked_again_without_and_not_for_an_hour(
    thrift: Thrift, billing: LoopbackProvider, client: str, how: str
) -> None:
    door = _door(client, thrift, billing.openai_url.removesuffix("/v1"))
    billing.fail_next(status=400, message=REFUSALS[client.removeprefix("llama ")])
    for count in range(1, 4):
        _ask(door, client, how, _turns(client, count))
    rows = thrift.ledger.calls(order="oldest")
    assert [row.error is None for row in rows] == [False, True, True, True]
    assert rows[0].cost_nano_usd == 0
    assert thrift.health()["failures"] == {"prompt_caching": 1}
    asked = [json.dumps(request.body) for request in billing.requests]
    assert any(mark in asked[0] for mark in ("cache_control", "cachePoint", "prompt_cache"))
    assert not any(mark in body for body in asked[1:] for mark in ("cache_control", "cachePoint", "prompt_cache"))


def test_a_wrong_request_is_not_sent_twice(thrift: Thrift, billing: LoopbackProvider) -> None:
    door = _door("anthropic", thrift, billing.openai_url.removesuffix("/v1"))
    billing.fail_next(status=400, message="messages: roles must alternate")
    with pytest.raises(Exception, match="alternate"):
        door.invoke(_turns("anthropic", 1))
    assert len(billing.requests) == 1

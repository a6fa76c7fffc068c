"""Keys and what is sent: calls that differ in what is sent never share a key; calls that send the same do.

Every client that can be installed is asked in ways that are drawn at random; a server writes down what came, and the cache which key was
looked up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool

import llmthrift_langchain as lc
import llmthrift_llamaindex as li
from llmthrift_core import Thrift
from tests.contracts import asking
from tests.contracts.asking import CALLED, CHANGED, LANGCHAIN, LLAMA, OPENAI, Asked, Said, made, made_llama, ways
from tests.contracts.sent import Book, Keys, Wire, wire
from tests.long import LONG

pytestmark = [pytest.mark.loopback, pytest.mark.filterwarnings("ignore")]  # the clients' own warnings
_LOOP = asyncio.Runner()
_SHAPES, _LLAMA_SHAPES = {**asking.schemas(), **asking.tools()}, {**asking.schemas(), **asking.functions()}
_TALKS, _LLAMA_TALKS = asking.conversations(), asking.llama_conversations()


@pytest.fixture(scope="module")
def server() -> Iterator[Wire]:
    with wire() as found:
        yield found


_EXAMPLES = 250 if LONG else 18


def drawn(requests: st.SearchStrategy[list[Asked]], enter: Callable[[Asked], None]) -> None:
    """Enter drawn ways of asking into a book. What it holds already is part of the case, so that nothing smaller is looked for."""

    @settings(max_examples=_EXAMPLES, phases=[Phase.generate], derandomize=True, suppress_health_check=list(HealthCheck))
    @given(requests)
    def check(found: list[Asked]) -> None:
        for asked in found:
            enter(asked)

    check()


# --- LangChain ---


def ask(door: str, model: Any, thrift: Thrift, asked: Asked) -> None:
    """Ask a chat model through a door."""
    if door == "thrifty":
        dressed = lc.thrifty(model, thrift)
    else:
        dressed = model
        model.cache = lc.ThriftCache(thrift)
    for name, value in asked.of(CHANGED).items():
        setattr(model, "model_name" if name == "model" else name, value)
    kind, _, name = asked.shape.partition(" ")
    runnable = dressed
    if name == "that must be called":
        runnable = dressed.bind_tools([_SHAPES["look"]], tool_choice="any")
    elif kind == "tool":
        runnable = dressed.bind_tools([_SHAPES[name]])
    elif kind:
        runnable = dressed.with_structured_output(_SHAPES[name], method=kind, include_raw=True)
    if asked.bound:
        runnable = runnable.bind(**asked.bound)
    config: Any = {"run_name": "x", "tags": ["y"], "metadata": {"z": 1}} if asked.traced else {}
    if asked.traced:
        runnable = runnable.with_config({"tags": ["w"]})
    messages, options = _TALKS[asked.conversation], asked.of(CALLED)
    if asked.how == "async":
        _LOOP.run(runnable.ainvoke(messages, config, **options), context=copy_context())
    elif asked.how == "stream":
        list(runnable.stream(messages, config, **options))
    else:
        runnable.invoke(messages, config, **options)


def _alike(asked: Asked) -> tuple[str, str] | None:
    """What calls have in common that are to share a key where they send the same: messages and shapes are compared as they are given."""
    if any(each.value == "o3" or each.other == "o3" for each in asked.said):  # the field, not the argument, names the role of a system
        return None
    return asked.conversation, asked.shape.removesuffix(" again") if asked.shape.endswith("pydantic again") else asked.shape


@pytest.mark.parametrize(
    ("client", "door"), [*((client, "cache") for client in LANGCHAIN), ("openai", "thrifty"), ("anthropic", "thrifty")]
)
def test_calls_of_a_langchain_client_share_a_key_only_if_they_send_the_same(thrift: Thrift, server: Wire, client: str, door: str) -> None:
    book, base = Book(server, Keys(thrift)), made(client, server.url)

    def enter(asked: Asked) -> None:
        def call() -> None:
            model = made(client, server.url, **asked.constructed) if asked.constructed else base.model_copy()
            ask(door, model, thrift, asked)

        # What None says in the place of a field, only a client that shows its request tells.
        is_told = client not in ("google", "bedrock") or not asked.of(asking.UNSAID)
        book.enter(asked, call, _alike(asked) if is_told else None)

    hows = ["whole", "async", "stream"] if door == "thrifty" else ["whole", "whole", "async"]
    shapes = [*asking.SCHEMAS, *asking.TOOLS]
    drawn(ways(LANGCHAIN[client][2], asking.CHAT_PLACES, list(_TALKS), shapes, hows), enter)
    assert book.requests >= 8


@pytest.mark.parametrize("client", LANGCHAIN)
def test_what_is_said_in_another_place_is_the_same(thrift: Thrift, server: Wire, client: str) -> None:
    book, pools = Book(server, Keys(thrift)), LANGCHAIN[client][2]
    for name in pools.keys() & {"temperature", "max_tokens", "stop", "extra_body", "thinking", "safety_settings", "request_metadata"}:
        value, *others = pools[name]
        said = [Said(name, value, place) for place in asking.CHAT_PLACES[:3]]
        said += [Said(name, value, asking.INSTEAD, other) for other in others[:1]]
        for each in said:
            asked = Asked((each,))
            model = made(client, server.url, **asked.constructed)
            book.enter(asked, lambda model=model, asked=asked: ask("cache", model, thrift, asked), "plain")
    assert book.requests >= 1


def test_a_completion_models_calls_share_a_key_only_if_they_send_the_same(thrift: Thrift, server: Wire) -> None:
    from langchain_openai import OpenAI

    book = Book(server, Keys(thrift))
    pools = {name: values for name, values in OPENAI.items() if name not in ("max_retries", "metadata")}
    given_always = {"model": "gpt-3.5-turbo-instruct", "base_url": f"{server.url}/v1", "api_key": "k", "max_retries": 0}

    def enter(asked: Asked) -> None:
        def call() -> None:
            model = OpenAI(**{**given_always, "cache": lc.ThriftCache(thrift), **asked.constructed})
            for name, value in asked.of(CHANGED).items():
                setattr(model, "model_name" if name == "model" else name, value)
            model.bind(**asked.bound).invoke("Hi", **asked.of(CALLED))

        named = {each.name for each in asked.said}
        book.enter(asked, call, "plain" if named <= {"temperature", "top_p", "seed", "n", "logit_bias", "max_tokens", "timeout"} else None)

    drawn(ways(pools, asking.CHAT_PLACES, ["plain"], [""], ["whole"]), enter)
    assert book.requests >= 8


# --- LlamaIndex ---


def ask_llama(model: Any, thrift: Thrift, asked: Asked) -> None:
    """Ask a LlamaIndex model that is wrapped."""
    llm = li.thrifty(model, thrift)
    for name, value in asked.of(CHANGED).items():
        setattr(llm, name, value)
    options, messages = asked.of(CALLED), _LLAMA_TALKS[asked.conversation]
    kind, _, name = asked.shape.partition(" ")
    if kind == "schema":
        llm.structured_predict(_LLAMA_SHAPES[name], PromptTemplate("Hi"), llm_kwargs=options)
    elif kind == "tool":
        use = [FunctionTool.from_defaults(_LLAMA_SHAPES[name], name="look")]
        llm.chat_with_tools(use, chat_history=messages, **options)
    elif asked.how == "async":
        _LOOP.run(llm.achat(messages, **options), context=copy_context())
    elif asked.how == "stream":
        list(llm.stream_chat(messages, **options))
    else:
        llm.chat(messages, **options)


def _alike_in_llama(client: str, asked: Asked) -> tuple[str, str] | None:
    if client == "google" and asked.of(CALLED):  # which ignores the arguments of a call
        return None
    if any(each.name == "system_prompt_caching" for each in asked.said):  # which changes a system's message alone
        return None
    return _alike(asked)


@pytest.mark.parametrize("client", LLAMA)
def test_calls_of_a_llamaindex_client_share_a_key_only_if_they_send_the_same(thrift: Thrift, server: Wire, client: str) -> None:
    book, base = Book(server, Keys(thrift)), made_llama(client, server.url)

    def enter(asked: Asked) -> None:
        def call() -> None:
            model = made_llama(client, server.url, **asked.constructed) if asked.constructed else base.model_copy()
            ask_llama(model, thrift, asked)

        book.enter(asked, call, _alike_in_llama(client, asked))

    shapes = [shape for shape in asking.LLAMA_SHAPES if client != "google" or "schema" not in shape]  # those it asks for past its `chat`
    drawn(ways(LLAMA[client][2], asking.LLAMA_PLACES, list(_LLAMA_TALKS), shapes, ["whole", "async", "stream"]), enter)
    assert book.requests >= 8

"""Rules for one call, through every door: as metadata or an argument of the call, and as a block."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from langchain_openai import OpenAI as OpenAICompletions
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAI

import llmthrift_langchain as lc
import llmthrift_llamaindex as li
from llmthrift_core import Thrift, cache_rules
from llmthrift_core.testing import LoopbackProvider
from tests.contracts.doors import _run

pytestmark = pytest.mark.loopback

Ask = Callable[..., Any]
DOORS = ["bare", "bare async", "bare with handler", "completions", "completions async", "thrifty", "thrifty stream", "llamaindex"]


def _door(name: str, thrift: Thrift, provider: LoopbackProvider, **options: Any) -> Ask:
    """A function that asks a question under rules: those of the call."""
    url = provider.openai_url
    if name == "llamaindex":
        from llmthrift_core.cache import CachePolicy

        llm = li.thrifty(OpenAI(model="gpt-4o-mini", api_base=url, api_key="k"), thrift, cache=CachePolicy(**options))
        return lambda question, rules=None: llm.chat([ChatMessage(question)], **({} if rules is None else {"cache": rules})).message.content
    cache = lc.ThriftCache(thrift, **options)
    if name.startswith("completions"):
        model: Any = OpenAICompletions(model="gpt-3.5-turbo-instruct", base_url=url, api_key="k", cache=cache)
    elif name.startswith("bare"):
        callbacks = [lc.ThriftCallbackHandler(thrift)] if "handler" in name else None
        model = ChatOpenAI(model="gpt-4o-mini", base_url=url, api_key="k", cache=cache, callbacks=callbacks)
    else:
        model = lc.thrifty(ChatOpenAI(model="gpt-4o-mini", base_url=url, api_key="k"), thrift, cache=cache)

    def ask(question: str, rules: Any = None) -> Any:
        config: Any = {} if rules is None else {"metadata": {"cache": rules}}
        if "stream" in name:
            return "".join(str(chunk.content) for chunk in model.stream(question, config))
        return _run(model.ainvoke(question, config)) if "async" in name else model.invoke(question, config)

    return ask


def _block(rules: Any) -> AbstractContextManager[None]:
    return nullcontext() if rules is None else cache_rules(**rules)


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["of the call", "of a block"])
def ruled(request: pytest.FixtureRequest) -> Callable[[Ask, str, Any], None]:
    def ask(asking: Ask, question: str, rules: Any) -> None:
        if request.param == "of the call":
            asking(question, rules)
        else:
            with _block(rules):
                asking(question)

    return ask


def test_two_versions_are_asked_for_once_each(thrift: Thrift, provider: LoopbackProvider, door: str, ruled: Any) -> None:
    ask = _door(door, thrift, provider)
    for _ in range(3):
        for version in ("A", "B"):
            ruled(ask, "Hi", {"require": {"prices": version}})
    assert len(provider.requests) == 2


def test_a_key_of_ones_own_stands_for_the_messages(thrift: Thrift, provider: LoopbackProvider, door: str, ruled: Any) -> None:
    ask = _door(door, thrift, provider)
    for question, key in (("Hi", "greeting"), ("Hello there", "greeting"), ("Hi", "other")):
        ruled(ask, question, {"key": key})
    ask("Hi")
    assert len(provider.requests) == 3


def test_lifetimes_of_one_call(tmp_path: Any, provider: LoopbackProvider, door: str, ruled: Any) -> None:
    now = [1_800_000_000.0]
    with Thrift(tmp_path / "c.db", clock=lambda: now[0]) as thrift:
        ask = _door(door, thrift, provider, ttl_seconds=1_000)
        ruled(ask, "short", {"ttl_seconds": 10})
        ruled(ask, "long", None)
        now[0] += 60
        ask("short")
        assert len(provider.requests) == 3
        ruled(ask, "long", {"max_age_seconds": 30})
        assert len(provider.requests) == 4
        ask("long")
        assert len(provider.requests) == 4


def test_labels_of_one_call(thrift: Thrift, provider: LoopbackProvider, door: str, ruled: Any) -> None:
    ask = _door(door, thrift, provider)
    ruled(ask, "Hi", {"tags": "faq", "sources": ["doc-1", "doc-2"]})
    assert [thrift.invalidate(tag="f"), thrift.invalidate(source="doc-2"), thrift.invalidate(tag="faq")] == [0, 1, 0]


def test_the_cache_is_off_for_one_call(thrift: Thrift, provider: LoopbackProvider, door: str) -> None:
    ask = _door(door, thrift, provider)
    for mode, requests in ((None, 1), ("off", 2), (None, 2), ("refresh", 3), ({"mode": "off"}, 4), (None, 4)):
        ask("Hi", mode)
        assert len(provider.requests) == requests


@pytest.mark.parametrize("door", ["bare", "bare async", "completions", "completions async", "bare with handler", "thrifty"])
def test_a_bare_models_metadata_says_who_asks(thrift: Thrift, provider: LoopbackProvider, door: str) -> None:
    url, cache = provider.openai_url, lc.ThriftCache(thrift, share="user")
    if door.startswith("completions"):
        model: Any = OpenAICompletions(model="gpt-3.5-turbo-instruct", base_url=url, api_key="k", cache=cache)
    else:
        callbacks = [lc.ThriftCallbackHandler(thrift)] if "handler" in door else None
        model = ChatOpenAI(model="gpt-4o-mini", base_url=url, api_key="k", cache=cache, callbacks=callbacks)
        model = lc.thrifty(model, thrift, cache=cache) if door == "thrifty" else model
    for user in ("ada", "ben", "ada", "ben"):
        config: Any = {"metadata": {"user": user}}
        _run(model.ainvoke("Hi", config)) if "async" in door else model.invoke("Hi", config)
    assert len(provider.requests) == 2
    report = {row["user"]: (row["requests"], row["cache_hits"]) for row in thrift.report(by="user").to_dicts()}
    assert report == {"ada": (2, 1), "ben": (2, 1)}
    assert thrift.erase(user="ada")["cache_entries"] == 1

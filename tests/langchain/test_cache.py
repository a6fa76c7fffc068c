"""The cache answers what is the same question, and nothing else."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.globals import set_llm_cache
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from pydantic import BaseModel

from llmthrift_core import Thrift, attribute
from llmthrift_langchain import ThriftCache, ThriftCallbackHandler, thrifty

pytestmark = pytest.mark.loopback


def test_a_conversation_that_goes_on_after_a_hit_still_hits(thrift, client, provider):
    """langchain-core adds `total_cost` to a hit's usage, which ends up in the next turn's prompt."""
    model = client(cache=ThriftCache(thrift))
    for _ in range(3):
        history = [HumanMessage("Hello")]
        history.append(model.invoke(history))
        history.append(HumanMessage("And then?"))
        model.invoke(history)
    assert len(provider.requests) == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"messages": [HumanMessage("Hi")]}, {"messages": [SystemMessage("Be rude."), HumanMessage("Hi")]}),
        ({"messages": [HumanMessage("Hi")]}, {"messages": [HumanMessage("Hi"), AIMessage("Yes"), HumanMessage("Hi")]}),
        ({"options": {"temperature": 0}}, {"options": {"temperature": 1}}),
        ({"options": {"model": "gpt-4o"}}, {"options": {"model": "gpt-4o-mini"}}),
        ({"call": {"stop": ["a"]}}, {"call": {"stop": ["b"]}}),
        ({"call": {"seed": 1}}, {"call": {"seed": 2}}),
        ({"options": {"default_headers": {"X-Variant": "a"}}}, {"options": {"default_headers": {"X-Variant": "b"}}}),
        ({"cache": {"namespace": "a"}}, {"cache": {"namespace": "b"}}),
        ({"cache": {"prompt_version": "1"}}, {"cache": {"prompt_version": "2"}}),
        ({"who": {"user": "ada"}, "cache": {"share": "user"}}, {"who": {"user": "ben"}, "cache": {"share": "user"}}),
        ({"who": {"feature": "a"}, "cache": {"share": "feature"}}, {"who": {"feature": "b"}, "cache": {"share": "feature"}}),
        (
            {"cache": {"metadata": {"pricing": "A"}, "require": {"pricing": "A"}}},
            {"cache": {"metadata": {"pricing": "B"}, "require": {"pricing": "B"}}},
        ),
    ],
)
def test_different_questions_never_share_an_answer(thrift, client, provider, first, second):
    for case in (first, second):
        model = client(case.get("options", {}).pop("model", "gpt-4o-mini"), **case.get("options", {}))
        model.cache = ThriftCache(thrift, **case.get("cache", {}))
        with attribute(**case.get("who", {})):
            model.invoke(case.get("messages", "Hi"), **case.get("call", {}))
    assert len(provider.requests) == 2


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 77},
        {"max_retries": 5},
        {"default_headers": {"X-Request-ID": "abc", "traceparent": "00-1"}},
        {"api_key": "another"},
        {"metadata": {"a": 1}, "tags": ["b"]},
    ],
)
def test_what_does_not_change_the_answer_does_not_change_the_key(thrift, client, provider, options):
    client(cache=ThriftCache(thrift)).invoke("Hi")
    client(**options, cache=ThriftCache(thrift)).invoke("Hi", {"run_name": "other", "tags": ["x"]})
    assert len(provider.requests) == 1


def schema(**fields: type) -> type[BaseModel]:
    return type("Thing", (BaseModel,), {"__annotations__": fields, "__doc__": "A thing."})


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("handled", [False, True])
def test_the_schema_behind_a_class_is_part_of_the_key(thrift, client, provider, handled):
    model = client(cache=ThriftCache(thrift))
    config = {"callbacks": [ThriftCallbackHandler(thrift)]} if handled else {}
    for fields in ({"number": int}, {"city": str}):
        for _ in range(2):
            answer = model.with_structured_output(schema(**fields)).invoke("Order 7 to 'Paris'", config)
            assert set(type(answer).model_fields) == set(fields)
    assert len(provider.requests) == 2


def test_metadata_turns_the_cache_off_for_one_call(thrift, client, provider):
    set_llm_cache(ThriftCache(thrift))
    chain = ChatPromptTemplate.from_template("{x}") | client()
    chain.invoke({"x": "Hi"})
    chain.invoke({"x": "Hi"}, {"metadata": {"cache": "off"}})
    chain.invoke({"x": "Hi"}, {"metadata": {"cache": "refresh"}})
    chain.invoke({"x": "Hi"})
    assert len(provider.requests) == 3
    assert thrift.report(by="model").total["requests"] == 4


@pytest.mark.parametrize("mode", ["of", 7, ["off"]])
def test_a_mode_that_means_nothing_is_passed_over(thrift, client, provider, mode):
    set_llm_cache(ThriftCache(thrift))
    for model in (client(), thrifty(client(), thrift)):
        chain = ChatPromptTemplate.from_template("{x}") | model
        assert chain.invoke({"x": "Hi"}, {"metadata": {"cache": mode}}).content
    assert thrift.health()["failures"] == {}


def test_answers_survive_reopening_and_expire(tmp_path, client, provider):
    now = [1_800_000_000.0]
    for step, requests in ((0.0, 1), (3599.0, 1), (3601.0, 2)):
        with Thrift(tmp_path / "c.db", clock=lambda step=step: now[0] + step) as thrift:
            client(cache=ThriftCache(thrift, ttl_seconds=3600)).invoke("Hi")
        assert len(provider.requests) == requests


def test_invalidation_by_tag_source_scope_and_predicate(thrift, client, provider):
    def ask() -> int:
        cache = ThriftCache(thrift, tags=["faq"], sources=["doc-1"])
        client(cache=cache).invoke("Hi", {"metadata": {"user": "ada"}})
        return len(provider.requests)

    assert ask() == ask() == 1
    removals = (
        lambda: thrift.cache.invalidate(tag="faq"),
        lambda: thrift.cache.invalidate(source="doc-1"),
        lambda: thrift.cache.invalidate(scope={"model": "gpt-4o-mini-2024-07-18"}),
        lambda: thrift.cache.invalidate(where=lambda entry: entry.size_bytes > 10),
        lambda: thrift.cache.clear(),
    )
    for expected, remove in enumerate(removals, start=2):
        assert thrift.cache.invalidate(tag="other") == 0
        assert remove() == 1
        assert ask() == ask() == expected


@pytest.mark.parametrize("payload", [b"", b"lc1:", b"\x80\x04.", b'lc1:[{"message": {"content": 5}}]', "text", b"lc1:" + b"[" * 100_000])
def test_hostile_rows_are_misses_and_replaced(tmp_path, client, provider, payload):
    path = tmp_path / "c.db"
    with Thrift(path) as thrift:
        client(cache=ThriftCache(thrift)).invoke("Hi")
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE llmthrift_cache_entries SET payload = ?", (payload,))
    raw.close()
    with Thrift(path) as thrift:
        for _ in range(2):
            assert client(cache=ThriftCache(thrift)).invoke("Hi").content
        with sqlite3.connect(path) as raw:
            raw.execute("UPDATE llmthrift_cache_entries SET payload = ?", (payload,))
        raw.close()
        assert thrifty(client(), thrift).invoke("Hi").content
    assert len(provider.requests) == 3


def test_erasing_a_user_removes_what_was_cached_for_him(thrift, client, provider):
    model = client(cache=ThriftCache(thrift, share="user"))
    for user in ("ada", "ben"):
        with attribute(user=user):
            model.invoke("Hi")
    thrift.erase(user="ada")
    for user in ("ada", "ben"):
        with attribute(user=user):
            model.invoke("Hi")
    assert len(provider.requests) == 3


def test_fifty_threads_at_once(thrift):
    model = FakeListChatModel(responses=["answer"], cache=ThriftCache(thrift))
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda number: model.invoke(f"q{number % 20}").content, range(500)))
    assert set(answers) == {"answer"}
    assert thrift.report(by="model").total["requests"] == 500
    assert thrift.health()["status"] == "ok"


def test_a_cache_without_its_database_is_a_miss(tmp_path, client, provider):
    thrift = Thrift(tmp_path / "c.db")
    model = client(cache=ThriftCache(thrift))
    model.invoke("Hi")
    thrift.close()
    assert model.invoke("Other").content
    assert thrift.health()["status"] == "degraded"

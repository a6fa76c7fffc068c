"""What a key is made of: the model and its call as they are at the moment, not as LangChain remembers them."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import Any

import pytest
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, ChatMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_openai import OpenAI

from llmthrift_core import attribute
from llmthrift_langchain import ThriftCache, ThriftCallbackHandler, sending, thrifty

pytestmark = pytest.mark.loopback
DOORS = {
    "cache": lambda model, thrift: model.model_copy(update={"cache": ThriftCache(thrift)}),
    "thrifty": thrifty,
}
_LOOP = asyncio.Runner()  # one loop, since pooled connections must not outlive it


def _run(coroutine: Any) -> Any:
    return _LOOP.run(coroutine, context=copy_context())


def asked(model: Any, how: str, *given: Any, **options: Any) -> Any:
    if how == "async":
        return _run(model.ainvoke(*given, **options))
    return "".join(map(str, model.stream(*given, **options))) if how == "stream" else model.invoke(*given, **options)


@pytest.mark.parametrize("how", ["whole", "async"])
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("field", "value"),
    [("temperature", 0.5), ("model_name", "gpt-4o"), ("model_kwargs", {"logit_bias": {"5": 1}}), ("extra_body", {"x": 1}), ("seed", 7)],
)
def test_a_field_that_changes_changes_the_key(thrift, client, provider, door, how, field, value):
    given = client(temperature=0.0)
    model = DOORS[door](given, thrift)
    changed = given if door == "thrifty" else model
    before = getattr(changed, field)
    for fields in ({}, {field: value}, {field: before}):
        for name, each in fields.items():
            setattr(changed, name, each)
        asked(model, how, "Hi")
    assert len(provider.requests) == 2
    assert provider.requests[0].body != provider.requests[1].body


def test_what_changes_during_a_call_does_not_move_its_answer(thrift, client, provider):
    model = client("gpt-4o-mini", temperature=0.0, cache=ThriftCache(thrift))

    class Changes(ThriftCallbackHandler):
        def on_llm_new_token(self, *args: Any, **kwargs: Any) -> None:
            """A stand-in for another thread."""
            model.temperature = 1.0

    assert model.model_copy(update={"streaming": True}).invoke("Hi").content
    model.streaming = True
    model.invoke("Ho", {"callbacks": [Changes(thrift)]})
    assert model.temperature == 1.0
    model.invoke("Ho")
    assert [request.body["temperature"] for request in provider.requests] == [0.0, 0.0, 1.0]


def test_a_completion_models_options_are_part_of_its_key(thrift, provider):
    model = OpenAI(model="gpt-3.5-turbo-instruct", base_url=provider.openai_url, api_key="k", cache=ThriftCache(thrift), max_retries=0)
    calls = [{}, {"max_tokens": 300}, {"temperature": 1.5}, {"stop": ["x"]}, {"logit_bias": {"5": 1}}, {"extra_body": {"a": 1}}]
    for _ in range(2):
        for options in calls:
            model.invoke("Hi", **options)
            _run(model.ainvoke("Hi", **options))
    assert len(provider.requests) == len(calls)
    model.generate(["Hi", "Ho"], max_tokens=300)
    assert len(provider.requests) == len(calls) + 1


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ["X-Candidate", "X-Author-Persona", "X-Max-Reasoning-Tokens", "X-Timespan", "X-Variant", "OpenAI-Beta"])
def test_a_header_that_may_choose_a_variant_is_part_of_the_key(thrift, client, provider, door, name):
    for value in "aba":
        DOORS[door](client(default_headers={name: value}), thrift).invoke("Hi")
        DOORS[door](client(), thrift).invoke("Ho", extra_headers={name: value})
    assert len(provider.requests) == 4


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "name", ["X-Request-Id", "traceparent", "Idempotency-Key", "Authorization", "User-Agent", "x-stainless-lang", "Cookie"]
)
def test_a_header_of_one_request_or_credential_is_not(thrift, client, provider, door, name):
    for value in "aba":
        DOORS[door](client(default_headers={name: value}), thrift).invoke("Hi")
    assert len(provider.requests) == 1


@pytest.mark.parametrize("door", DOORS)
def test_developer_and_system_messages_differ(thrift, client, provider, door):
    model = DOORS[door](client(), thrift)
    system, developer = SystemMessage("Be brief."), SystemMessage("Be brief.", additional_kwargs={"__openai_role__": "developer"})
    for message in (system, developer, ChatMessage("Be brief.", role="critic"), system, developer):
        model.invoke([message, ("user", "Hi")])
    model.invoke([("developer", "Be brief."), ("user", "Hi")])
    assert len(provider.requests) == 3


def test_a_call_that_cannot_be_read_is_made_and_not_cached(thrift, client, provider, monkeypatch):
    monkeypatch.setattr(sending, "_METHODS", {name: frozenset() for name in sending._METHODS})
    model = client(cache=ThriftCache(thrift))
    for _ in range(2):
        assert model.invoke("Hi").content
    assert len(provider.requests) == 2
    (reason,) = thrift.health()["cache"]["uncacheable"]
    assert "langchain-core" in reason


class Silent(BaseChatModel):
    """A model of somebody's own that does not say what identifies it."""

    style: str = "plain"
    hook: Any = None

    @property
    def _llm_type(self) -> str:
        return "silent"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(f"in {self.style}"))])


def test_a_model_that_does_not_identify_itself_is_known_by_its_fields(thrift):
    cache = ThriftCache(thrift)
    answers = [Silent(style=style, cache=cache).invoke("Hi").content for style in ("plain", "rhymes", "plain")]
    assert answers == ["in plain", "in rhymes", "in plain"]
    assert thrift.report().total["cache_hits"] == 1


def test_a_function_among_the_fields_is_not_cached(thrift):
    for _ in range(2):
        Silent(hook=lambda: None, cache=ThriftCache(thrift)).invoke("Hi")
    assert thrift.report().total["cache_hits"] == 0
    (reason,) = thrift.health()["cache"]["uncacheable"]
    assert "function" in reason


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("door", DOORS)
def test_a_bare_models_metadata_names_the_user(thrift, client, provider, door, streams):
    if door == "cache":
        set_llm_cache(ThriftCache(thrift))
    model = client() if door == "cache" else thrifty(client(), thrift)
    how = "stream" if streams and door == "thrifty" else "whole"
    for user in ("ada", "bob", "ada", "bob"):
        asked(model, how, "What is my balance?", {"metadata": {"user": user}})
        asked(model, how, "When do you open?", {"metadata": {"user": user}})
    with attribute(user="ada"):
        asked(model, how, "What is my balance?")
    assert len(provider.requests) == 3

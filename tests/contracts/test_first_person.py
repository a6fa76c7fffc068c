"""A user that is known, and a question that may be about its asker: every door keeps the answer to that user."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from llama_index.core.llms import ChatMessage

import llmthrift_langchain as lc
import llmthrift_llamaindex as li
from llmthrift_core import Thrift, attribute
from llmthrift_core.cache import CachePolicy, FixedThreshold, SemanticCache
from llmthrift_core.testing import LoopbackProvider
from tests.contracts.doors import client, llm

pytestmark = pytest.mark.loopback
Ask = Callable[[str], Any]
_LOOP = asyncio.Runner()  # one loop, since pooled connections must not outlive it


def _run(coroutine: Any) -> Any:
    return _LOOP.run(coroutine, context=copy_context())


def _semantic(thrift: Thrift, share: str) -> SemanticCache:
    return SemanticCache(thrift, policy=FixedThreshold(0.8), limits=CachePolicy(share=share))  # type: ignore[arg-type]


def langchain_cache(thrift: Thrift, provider: LoopbackProvider, share: str, by_meaning: bool) -> list[Ask]:
    cache = lc.ThriftCache(thrift, share=share, semantic=_semantic(thrift, share) if by_meaning else False)
    model = client(provider).model_copy(update={"cache": cache})
    return [model.invoke, lambda text: _run(model.ainvoke(text))]


def langchain_thrifty(thrift: Thrift, provider: LoopbackProvider, share: str, by_meaning: bool) -> list[Ask]:
    cache = lc.ThriftCache(thrift, share=share, semantic=_semantic(thrift, share) if by_meaning else False)
    model = lc.thrifty(client(provider), thrift, cache=cache)
    return [model.invoke, lambda text: list(model.stream(text)), lambda text: _run(model.ainvoke(text))]


def llamaindex_thrifty(thrift: Thrift, provider: LoopbackProvider, share: str, by_meaning: bool) -> list[Ask]:
    policy = CachePolicy(share=share)  # type: ignore[arg-type]
    model = li.thrifty(llm(provider), thrift, cache=policy, semantic=_semantic(thrift, share) if by_meaning else False)
    return [model.complete, lambda text: list(model.stream_complete(text))]


def llamaindex_router(thrift: Thrift, provider: LoopbackProvider, share: str, by_meaning: bool) -> list[Ask]:
    policy = CachePolicy(share=share)  # type: ignore[arg-type]
    semantic = _semantic(thrift, share) if by_meaning else False
    model = li.RouterLLM(thrift, models={"only": llm(provider)}, cache=policy, semantic=semantic)
    return [lambda text: model.chat([ChatMessage(role="user", content=text)])]


DOORS = [langchain_cache, langchain_thrifty, llamaindex_thrifty, llamaindex_router]
named = pytest.mark.parametrize("door", DOORS, ids=[door.__name__ for door in DOORS])


@named
@pytest.mark.parametrize("by_meaning", [False, True], ids=["exact", "by meaning"])
@pytest.mark.parametrize("question", ["What is my balance?", "¿Cuál es mi saldo?"])
def test_a_personal_question_is_answered_for_each_user(thrift, provider, door, by_meaning, question):
    for ask in door(thrift, provider, "namespace", by_meaning):
        provider.requests.clear()
        thrift.cache.clear()
        for user in ("ada", "bob", "ada"):
            with attribute(user=user):
                ask(question)
        assert len(provider.requests) <= 2
    assert {row.user for row in thrift.ledger.calls() if row.cache is None} == {"ada", "bob"}


@named
@pytest.mark.parametrize("share", ["namespace", "global"])
def test_what_everybody_may_know_and_what_is_shared_by_name_is_asked_once(thrift, provider, door, share):
    question = "When do you open?" if share == "namespace" else "What is my balance?"
    for ask in door(thrift, provider, share, True):
        for user in ("ada", "bob", None):
            with attribute(user=user):
                ask(question)
    assert len(provider.requests) == 1


def test_the_first_person_earlier_in_a_conversation_counts(thrift, provider):
    langchain = lc.thrifty(client(provider), thrift)
    llamaindex = li.thrifty(llm(provider), thrift)
    for user in ("ada", "bob", "ada"):
        with attribute(user=user):
            langchain.invoke([HumanMessage("What is my balance?"), AIMessage("5"), HumanMessage("And the limit?")])
            said = [("user", "What is my balance?"), ("assistant", "5"), ("user", "And the limit?")]
            llamaindex.chat([ChatMessage(role=role, content=text) for role, text in said])
    assert len(provider.requests) == 4


def test_documents_in_the_first_person_are_not_their_readers(thrift, provider):
    prompt = "Context information is below.\nWe are open from nine to five.\nQuery: When do you open?\nAnswer: "
    model = li.thrifty(llm(provider), thrift)
    for user in ("ada", "bob"):
        with attribute(user=user):
            model.complete(prompt)
    split = lc.ThriftCache(thrift, extract_question=lambda text: ("", text.rpartition("Query: ")[2]))
    for user in ("ada", "bob"):
        with attribute(user=user):
            lc.thrifty(client(provider), thrift, cache=split).invoke(prompt)
    assert len(provider.requests) == 2

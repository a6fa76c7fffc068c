"""Answers by meaning through LangChain: the global cache and the router; what must never be mixed up is not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool

from llmthrift_core import attribute
from llmthrift_core.cache import CachePolicy, FixedThreshold, SemanticCache
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.testing import Answer, ToolCall
from llmthrift_langchain import ThriftCache, ThriftCallbackHandler, thrifty

pytestmark = pytest.mark.loopback
MINI = "gpt-4o-mini"
HOURS, AGAIN = "What are the opening hours?", "Which opening hours do you have?"


def alike(texts: Sequence[str]) -> Any:
    """Questions with a word in common are alike."""
    words = ("hours", "parcel", "price")
    return np.array([[float(word in text) for word in words] + [0.05 * (len(text) % 7), 0.1] for text in texts])


@pytest.fixture(params=["handler and cache", "cache", "router", "router streams"])
def ask(request, thrift, client, provider) -> Any:
    """Ask a model through one of the doors: a function of messages and the model's options."""
    cache = ThriftCache(thrift, semantic=SemanticCache(thrift, alike, FixedThreshold(0.9)))

    def asked(messages: Any, bound: Any = None, **options: Any) -> AIMessage:
        if request.param.startswith("router"):
            model: Any = thrifty(client(MINI, **options), thrift, cache=cache)
        else:
            set_llm_cache(cache)
            handlers = [ThriftCallbackHandler(thrift)] if request.param == "handler and cache" else []
            model = client(MINI, callbacks=handlers, **options)
        if bound:
            model = model.bind_tools(bound)
        if request.param == "router streams":
            answer = None
            for chunk in model.stream(messages):
                answer = chunk if answer is None else answer + chunk
            assert answer is not None
            return answer
        return model.invoke(messages)

    provider.answerer = lambda question: f"Answer {len(provider.requests)}"
    yield asked
    set_llm_cache(None)


def test_a_question_that_means_the_same_is_answered_once(ask, thrift, provider):
    first = ask(HOURS)
    again = ask(AGAIN)
    assert again.content == first.content
    assert len(provider.requests) == 1
    rows = thrift.ledger.calls(order="oldest")
    assert [row.cache for row in rows] == [None, "semantic"]
    assert rows[1].cache_saved_usd > 0
    assert rows[1].cost_usd == 0
    assert thrift.report().total["cache_hits"] == 1


def test_a_hit_says_what_it_matched(thrift, client, provider):
    cache = ThriftCache(thrift, semantic=SemanticCache(thrift, alike, FixedThreshold(0.9)))
    model = client(MINI, cache=cache)
    model.invoke(HOURS)
    info = model.generate([[HumanMessage(AGAIN)]]).generations[0][0].generation_info["llmthrift"]
    assert (info["cache"], info["matched"]) == ("semantic", HOURS)
    assert 0.9 <= info["similarity"] <= 1
    assert cache.semantic.feedback(info["hit_id"], correct=False)
    exact = model.generate([[HumanMessage(HOURS)]]).generations[0][0].generation_info["llmthrift"]
    assert exact["cache"] == "exact"


@pytest.mark.parametrize(
    "other",
    [
        [SystemMessage("Answer in French."), HumanMessage(AGAIN)],
        [HumanMessage("Hi"), AIMessage("Hello"), HumanMessage(AGAIN)],
        [HumanMessage(AGAIN), AIMessage("Which ones?")],
        [HumanMessage([{"type": "text", "text": AGAIN}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}])],
        [HumanMessage([{"type": "text", "text": AGAIN}, {"type": "input_file", "file_data": "data:application/pdf;base64,AA=="}])],
        [HumanMessage([{"type": "text", "text": AGAIN}, {"type": "media", "mime_type": "application/pdf", "data": "AA=="}])],
        [HumanMessage([{"type": "text", "text": AGAIN}, {"type": "search_result", "source": "a", "content": []}])],
        [HumanMessage(AGAIN, name="ben")],
        [HumanMessage(AGAIN, additional_kwargs={"shop": "Berlin"})],
        [HumanMessage(f"Context:\n\nWe open at nine.\n\nQuestion: {AGAIN}")],
    ],
    ids=["system", "history", "assistant", "image", "file", "media", "search result", "name", "additional", "template"],
)
def test_everything_but_the_question_must_be_equal(ask, provider, other):
    ask(HOURS)
    ask(other)
    assert len(provider.requests) == 2


@pytest.mark.parametrize(
    "options",
    [
        {"namespace": "tenant a"},
        {"share": "user"},
        {"prompt_version": "2"},
        {"require": {"pricing": "A"}},
        {"metadata": {"pricing": "A"}},
        {"tags": ("faq",)},
        {"sources": ("manual.pdf",)},
    ],
    ids=str,
)
def test_a_given_cache_keeps_apart_what_the_exact_one_does(thrift, options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        ThriftCache(thrift, semantic=SemanticCache(thrift, alike), **options)
    same = SemanticCache(thrift, alike, limits=CachePolicy(ttl_seconds=60, max_entries=5, **options))
    assert ThriftCache(thrift, semantic=same, **options).semantic is same


@pytest.mark.parametrize("options", [{"temperature": 0.5}, {"max_tokens": 5}, {"temperature": 1.5}], ids=str)
def test_parameters_must_be_equal_and_nobody_who_wants_variety_gets_a_stored_answer(ask, provider, options):
    ask(HOURS)
    ask(AGAIN, **options)
    assert len(provider.requests) == 2
    if options.get("temperature", 0) > 1:
        ask("What hours are you open?", **options)
        assert len(provider.requests) == 3


def test_tool_calls_are_never_served_by_meaning(ask, provider):
    @tool
    def look_up(what: str) -> str:
        """Look something up."""
        return what

    provider.answerer = lambda question: Answer(tool_calls=(ToolCall("look_up", {"what": "hours"}),))
    ask(HOURS, bound=[look_up])
    ask(AGAIN, bound=[look_up])
    ask(AGAIN)
    assert len(provider.requests) == 3


def test_first_person_questions_stay_with_their_user(ask, provider):
    with attribute(user="ada"):
        ask("Where is my parcel?")
        ask("Where is my parcel now?")
    assert len(provider.requests) == 1
    with attribute(user="ben"):
        ask("Where is my parcel now?")
    assert len(provider.requests) == 2


def test_documents_in_the_prompt_can_be_told_from_the_question(thrift, client, provider):
    def split(text: str) -> tuple[str, str] | None:
        context, separator, question = text.partition("Question: ")
        return (context, question) if separator else None

    cache = ThriftCache(thrift, semantic=SemanticCache(thrift, alike, FixedThreshold(0.9)), extract_question=split)
    model = client(MINI, cache=cache)
    model.invoke(f"Context:\n\nA\n\nQuestion: {HOURS}")
    model.invoke(f"Context:\n\nA\n\nQuestion: {AGAIN}")
    assert len(provider.requests) == 1
    model.invoke(f"Context:\n\nB\n\nQuestion: {AGAIN}")
    model.invoke(AGAIN)
    assert len(provider.requests) == 3


def test_clear_and_an_embedder_of_langchain(thrift, client, provider):
    from langchain_core.embeddings import DeterministicFakeEmbedding

    cache = ThriftCache(thrift, semantic=DeterministicFakeEmbedding(size=16))
    model = client(MINI, cache=cache)
    model.invoke(HOURS)
    assert cache.semantic.stats()["entries"] == 1
    cache.clear()
    assert cache.semantic.stats()["entries"] == 0
    model.invoke(HOURS)
    assert len(provider.requests) == 2


@pytest.mark.parametrize("through", ["cache", "router"])
@pytest.mark.parametrize("agrees", [True, False])
async def test_a_verifier_has_the_last_word_and_holds_no_event_loop(thrift, client, provider, through, agrees):
    seen = []

    async def verifier(one: str, other: str) -> bool:
        seen.append((one, other, asyncio.get_running_loop()))
        return agrees

    semantic = await asyncio.to_thread(SemanticCache, thrift, alike, FixedThreshold(1.0), verifier=verifier)
    cache = ThriftCache(thrift, semantic=semantic)
    provider.answerer = lambda question: f"Answer {len(provider.requests)}"
    model = thrifty(client(MINI), thrift, cache=cache) if through == "router" else client(MINI, cache=cache)
    first = await model.ainvoke(HOURS)
    again = await model.ainvoke(AGAIN)
    assert (again.content == first.content) == agrees
    assert len(provider.requests) == (1 if agrees else 2)
    ((one, other, loop),) = seen
    assert (one, other) == (AGAIN, HOURS)
    assert loop is not asyncio.get_running_loop()

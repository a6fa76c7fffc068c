"""`thrifty`: a model that stays what it was, and what of a request decides whether its answer may be given again."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from typing import Any

import pytest
from llama_index.core.base.llms.types import ImageBlock, TextBlock
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import ChatMessage, MockLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai import OpenAI
from pydantic import BaseModel

from llmthrift_core import Budget, BudgetExceededError, Thrift, cache_mode
from llmthrift_core.cache import CachePolicy, ExactOnly, FixedThreshold, SemanticCache
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.testing.answers import Answer
from llmthrift_llamaindex import RouterLLM, thrifty
from tests.llamaindex.conftest import billed, counted, rows, run

ASK = [ChatMessage("What is your name?")]


class Answered(BaseModel):
    text: str


def get_order_status(order_id: int) -> str:
    """Look up where an order is."""
    return f"order {order_id} has shipped"


@pytest.mark.loopback
def test_the_class_and_the_original_stay_what_they_were(thrift, provider, openai):
    plain = openai()
    wrapped = thrifty(plain, thrift)
    assert isinstance(wrapped, OpenAI)
    assert isinstance(wrapped, FunctionCallingLLM)
    assert type(plain) is OpenAI
    assert wrapped.class_name() == plain.class_name()
    assert wrapped.metadata == plain.metadata
    assert wrapped.model_dump() == plain.model_dump()
    plain.chat(ASK)
    assert rows(thrift) == []
    assert type(thrifty(wrapped, thrift, cache=False)) is type(wrapped)  # wrapping again replaces the options


def test_what_cannot_be_wrapped_is_told(thrift):
    llm = MockLLM()
    with pytest.raises(ConfigurationError, match="must be an LLM of LlamaIndex, not str"):
        thrifty("gpt-4o", thrift)  # type: ignore[type-var]
    with pytest.raises(ConfigurationError, match="of its own"):
        thrifty(RouterLLM(thrift, models={"only": llm}), thrift)
    with pytest.raises(ConfigurationError, match="as_structured_llm"):
        thrifty(llm.as_structured_llm(Answered), thrift)
    with pytest.raises(ConfigurationError, match="cache must be"):
        thrifty(llm, thrift, cache="on")  # type: ignore[arg-type]
    shared = SemanticCache(thrift, policy=ExactOnly())
    with pytest.raises(ConfigurationError, match="namespace='tenant a'"):
        thrifty(llm, thrift, cache=CachePolicy(namespace="tenant a"), semantic=shared)
    with pytest.raises(ConfigurationError, match="prompt_version='2'"):
        RouterLLM(thrift, models={"only": llm}, cache=CachePolicy(prompt_version="2"), semantic=shared)
    with pytest.raises(ConfigurationError, match="use a RouterLLM"):
        thrifty(llm, thrift).complete("Hi", max_tier="simple")


@pytest.mark.loopback
@pytest.mark.parametrize("client", ["openai", "anthropic"])
def test_copies_and_pickles_share_the_ledger_and_the_cache(thrift, provider, request, client):
    llm = thrifty(request.getfixturevalue(client)(), thrift)
    first = llm.chat(ASK).message.content  # its client is made and holds locks by now
    pickled = pickle.loads(pickle.dumps(llm))
    for twin in (copy.deepcopy(llm), copy.copy(llm), llm.model_copy(), pickled):
        assert type(twin) is type(llm)
        assert twin.chat(ASK).message.content == first
    assert len(provider.requests) == 1
    pickled._llmthrift.thrift.close()  # which opened the database once more
    assert [row.cache for row in rows(thrift)] == [None, *["exact"] * 4]
    twin = copy.deepcopy(llm)
    twin.temperature = 0.9
    assert llm.temperature != 0.9


def test_a_thrift_in_memory_is_not_pickled():
    with Thrift(":memory:") as thrift, pytest.raises(ConfigurationError, match="in memory"):
        pickle.dumps(thrifty(MockLLM(), thrift))


@pytest.mark.loopback
@pytest.mark.parametrize("is_async", [True, False])
def test_a_replayed_stream_is_cumulative_and_ends_with_its_tool_calls(thrift, provider, openai, is_async):
    llm = thrifty(openai(), thrift)

    def pieces(asked: list[ChatMessage], **options: Any) -> list[Any]:
        async def read() -> list[Any]:
            return [piece async for piece in await llm.astream_chat(asked, **options)]

        return run(read()) if is_async else list(llm.stream_chat(asked, **options))

    first, again = pieces(ASK), pieces(ASK)
    text = first[-1].message.content
    assert len(again) > 2
    said = ""
    for piece in again:
        said += piece.delta
        assert piece.message.content == said
    assert said == text == "".join(piece.delta for piece in first)
    assert again[-1].raw["usage"]["prompt_tokens"] == 0
    assert again[-1].additional_kwargs["llmthrift"]["cache"] == "exact"
    tools = FunctionTool.from_defaults(get_order_status).metadata.to_openai_tool()
    asked = [ChatMessage("Where is order status 123?")]
    called, replayed = (pieces(asked, tools=[tools], tool_choice="required")[-1] for _ in range(2))
    assert [block for block in replayed.message.blocks if block.block_type == "tool_call"] == [
        block for block in called.message.blocks if block.block_type == "tool_call"
    ]
    assert len(replayed.message.additional_kwargs["tool_calls"]) == 1
    assert len(provider.requests) == 2


@pytest.mark.loopback
def test_what_decides_the_answer_is_in_the_key_and_nothing_else(thrift, provider, openai):
    """Each call differs from the first in one thing: those of `same` are answered by it, those of `other` are not."""
    base = thrifty(openai(), thrift)
    base.chat(ASK, user="x")
    same = [
        lambda: thrifty(openai(api_key="sk-another", timeout=1.0, max_retries=1), thrift).chat(ASK, user="x"),
        lambda: thrifty(openai(default_headers={"X-Request-Id": "7"}), thrift).chat(ASK, user="x"),
        lambda: base.chat([ChatMessage("What is your name?", additional_kwargs={"usage": {"n": 1}})], user="x", timeout=3),
        lambda: list(base.stream_chat(ASK, user="x")),
    ]
    for call in same:
        call()
    assert len(provider.requests) == 1
    other = [
        lambda: base.chat(ASK),
        lambda: base.chat(ASK, user="y"),
        lambda: base.chat([ChatMessage("What is your name")], user="x"),
        lambda: base.chat([ChatMessage("What is your name?", role="system")], user="x"),
        lambda: base.chat([ChatMessage("Be brief.", role="system"), *ASK], user="x"),
        lambda: base.chat([*ASK, *ASK], user="x"),
        lambda: base.chat([ChatMessage(blocks=[TextBlock(text="What is your"), TextBlock(text=" name?")], role="user")], user="x"),
        lambda: base.chat(ASK, user="x", temperature=0.5),
        lambda: base.chat(ASK, user="x", response_format={"type": "json_object"}),
        lambda: base.chat(ASK, user="x", tools=[FunctionTool.from_defaults(get_order_status).metadata.to_openai_tool()]),
        lambda: thrifty(openai(temperature=0.7), thrift).chat(ASK, user="x"),
        lambda: thrifty(openai(max_tokens=7), thrift).chat(ASK, user="x"),
        lambda: thrifty(openai("gpt-4o"), thrift).chat(ASK, user="x"),
        lambda: thrifty(openai(), thrift, cache=CachePolicy(namespace="tenant")).chat(ASK, user="x"),
        lambda: thrifty(openai(), thrift, cache=CachePolicy(prompt_version="2")).chat(ASK, user="x"),
        lambda: base.complete("What is your name?", user="x"),
    ]
    for number, call in enumerate(other, start=2):
        call()
        assert len(provider.requests) == number


@pytest.mark.loopback
def test_pictures_are_keyed_by_their_bytes_or_addresses_and_not_by_their_paths(thrift, provider, openai, tmp_path):
    llm = thrifty(openai(), thrift)
    picture = b"\x89PNG\r\n\x1a\n" + b"0" * 64

    def ask(block: Any) -> None:
        llm.chat([ChatMessage(role="user", blocks=[TextBlock(text="What is it?"), block])])

    for _ in range(2):
        ask(ImageBlock(image=picture, image_mimetype="image/png"))
    assert len(provider.requests) == 1
    ask(ImageBlock(image=picture + b"1", image_mimetype="image/png"))
    assert len(provider.requests) == 2
    (tmp_path / "a.png").write_bytes(picture)
    for _ in range(2):
        ask(ImageBlock(path=tmp_path / "a.png", image_mimetype="image/png"))
    assert len(provider.requests) == 4
    for name in ("1", "1", "2"):
        ask(ImageBlock(url=f"https://example.org/{name}.png"))
    assert len(provider.requests) == 6


@pytest.mark.loopback
def test_the_cache_is_passed_by_and_refreshed_per_call(thrift, provider, openai):
    llm = thrifty(openai(), thrift)
    llm.chat(ASK)
    llm.chat(ASK, cache="off")
    with cache_mode("refresh"):
        llm.chat(ASK)
    assert len(provider.requests) == 3
    llm.chat(ASK)
    assert len(provider.requests) == 3
    with pytest.raises(ValueError, match="cache must be"):
        llm.chat(ASK, cache="maybe")


@pytest.mark.loopback
def test_identical_requests_at_once_make_one_call(thrift, provider, openai):
    provider.latency_seconds = lambda model: 0.2
    llm = thrifty(openai(), thrift)

    async def many() -> list[Any]:
        return await asyncio.gather(*(llm.achat(ASK) for _ in range(5)))

    assert len({answer.message.content for answer in run(many())}) == 1
    assert len(provider.requests) == 1
    threads = [threading.Thread(target=llm.complete, args=("Hello?",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(provider.requests) == 2
    assert sorted(str(row.cache) for row in rows(thrift)) == ["None"] * 2 + ["exact"] * 7


@pytest.mark.loopback
def test_a_stream_is_refused_before_it_is_returned_and_stopped_when_it_outgrows_its_budget(thrift, provider, openai):
    llm = thrifty(openai(), thrift, cache=False)
    thrift.budgets.add(Budget(limit_tokens=40_000, window="day"))
    for number in range(12):  # what answers are like is learned
        llm.chat([ChatMessage(f"What is {number}?")])
    thrift.budgets.add(Budget(limit_tokens=3_000, name="less", window="day"))
    provider.answerer = lambda question: Answer("word " * 5_000)
    stream = llm.stream_chat(ASK)
    with pytest.raises(BudgetExceededError):
        for _ in stream:
            pass
    row = rows(thrift)[-1]
    assert (row.error, row.estimated) == ("BudgetExceededError", True)
    assert 0 < row.output_tokens < 5_000
    thrift.budgets.add(Budget(limit_tokens=1, window="day"))
    with pytest.raises(BudgetExceededError):
        llm.stream_chat(ASK)  # nobody has read of it


@pytest.mark.loopback
@pytest.mark.parametrize("client", ["openai", "anthropic", "responses"])
def test_a_budget_that_clamps_shortens_the_answer(thrift, provider, request, client):
    thrift.budgets.add(Budget(limit_tokens=400, window="day", clamp_output=True))
    provider.answerer = lambda question: Answer("word " * 5_000)
    llm = thrifty(request.getfixturevalue(client)(), thrift)
    llm.chat(ASK)
    (body,) = [received.body for received in provider.requests]
    limit = body.get("max_tokens") or body.get("max_output_tokens")
    assert 0 < limit <= 400
    assert counted(thrift) == billed(provider)
    assert thrift.cache.stats()["stores"] == 0  # it says nothing of what the answer would have been


def test_a_dropped_stream_gives_back_what_was_set_aside(thrift):
    thrift.budgets.add(Budget(limit_requests=1, window="day"))
    llm = thrifty(MockLLM(max_tokens=3), thrift)
    stream = llm.stream_complete("Hi")
    del stream
    assert [(row.error, row.cost_usd) for row in rows(thrift)] == [("abandoned", 0)]


@pytest.mark.loopback
def test_counters_of_others_see_an_ordinary_call(thrift, provider, openai):
    counter = TokenCountingHandler(tokenizer=str.split)
    llm = thrifty(openai(callback_manager=CallbackManager([counter])), thrift)
    for _ in range(2):
        llm.chat(ASK)
    assert len(counter.llm_token_counts) == 2


# --- by meaning ---


@pytest.mark.loopback
@pytest.mark.parametrize("agrees", [True, False])
async def test_a_verifier_has_the_last_word_and_holds_no_event_loop(thrift, provider, openai, agrees):
    seen = []

    async def verifier(one: str, other: str) -> bool:
        seen.append((one, other, asyncio.get_running_loop()))
        return agrees

    semantic = await asyncio.to_thread(SemanticCache, thrift, policy=FixedThreshold(1.0), verifier=verifier)
    llm = thrifty(openai(), thrift, semantic=semantic)
    await llm.achat([ChatMessage("How do I reset my password?")])
    await llm.achat([ChatMessage("How can I change a forgotten password?")])
    assert len(provider.requests) == (1 if agrees else 2)
    ((one, other, loop),) = seen
    assert (one, other) == ("How can I change a forgotten password?", "How do I reset my password?")
    assert loop is not asyncio.get_running_loop()


@pytest.mark.loopback
def test_a_question_that_means_the_same_is_answered(thrift, provider, openai):
    semantic = SemanticCache(thrift, policy=FixedThreshold(0.8))
    llm = thrifty(openai(), thrift, semantic=semantic)
    system = ChatMessage("Answer briefly.", role="system")
    llm.chat([system, ChatMessage("How do I reset my password?")])
    hit = llm.chat([system, ChatMessage("How can I reset my password?")])
    assert len(provider.requests) == 1
    assert hit.additional_kwargs["llmthrift"]["cache"] == "semantic"
    assert "".join(piece.delta for piece in llm.stream_chat([system, ChatMessage("please, how do I reset my password?")]))
    assert len(provider.requests) == 1
    for other in (
        [ChatMessage("Answer in French.", role="system"), ChatMessage("How can I reset my password?")],
        [system, ChatMessage("Hi"), ChatMessage("Hello", role="assistant"), ChatMessage("How can I reset my password?")],
        [system, ChatMessage("How do I reset my router?")],
        [system, ChatMessage("Page one.\n\nPage two.\n\nHow can I reset my password?")],
        [system, ChatMessage("How can I reset my password?", additional_kwargs={"name": "ben"})],
    ):
        before = len(provider.requests)
        llm.chat(other)
        assert len(provider.requests) == before + 1
    assert [row.cache for row in rows(thrift)][:3] == [None, "semantic", "semantic"]

"""What may be billed is set aside before the call: media, tools, histories, choices and searches."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    AudioBlock,
    CacheControl,
    CachePoint,
    ChatMessage,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ToolCallBlock,
)
from llama_index.llms.anthropic import Anthropic

from llmthrift_core import Budget, BudgetExceededError
from llmthrift_core.testing import Question
from llmthrift_llamaindex import thrifty
from llmthrift_llamaindex.outgoing import count_outgoing
from tests.core.outgoing.pictures import pdf, png, wav
from tests.llamaindex.conftest import rows, run

GPT = "gpt-4o"


def sends(*blocks: Any) -> Any:
    return count_outgoing([ChatMessage(role="user", blocks=[TextBlock(text="Describe."), *blocks])], GPT)


def test_blocks_count_by_what_they_hold(tmp_path):
    words = sends()
    path = tmp_path / "a.png"
    path.write_bytes(png(1024, 1024) + bytes(50_000))
    for block in (ImageBlock(image=png(1024, 1024) + bytes(50_000)), ImageBlock(path=path)):
        found = sends(block)
        assert (found.media_tokens, found.text_tokens) == (765, words.text_tokens)
    assert sends(ImageBlock(image=png(1024, 1024), detail="low")).media_tokens == 85
    assert sends(ImageBlock(url="https://example.org/a.png")).media_tokens == 85 + 8 * 170
    assert 6_000 < sends(DocumentBlock(data=pdf(2), document_mimetype="application/pdf")).media_tokens < 10_000
    assert sends(AudioBlock(audio=wav(1), format="wav")).audio_tokens == pytest.approx(32, abs=1)
    (named,) = sends(DocumentBlock(url="https://example.org/a.pdf", document_mimetype="application/pdf")).unbounded
    assert "example.org/a.pdf" in named


def test_histories_of_tool_calls_count():
    block = ToolCallBlock(tool_call_id="c1", tool_name="write", tool_kwargs={"text": "content " * 5_000})
    called = ChatMessage(role="assistant", blocks=[block])
    assert 5_000 < count_outgoing([called], GPT).text_tokens < 6_000
    old = {"id": "c1", "type": "function", "function": {"name": "write", "arguments": "content " * 5_000}}
    assert 5_000 < count_outgoing([ChatMessage(role="assistant", additional_kwargs={"tool_calls": [old]})], GPT).text_tokens < 6_000


@pytest.mark.loopback
@pytest.mark.parametrize("is_async", [False, True])
def test_pictures_and_choices_are_set_aside(thrift, provider, openai, is_async):
    held: list[int] = []

    def answer(question: Question) -> str:
        held.append(thrift.budgets.holds()[0]["tokens"])
        return "Fine."

    provider.answerer = answer
    thrift.budgets.add(Budget(limit_tokens=3_000))
    llm = thrifty(openai(GPT, max_tokens=10), thrift, cache=False)

    def chat(message: ChatMessage, **options: Any) -> Any:
        return run(llm.achat([message], **options)) if is_async else llm.chat([message], **options)

    chat(ChatMessage("Describe."))
    chat(ChatMessage(role="user", blocks=[TextBlock(text="Describe."), ImageBlock(image=png(1024, 1024))]))
    assert held[1] - held[0] == 765
    chat(ChatMessage("Describe."), n=5)
    assert held[2] - held[0] == 40
    with pytest.raises(BudgetExceededError):
        chat(ChatMessage("Describe."), n=500)
    with pytest.raises(BudgetExceededError):
        chat(ChatMessage("Describe."), max_tokens=4_000)
    with pytest.raises(BudgetExceededError, match="give its bytes"):
        chat(ChatMessage(role="user", blocks=[DocumentBlock(url="https://example.org/a.pdf", document_mimetype="application/pdf")]))
    assert len(held) == 3


@pytest.mark.loopback
def test_one_short_prompt_says_nothing_of_a_long_one(thrift, openai):
    thrift.budgets.add(Budget(limit_tokens=32_000, window="request"))
    llm = thrifty(openai(max_tokens=100), thrift, cache=False)
    llm.complete("hi")
    llm.complete("word " * 8_000)
    llm.chat([ChatMessage("hi")])
    llm.chat([ChatMessage("word " * 8_000)])


@pytest.mark.loopback
def test_search_fees_are_set_aside(thrift, responses):
    thrift.budgets.add(Budget(limit_usd="0.02"))
    thrifty(responses(max_output_tokens=20), thrift, cache=False).chat([ChatMessage("Hi")])
    llm = thrifty(responses(max_output_tokens=20, built_in_tools=[{"type": "web_search"}]), thrift, cache=False)
    with pytest.raises(BudgetExceededError):
        llm.chat([ChatMessage("What is new?")])


@pytest.mark.loopback
def test_dear_tiers_and_what_the_cache_is_asked_to_keep_are_set_aside_at_their_price(thrift, provider, openai):
    held: list[float] = []

    def answer(question: Question) -> str:
        held.append(float(thrift.budgets.holds()[0]["usd"]))
        return "Fine."

    provider.answerer = answer
    thrift.budgets.add(Budget(limit_usd="1"))
    llm = thrifty(openai("gpt-5-mini", max_tokens=1_000), thrift, cache=False)
    for tier in ("default", "priority"):
        llm.chat([ChatMessage("Hi")], service_tier=tier)
    assert held[1] == pytest.approx(1.8 * held[0], rel=0.001)
    claude = Anthropic(model="claude-sonnet-4-5", base_url=provider.anthropic_url, api_key="k", max_tokens=10, max_retries=0)
    llm, words = thrifty(claude, thrift, cache=False), TextBlock(text="word " * 5_000)
    llm.chat([ChatMessage(role="user", blocks=[words])])
    for lifetime, times in (("5m", 1.25), ("1h", 2)):
        point = CachePoint(cache_control=CacheControl(type="ephemeral", ttl=lifetime))
        llm.chat([ChatMessage(role="user", blocks=[words, point])])
        assert held[-1] == pytest.approx(times * held[2], rel=0.02)


@pytest.mark.loopback
def test_an_unreported_stream_counts_tools(thrift, openai, handler):
    tools = [{"type": "function", "function": {"name": f"tool_{i}", "description": "word " * 300, "parameters": {}}} for i in range(10)]
    list(openai(GPT, usage=False).stream_chat([ChatMessage("Where?")], tools=tools))
    list(thrifty(openai(GPT, usage=False), thrift, cache=False).stream_chat([ChatMessage("Where?")], tools=tools))
    assert [3_000 < row.input_tokens < 4_500 for row in rows(thrift)] == [True, True]

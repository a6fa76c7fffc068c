"""What may be billed is set aside before the call: media, tools, histories, choices, searches, through either door."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from llmthrift_core import Budget, BudgetExceededError
from llmthrift_core.testing import Question
from llmthrift_langchain import ThriftCallbackHandler, thrifty
from tests.core.outgoing.pictures import encoded, pdf, png

pytestmark = pytest.mark.loopback
MINI, BIG = "gpt-4o-mini", "gpt-4o"
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded(png(1024, 1024) + bytes(60_000))}"}}


@pytest.fixture(params=["router", "handler"])
def bounded(request, thrift, client) -> Callable[..., Any]:
    """A model under budgets, either way."""

    def make(model: str = BIG, **options: Any) -> Any:
        if request.param == "router":
            return thrifty(client(model, **options), thrift, cache=False)
        return client(model, callbacks=[ThriftCallbackHandler(thrift, enforce=True)], **options)

    return make


@pytest.fixture
def held(thrift, provider) -> list[int]:
    """The tokens that were set aside for each call, while its model was asked."""
    tokens: list[int] = []

    def answer(question: Question) -> str:
        tokens.append(thrift.budgets.holds()[0]["tokens"])
        return "Fine."

    provider.answerer = answer
    thrift.budgets.add(Budget(limit_tokens=10_000_000, name="watch"))
    return tokens


def test_pictures_files_and_histories_are_set_aside(thrift, bounded, held, provider):
    model = bounded(max_tokens=10)
    model.invoke("Describe.")
    model.invoke([HumanMessage([{"type": "text", "text": "Describe."}, PICTURE])])
    assert held[1] - held[0] == 765
    document = {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{encoded(pdf(2))}", "filename": "a.pdf"}}
    model.invoke([HumanMessage([{"type": "text", "text": "Describe."}, document])])
    assert 6_000 < held[2] - held[0] < 10_000
    called = AIMessage("", tool_calls=[{"name": "write", "args": {"text": "content " * 5_000}, "id": "c1"}])
    model.invoke([HumanMessage("Write."), called, ToolMessage("ok", tool_call_id="c1"), HumanMessage("Thanks.")])
    assert provider.usage_log[-1].input_tokens <= held[3] < 2 * provider.usage_log[-1].input_tokens
    schema = {"title": "report", "description": "word " * 500, "type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    model.bind(response_format={"type": "json_schema", "json_schema": {"name": "report", "schema": schema}}).invoke("Describe.")
    assert held[4] - held[0] > 500


def test_each_choice_may_be_as_long_as_the_longest(thrift, bounded, provider):
    provider.answerer = lambda question: "word " * 150
    thrift.budgets.add(Budget(limit_tokens=3_000, name="b"))
    model = bounded(max_tokens=200)
    with pytest.raises(BudgetExceededError):
        bounded(max_tokens=400, n=10).invoke("Write.")
    with pytest.raises(BudgetExceededError):
        model.bind(n=20).invoke("Write.")
    with pytest.raises(BudgetExceededError):
        model.bind(max_tokens=5_000).invoke("Write.")
    with pytest.raises(BudgetExceededError):
        model.bind(max_completion_tokens=5_000).invoke("Write.")
    with pytest.raises(BudgetExceededError):
        bounded(max_tokens=10, extra_body={"max_completion_tokens": 5_000}).invoke("Write.")
    assert provider.requests == []
    answers = bounded(max_tokens=200, n=5).batch([f"Write {number}." for number in range(6)], return_exceptions=True)
    (row,) = thrift.budgets.status()
    assert 0 < row["spent"] <= 3_000
    assert row["overrun"] == 0
    assert any(isinstance(answer, BudgetExceededError) for answer in answers)


def test_a_clamped_answer_is_shared_among_the_choices_and_nested_options_do_not_lift_it(thrift, client, provider):
    provider.answerer = lambda question: "word " * 500
    thrift.budgets.add(Budget(limit_tokens=500, clamp_output=True))
    thrifty(client(MINI, max_tokens=400, n=4, extra_body={"max_completion_tokens": 400}), thrift, cache=False).invoke("Write.")
    body = provider.requests[0].body
    assert body["n"] == 4
    assert 16 <= (body.get("max_completion_tokens") or body["max_tokens"]) <= 125
    (row,) = thrift.budgets.status()
    assert row["spent"] <= 500


def test_what_has_no_bound_is_refused_with_a_name_and_a_remedy(thrift, bounded, provider):
    thrift.budgets.add(Budget(limit_usd="0.10"))
    block = {"type": "file", "file": {"file_id": "file-7"}}
    with pytest.raises(BudgetExceededError, match=r"whole context of 128,000 tokens.*file-7.*give its bytes"):
        bounded(max_tokens=10).invoke([HumanMessage([{"type": "text", "text": "Read."}, block])])
    thrift.budgets.add(Budget(limit_usd="1.00"))
    bounded(max_tokens=10).invoke("Read.")


def test_search_fees_are_set_aside(thrift, client, provider):
    thrift.budgets.add(Budget(limit_usd="0.02"))
    tool = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}
    model = thrifty(
        ChatAnthropic(
            model="claude-haiku-4-5-20251001", base_url=provider.anthropic_url, api_key="sk-very-secret", max_tokens=10, max_retries=0
        ),
        thrift,
        cache=False,
    )
    model.invoke("Hi")
    with pytest.raises(BudgetExceededError) as refused:
        model.bind(tools=[tool]).invoke("What is new?")
    assert refused.value.requested_usd >= Decimal("0.05")  # $10 for a thousand searches


@pytest.mark.parametrize(("lifetime", "times"), [({}, "1.25"), ({"ttl": "1h"}, "2")])
def test_what_the_cache_is_asked_to_keep_may_be_billed_as_written(thrift, provider, lifetime, times):
    thrift.budgets.add(Budget(limit_usd="1"))
    model = thrifty(_claude(provider), thrift, cache=False)
    held = _held(thrift, provider)
    model.invoke([HumanMessage([{"type": "text", "text": "word " * 5_000}])])
    block = {"type": "text", "text": "word " * 5_000, "cache_control": {"type": "ephemeral", **lifetime}}
    model.invoke([HumanMessage([block])])
    assert held[1] == pytest.approx(float(times) * held[0], rel=0.02)
    # and so is what llmthrift marks by itself
    thrifty(_claude(provider), thrift, cache=False, prompt_caching=True).invoke([SystemMessage("word " * 5_000), HumanMessage("Hi")])
    assert held[2] == pytest.approx(1.25 * held[0], rel=0.02)


def test_a_dear_tier_is_set_aside_at_its_price(thrift, client, provider):
    thrift.budgets.add(Budget(limit_usd="1"))
    held = _held(thrift, provider)
    model = thrifty(client("gpt-5-mini", max_tokens=1_000), thrift, cache=False)
    for tier in ("default", "priority", "flex"):
        model.invoke("Hi", service_tier=tier)
    assert held[1] == pytest.approx(1.8 * held[0], rel=0.001)
    assert held[2] == held[0]  # it may be served at the standard price
    handler = {"callbacks": [ThriftCallbackHandler(thrift, enforce=True)]}
    client("gpt-5-mini", max_tokens=1_000, service_tier="priority").invoke("Hi", handler)
    assert held[3] == pytest.approx(held[1], rel=0.01)


def _claude(provider):
    return ChatAnthropic(model="claude-sonnet-4-5", base_url=provider.anthropic_url, api_key="k", max_tokens=10, max_retries=0)


def _held(thrift, provider) -> list[float]:
    amounts: list[float] = []

    def answer(question: Question) -> str:
        amounts.append(float(thrift.budgets.holds()[0]["usd"]))
        return "Fine."

    provider.answerer = answer
    return amounts


def test_one_short_prompt_says_nothing_of_a_long_one(thrift, bounded):
    thrift.budgets.add(Budget(limit_tokens=32_000, window="request"))
    model = bounded(MINI, max_tokens=100)
    thrift.budgets.inputs.learn(MINI, counted=8, actual=40)
    model.invoke("hi")
    model.invoke("word " * 8_000)
    called = AIMessage("", tool_calls=[{"name": "write", "args": {"t": "w " * 300}, "id": "c1"}])
    model.invoke([HumanMessage("Write."), called, ToolMessage("ok", tool_call_id="c1"), HumanMessage("Thanks.")])
    model.invoke([HumanMessage([{"type": "text", "text": "Describe."}, PICTURE])])
    model.invoke("word " * 8_000)


def test_an_unreported_stream_counts_tools_and_pictures(thrift, client):
    tools = [{"type": "function", "function": {"name": f"tool_{i}", "description": "word " * 300, "parameters": {}}} for i in range(10)]
    handler = {"callbacks": [ThriftCallbackHandler(thrift)]}
    model = client(BIG, stream_usage=False)
    list(model.bind_tools(tools).stream("Where?", handler))
    list(model.stream([HumanMessage([{"type": "text", "text": "Describe."}, PICTURE])], handler))
    list(thrifty(model, thrift, cache=False).bind_tools(tools).stream("Where?"))
    thrift.flush()
    rows = sorted(thrift.ledger.calls(), key=lambda row: row.at_us)
    assert [row.estimated for row in rows] == [True] * 3
    assert 3_000 < rows[0].input_tokens < 4_500
    assert 765 < rows[1].input_tokens < 800
    assert 3_000 < rows[2].input_tokens < 4_500

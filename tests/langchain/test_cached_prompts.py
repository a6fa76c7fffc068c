"""Conversations against a server that bills prompt caches as Anthropic and OpenAI do: dollars with a plan and without."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI

from llmthrift_core import Thrift
from llmthrift_core.calls.prefix_planners import PrefixPlanners
from llmthrift_core.prompt_caching import SentPrompt
from llmthrift_core.testing import LoopbackProvider
from llmthrift_langchain import ChatRouter, thrifty
from llmthrift_langchain.prefixing import sent_prompt
from tests.core.clock import Clock

pytestmark = pytest.mark.loopback

MODEL = "claude-sonnet-4-5"  # $3 for a million tokens of input, $15 of output; writes at 1.25, reads at 0.1
RULES = "rule " * 3_000
TURN = "word " * 500
SYSTEM_TOKENS, TURN_TOKENS, ANSWER_TOKENS = 3_003, 503, 2  # a message is three tokens more than its words


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def billing(clock: Clock) -> Iterator[LoopbackProvider]:
    with LoopbackProvider(lambda question: "Fine.", prompt_caches=True, clock=clock) as provider:
        yield provider


@pytest.fixture
def timed(clock: Clock) -> Iterator[Thrift]:
    with Thrift(":memory:", clock=clock) as thrift:
        yield thrift


def _claude(provider: LoopbackProvider) -> ChatAnthropic:
    return ChatAnthropic(model=MODEL, base_url=provider.anthropic_url, api_key="k", max_retries=0)


def _prompts(turns: int, first: str = "Hello") -> Iterator[list[BaseMessage]]:
    messages: list[BaseMessage] = [SystemMessage(RULES.strip()), HumanMessage(f"{first} {TURN[5:]}".strip())]
    for _ in range(turns):
        yield list(messages)
        messages += [AIMessage("Fine."), HumanMessage(TURN.strip())]


def _talk(model: ChatRouter, clock: Clock, turns: int, *, pause: float = 10.0, how: str = "invoke", first: str = "Hello") -> None:
    for prompt in _prompts(turns, first):
        if how == "stream":
            assert "".join(str(chunk.text) for chunk in model.stream(prompt)) == "Fine."
        else:
            assert model.invoke(prompt).text == "Fine."
        clock.now += pause


def _sizes(turns: int) -> list[int]:
    return [SYSTEM_TOKENS + TURN_TOKENS + turn * (TURN_TOKENS + ANSWER_TOKENS + 3) for turn in range(turns)]


@pytest.mark.parametrize("how", ["invoke", "stream"])
def test_a_planned_conversation_costs_what_reads_and_writes_come_to(
    timed: Thrift, billing: LoopbackProvider, clock: Clock, how: str
) -> None:
    turns = 6
    _talk(thrifty(_claude(billing), timed, cache=False, prompt_caching=True), clock, turns, how=how)
    sizes = _sizes(turns)
    assert [billed.input_tokens for billed in billing.usage_log] == sizes
    rows = list(reversed(timed.ledger.calls()))
    found = [(row.input_tokens, row.cache_read_tokens, row.cache_write_tokens) for row in rows]
    # Each prompt is written to its end, and read by the next one.
    assert found == [(size, before, size - before) for before, size in zip([0, *sizes], sizes, strict=False)]
    price, read, written = Decimal(3) / 10**6, sum(sizes[:-1]), sizes[-1]
    output = turns * ANSWER_TOKENS * Decimal(15) / 10**6
    savings = timed.savings()
    assert savings.spent_usd == price * read * Decimal("0.1") + price * written * Decimal("1.25") + output
    assert savings.prefix_saved_usd == price * read * Decimal("0.9") - price * written * Decimal("0.25")
    assert savings.without_usd == price * sum(sizes) + output
    assert timed.health()["failures"] == {}


def test_without_a_plan_it_costs_the_plain_price(timed: Thrift, billing: LoopbackProvider, clock: Clock) -> None:
    _talk(thrifty(_claude(billing), timed, cache=False), clock, 6)
    savings = timed.savings()
    assert savings.spent_usd == savings.without_usd == (sum(_sizes(6)) * Decimal(3) + 6 * ANSWER_TOKENS * Decimal(15)) / 10**6
    assert savings.prefix_saved_usd == 0


def test_openai_caches_by_itself_and_the_ledger_says_what_that_saved(timed: Thrift, billing: LoopbackProvider, clock: Clock) -> None:
    openai = ChatOpenAI(model="gpt-4o-mini", base_url=billing.openai_url, api_key="k", max_retries=0, stream_usage=True)
    model = thrifty(openai, timed, cache=False, prompt_caching=True)
    _talk(model, clock, 3)
    # 3,506, 4,014 and 4,522 tokens: the longest prefixes of 1,024 + 128 n within the first and the second.
    assert [row.cache_read_tokens for row in reversed(timed.ledger.calls())] == [0, 3_456, 3_968]
    assert timed.savings().prefix_saved_usd == (3_456 + 3_968) * Decimal("0.075") / 10**6
    assert "".join(str(chunk.text) for chunk in model.stream(next(_prompts(1)))) == "Fine."
    (newest, *_) = timed.ledger.calls()
    assert newest.cache_read_tokens == 3_456


def _lost(thrift: Thrift) -> list[tuple[str | None, int | None]]:
    return [(row.prefix_miss, row.prefix_lost_nano_usd) for row in reversed(thrift.ledger.calls())]


def test_rows_say_why_a_prefix_was_not_read_and_what_that_cost(timed: Thrift, billing: LoopbackProvider, clock: Clock) -> None:
    model = thrifty(_claude(billing), timed, cache=False, prompt_caching=True)
    _talk(model, clock, 3)
    assert _lost(timed) == [("never seen", 0), (None, None), (None, None)]
    *_, (system, *talk) = _prompts(3)
    changed = [SystemMessage("Today is Tuesday. " + str(system.content)), *talk]
    model.invoke(changed)
    reason, lost = _lost(timed)[-1]
    assert reason == "system changed"
    # Three questions and two answers came again, 1,519 tokens, at 1.25 (written) or 1 instead of 0.1; our count is a few tokens off.
    assert lost is not None
    assert 1_519 * 0.9 * 3_000 * 0.95 < lost < 1_519 * 1.15 * 3_000 * 1.05
    clock.now += 4_000
    model.invoke(changed)
    assert _lost(timed)[-1][0] == "expired"
    assert timed.savings().prefix_lost_usd == Decimal(sum(amount or 0 for _, amount in _lost(timed))) / 10**9
    assert timed.health()["failures"] == {}


def test_the_report_says_what_was_lost_by_reason_and_call_site(timed: Thrift, billing: LoopbackProvider, clock: Clock) -> None:
    model = thrifty(_claude(billing), timed, cache=False, prompt_caching=True)
    *_, turns = _prompts(2)
    for day in ("Monday", "Tuesday", "Wednesday", "Thursday"):
        clock.now += 10
        model.invoke([SystemMessage(f"Today is {day}. " + str(turns[0].content)), *turns[1:]], {"run_name": "desk"})
    report = timed.prefix_misses()
    first = report.rows[0]
    assert (first["reason"], first["call_site"], first["requests"]) == ("system changed", "desk", 3)
    assert first["lost_usd"] == timed.savings().prefix_lost_usd == report.lost_usd > 0
    assert "behind what stays" in report.to_text()
    assert {row["reason"] for row in report} == {"system changed", "never seen"}
    (found,) = [each for each in timed.optimizations() if each.kind == "missed_prefixes"]
    assert "system changed" in found.description
    assert not len(timed.prefix_misses(until="2000-01-01"))


def test_writes_that_nobody_read_are_a_loss_of_their_call_site(timed: Thrift, billing: LoopbackProvider, clock: Clock) -> None:
    model = thrifty(_claude(billing), timed, cache=False, prompt_caching=True)
    *_, turns = _prompts(1)
    model.invoke(turns, {"run_name": "desk"})
    (row,) = timed.ledger.calls()
    assert row.cache_write_tokens > 3_000
    clock.now += 4_000  # any life is over
    model.invoke([HumanMessage("Another question, of another kind.")], {"run_name": "desk"})
    savings = timed.savings()
    # Our count of tokens is a few off that of the provider.
    paid = row.cache_write_tokens * Decimal("0.25") * 3 / 10**6
    assert paid * Decimal("0.9") < savings.prefix_unread_usd < paid * Decimal("1.1")
    assert "lost by writes to it that nobody read" in savings.to_text()
    (unread,) = [row for row in timed.prefix_misses() if row["reason"] == "written, never read"]
    assert (unread["call_site"], unread["lost_usd"]) == ("desk", savings.prefix_unread_usd)
    model.invoke(turns, {"run_name": "desk"})
    clock.now += 60
    model.invoke(turns, {"run_name": "desk"})  # read: no loss
    clock.now += 4_000
    model.invoke([HumanMessage("A third question.")], {"run_name": "desk"})
    assert timed.savings().prefix_unread_usd - savings.prefix_unread_usd < paid * Decimal("0.1")


def test_without_the_option_nothing_is_explained(timed: Thrift, billing: LoopbackProvider, clock: Clock) -> None:
    _talk(thrifty(_claude(billing), timed, cache=False), clock, 2)
    assert _lost(timed) == [(None, None)] * 2


def _system(body: Any) -> str:
    return body["system"] if isinstance(body["system"], str) else "".join(block["text"] for block in body["system"])


def _dated(turns: list[BaseMessage], day: str) -> list[BaseMessage]:
    return [SystemMessage(f"Today is {day}. {turns[0].content}"), *turns[1:]]


def test_a_date_before_the_rules_is_told_once(
    timed: Thrift, billing: LoopbackProvider, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    model = thrifty(_claude(billing), timed, cache=False, prompt_caching=True)
    *_, turns = _prompts(1)
    for day in ("Monday", "Tuesday", "Wednesday", "Thursday"):
        clock.now += 10
        model.invoke(_dated(turns, day), {"run_name": "desk"})
        assert _system(billing.requests[-1].body).startswith(f"Today is {day}.")
    warnings = [record.getMessage() for record in caplog.records if "system prompt changes" in record.getMessage()]
    assert len(warnings) == 1
    assert warnings[0].startswith("desk: ")
    assert any("system prompt changes" in alert for alert in timed.health()["alerts"])


def test_it_is_sent_last_where_that_is_asked_for(timed: Thrift, billing: LoopbackProvider, clock: Clock) -> None:
    model = thrifty(_claude(billing), timed, cache=False, prompt_caching=PrefixPlanners(reorders=True))
    *_, turns = _prompts(1)
    for day in ("Monday", "Tuesday", "Wednesday", "Thursday"):
        clock.now += 10
        model.invoke(_dated(turns, day), {"run_name": "desk"})
    rows = timed.ledger.calls(order="oldest")
    texts = [_system(request.body) for request in billing.requests[-4:]]
    assert all(text.endswith(f"Today is {day}.") for text, day in zip(texts[1:], ("Tuesday", "Wednesday", "Thursday"), strict=True))
    # The second is the first that begins alike; the third reads what it wrote, and so on.
    assert [row.cache_read_tokens > 0.6 * row.input_tokens for row in rows] == [False, False, True, True]
    assert timed.health()["failures"] == {}


def test_another_conversation_reads_what_it_shares_with_the_first(timed: Thrift, billing: LoopbackProvider, clock: Clock) -> None:
    model = thrifty(_claude(billing), timed, cache=False, prompt_caching=True)
    *_, turns = _prompts(1)
    model.invoke(turns)
    clock.now += 10
    model.invoke([turns[0], HumanMessage("Something else, which nobody asked before.")])
    newest = timed.ledger.calls(order="newest")[0]
    assert newest.cache_read_tokens > 0.9 * newest.input_tokens


def test_anthropic_is_asked_why_its_cache_was_missed_where_told_to(timed: Thrift, billing: LoopbackProvider, clock: Clock) -> None:
    model = thrifty(_claude(billing), timed, cache=False, prompt_caching=PrefixPlanners(diagnostics=True))
    first, second = list(_prompts(2))
    model.invoke(first)
    clock.now += 10
    answer = model.invoke(second)
    asked = [request.body["diagnostics"]["previous_message_id"] for request in billing.requests[-2:]]
    assert asked[0] is None
    assert asked[1].startswith("msg_")
    assert answer.response_metadata["diagnostics"] == {"cache_miss_reason": None}
    # Another process, which has not seen what was sent before, hears it from the provider.
    with Thrift(":memory:", clock=clock) as other:
        planners = PrefixPlanners(diagnostics=True)
        planners.sent.answered(SentPrompt(history=[(_history_of(second), 1)]), str(answer.response_metadata["id"]))
        changed = [SystemMessage("Be brief. " + str(second[0].content)), *second[1:]]
        thrifty(_claude(billing), other, cache=False, prompt_caching=planners).invoke(changed)
        (row,) = other.ledger.calls()
        assert row.prefix_miss == "system changed"
        assert row.prefix_lost_nano_usd is not None
        assert row.prefix_lost_nano_usd > 0
        assert other.health()["failures"] == {}
    assert "diagnostics" not in _sent_without(timed, billing, first)


def _sent_without(thrift: Thrift, billing: LoopbackProvider, prompt: list[BaseMessage]) -> Any:
    thrifty(_claude(billing), thrift, cache=False, prompt_caching=True).invoke(prompt)  # not Anthropic's own service
    return billing.requests[-1].body


def _history_of(prompt: list[BaseMessage]) -> Any:
    return sent_prompt(prompt, (), "claude-sonnet-4-5").history[0][0]

"""A conversation through LlamaIndex against a server that bills prompt caches as Anthropic does."""

from __future__ import annotations

from decimal import Decimal

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.llms.anthropic import Anthropic

from llmthrift_core import Thrift
from llmthrift_core.calls.prefix_planners import PrefixPlanners
from llmthrift_core.prompt_caching.sent import SentPrompt
from llmthrift_core.testing import LoopbackProvider
from llmthrift_llamaindex import thrifty
from llmthrift_llamaindex.prefixing import sent_prompt
from tests.core.clock import Clock

pytestmark = pytest.mark.loopback


def _talk(thrift: Thrift, clock: Clock, *, is_planned: bool) -> Decimal:
    with LoopbackProvider(lambda question: "Fine.", prompt_caches=True, clock=clock) as provider:
        claude = Anthropic(model="claude-sonnet-4-5", base_url=provider.anthropic_url, api_key="k", max_retries=0)
        llm = thrifty(claude, thrift, cache=False, prompt_caching=is_planned)
        turns = [ChatMessage(role="system", content="rule " * 3_000), ChatMessage(role="user", content="word " * 500)]
        for number in range(4):
            if number % 2:
                assert "".join(part.delta or "" for part in llm.stream_chat(turns)) == "Fine."
            else:
                assert llm.chat(turns).message.content == "Fine."
            turns += [ChatMessage(role="assistant", content="Fine."), ChatMessage(role="user", content="word " * 500)]
            clock.now += 10
    return thrift.savings().spent_usd


def test_a_planned_conversation_costs_what_reads_and_writes_come_to() -> None:
    clock = Clock()
    with Thrift(":memory:", clock=clock) as plain, Thrift(":memory:", clock=clock) as planned:
        spent = _talk(planned, clock, is_planned=True)
        rows = list(reversed(planned.ledger.calls()))
        # 3,003 tokens of rules, 503 of each question, 5 of each answer; each prompt is written to its end and read by the next.
        sizes = [3_506, 4_014, 4_522, 5_030]
        found = [(row.input_tokens, row.cache_read_tokens, row.cache_write_tokens) for row in rows]
        assert found == [(3_506, 0, 3_506), (4_014, 3_506, 508), (4_522, 4_014, 508), (5_030, 4_522, 508)]
        million, output = Decimal(10**6), Decimal(4 * 2 * 15)
        assert spent == (Decimal("0.3") * sum(sizes[:-1]) + Decimal("3.75") * sizes[-1] + output) / million
        assert planned.savings().prefix_saved_usd == (Decimal("2.7") * sum(sizes[:-1]) - Decimal("0.75") * sizes[-1]) / million
        assert _talk(plain, clock, is_planned=False) == (3 * sum(sizes) + output) / million == planned.savings().without_usd


def test_anthropic_is_asked_why_its_cache_was_missed_where_told_to() -> None:
    clock = Clock()
    rules, question = "rule " * 3_000, ChatMessage(role="user", content="word " * 500)
    first = [ChatMessage(role="system", content=rules), question]
    second = [*first, ChatMessage(role="assistant", content="Fine."), ChatMessage(role="user", content="And then?")]
    changed = [ChatMessage(role="system", content=f"Be brief. {rules}"), *second[1:]]
    with LoopbackProvider(lambda question: "Fine.", prompt_caches=True, clock=clock) as provider, Thrift(":memory:", clock=clock) as thrift:
        claude = Anthropic(model="claude-sonnet-4-5", base_url=provider.anthropic_url, api_key="k", max_retries=0)
        planners = PrefixPlanners(diagnostics=True)
        llm = thrifty(claude, thrift, cache=False, prompt_caching=planners)
        llm.chat(first)
        clock.now += 10
        answer = llm.chat(second)
        asked = [request.body["diagnostics"]["previous_message_id"] for request in provider.requests]
        assert asked[0] is None
        assert asked[1].startswith("msg_")
        assert answer.raw["diagnostics"] == {"cache_miss_reason": None}
        assert thrift.ledger.calls(order="newest")[0].prefix_miss is None
        # Another process, which has not seen what was sent before, hears it from the provider.
        with Thrift(":memory:", clock=clock) as other:
            known = PrefixPlanners(diagnostics=True)
            sent = sent_prompt(second, {}, (), "claude-sonnet-4-5").history[0][0]
            known.sent.answered(SentPrompt(history=[(sent, 1)]), str(answer.raw["id"]))
            thrifty(claude, other, cache=False, prompt_caching=known).chat(changed)
            (row,) = other.ledger.calls()
            assert row.prefix_miss == "system changed"
            assert row.prefix_lost_nano_usd > 0
            assert other.health()["failures"] == {}
        thrifty(claude, thrift, cache=False, prompt_caching=True).chat(first)  # not Anthropic's own service
        assert "diagnostics" not in provider.requests[-1].body

"""First calls under a small budget, calls that wait for room, and limits that do not lift each other."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from llama_index.core.llms import ChatMessage

from llmthrift_core import Budget, attribute
from llmthrift_llamaindex import RouterLLM, thrifty
from tests.llamaindex.conftest import run

pytestmark = pytest.mark.loopback


def test_a_first_budget_of_five_cents_lets_an_unlimited_model_answer(thrift, openai, provider):
    thrift.budgets.add(Budget(limit_usd="0.05", window="day", per="user"))
    llm = thrifty(openai("gpt-4o"), thrift, cache=False)
    with attribute(user="ada"):
        for number in range(6):
            llm.complete(f"Hello {number}")
        list(llm.stream_complete("Hello"))
    (row,) = thrift.budgets.status()
    assert 0 < row["spent"] < Decimal("0.05")
    assert (row["reserved"], row["overrun"], len(provider.requests)) == (0, 0, 7)


def test_waiting_tasks_are_served_and_none_is_refused(thrift, openai, provider):
    thrift.budgets.add(Budget(limit_tokens=1_300, on_exceed="queue", max_wait_seconds=120))
    llm = thrifty(openai(max_tokens=300), thrift, cache=False)  # four at a time, and all ten take about 600

    async def ask_all() -> None:
        await asyncio.gather(*(llm.achat([ChatMessage(f"Question {number}")]) for number in range(10)))

    run(ask_all())
    assert len(provider.requests) == 10
    assert thrift.budgets.status()[0]["reserved"] == 0


def test_a_call_does_not_lift_the_routers_own_limit(thrift, openai, provider):
    models = {"small": openai("gpt-4o-mini"), "large": openai("gpt-4o")}
    llm = RouterLLM(thrift, models=models, policy=lambda request: "large", max_tier="small", cache=False)
    llm.complete("Hi", max_tier="large")
    assert [request.body["model"] for request in provider.requests] == ["gpt-4o-mini"]

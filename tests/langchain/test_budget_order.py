"""First calls under a small budget, calls that wait for room, refused batches, and limits that do not lift each other."""

from __future__ import annotations

import asyncio
import gc
from decimal import Decimal

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.messages import HumanMessage

from llmthrift_core import Budget, BudgetExceededError, attribute
from llmthrift_langchain import ChatRouter, ThriftCallbackHandler, ThriftEmbeddings, thrifty

pytestmark = pytest.mark.loopback


def test_a_first_budget_of_five_cents_lets_an_unlimited_model_answer(thrift, client, provider):
    thrift.budgets.add(Budget(limit_usd="0.05", window="day", per="user"))
    model = thrifty(client("gpt-4o"), thrift, cache=False)
    with attribute(user="ada"):
        for number in range(6):
            model.invoke(f"Hello {number}")
        "".join(chunk.content for chunk in model.stream("Hello"))
    (row,) = thrift.budgets.status()
    assert 0 < row["spent"] < Decimal("0.05")
    assert (row["reserved"], row["overrun"], len(provider.requests)) == (0, 0, 7)


async def test_waiting_tasks_are_served_and_none_is_refused(thrift, client, provider):
    thrift.budgets.add(Budget(limit_tokens=1_300, on_exceed="queue", max_wait_seconds=120))
    model = thrifty(client(max_tokens=300), thrift, cache=False)  # four at a time, and all ten take about 600
    await asyncio.gather(*(model.ainvoke(f"Question {number}") for number in range(10)))
    assert len(provider.requests) == 10
    assert thrift.budgets.status()[0]["reserved"] == 0


def test_a_refused_batch_gives_back_what_its_prompts_held(thrift, client, provider):
    thrift.budgets.add(Budget(limit_requests=6))
    model, handler = client(max_tokens=20), ThriftCallbackHandler(thrift, enforce=True)
    for attempt in range(3):
        prompts = [[HumanMessage(f"Question {attempt} {number}")] for number in range(10)]
        with pytest.raises(BudgetExceededError):
            model.generate(prompts, callbacks=[handler])
        assert thrift.budgets.holds() == []
    assert provider.requests == []
    model.invoke("One", config={"callbacks": [handler]})


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")  # LangChain drops the starts behind a refused one
async def test_a_refused_asynchronous_batch_gives_back_what_its_prompts_held(thrift, client):
    thrift.budgets.add(Budget(limit_requests=6))
    model, handler = client(max_tokens=20), ThriftCallbackHandler(thrift, enforce=True)
    for attempt in range(3):
        prompts = [[HumanMessage(f"Question {attempt} {number}")] for number in range(10)]
        with pytest.raises(BudgetExceededError):
            await model.agenerate(prompts, callbacks=[handler])
        assert thrift.budgets.holds() == []
    gc.collect()  # what is never awaited is told where it is collected: here, and not in a later test


def test_a_call_does_not_lift_the_routers_own_limit(thrift, client, provider):
    models = {"small": client("gpt-4o-mini"), "large": client("gpt-4o")}
    capped = ChatRouter(thrift, models=models, policy=lambda request: "large", max_tier="small", cache=False)
    free = ChatRouter(thrift, models=models, policy=lambda request: "large", cache=False)
    capped.invoke("Hi", max_tier="large")
    free.invoke("Hi", max_tier="small")
    free.invoke("Hi", max_tier="large")
    assert [request.body["model"] for request in provider.requests] == ["gpt-4o-mini", "gpt-4o-mini", "gpt-4o"]


async def test_embeddings_ask_budgets(thrift):
    embeddings = ThriftEmbeddings(thrift, DeterministicFakeEmbedding(size=4), cache=False)
    thrift.budgets.add(Budget(limit_tokens=30))
    embeddings.embed_query("Some words to embed.")
    await embeddings.aembed_documents(["Other words", "and more."])
    spent = thrift.budgets.status()[0]["spent"]
    assert 5 < spent <= 30
    with pytest.raises(BudgetExceededError):
        embeddings.embed_documents(["far too many words " * 20])
    with pytest.raises(BudgetExceededError):
        await embeddings.aembed_query("far too many words " * 20)
    assert thrift.budgets.status()[0]["spent"] == spent

"""Agents within budgets when something goes wrong around them: the limit holds, nothing stays held, every request is one row."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.tools import FunctionTool

import llmthrift_langchain as lc
import llmthrift_llamaindex as li
from llmthrift_core import Budget
from llmthrift_core.calls.refusals import POLITE
from llmthrift_core.testing.answers import Answer, Question, ToolCall
from tests.contracts.doors import _run, client, llm

pytestmark = pytest.mark.loopback


def twice(question: Question) -> Answer:
    """Two tool calls, one after the other, then words."""
    results = sum(role == "tool" for role, _ in question.messages)
    return Answer(tool_calls=(ToolCall("work", {"task": str(results)}),)) if results < 2 else Answer("Done.")


def langchain_agent(thrift: Any, provider: Any, work: Any, **options: Any) -> Any:
    made = create_agent(client(provider), [tool("work")(work)], middleware=[lc.ThriftMiddleware(thrift, cache=False, **options)])

    async def go() -> str:
        return str((await made.ainvoke({"messages": [("user", "Go.")]}))["messages"][-1].text)

    return go


def llamaindex_agent(thrift: Any, provider: Any, work: Any, **options: Any) -> Any:
    worker = FunctionTool.from_defaults(async_fn=work, name="work")
    made = li.budgeted(FunctionAgent(tools=[worker], llm=llm(provider)), thrift, cache=False, **options)

    async def go() -> str:
        return str(await made.run("Go."))

    return go


AGENTS = pytest.mark.parametrize("make", [langchain_agent, llamaindex_agent])


def settled(thrift: Any, provider: Any) -> None:
    """Nothing is held, and each request is one row."""
    thrift.flush()
    assert thrift.budgets.holds() == []
    assert len(thrift.ledger.calls()) == len(provider.requests)
    assert all(row["reserved"] == 0 and row["spent"] <= row["limit"] for row in thrift.budgets.status())


@AGENTS
@pytest.mark.parametrize("ending", ["end", "summarize"])
def test_a_tool_that_raises_inside_a_nested_agent(thrift, provider, make, ending):
    provider.answerer = twice
    thrift.budgets.add(Budget(limit_requests=6, per="run"))

    async def breaks(task: str) -> str:
        """Work."""
        raise RuntimeError("broken")

    inner = make(thrift, provider, breaks, on_exceeded=ending)

    async def delegate(task: str) -> str:
        """Work."""
        try:
            return str(await inner())
        except RuntimeError as error:
            return f"it failed: {error}"

    outer = make(thrift, provider, delegate, on_exceeded=ending)
    assert _run(outer())
    settled(thrift, provider)


@AGENTS
def test_a_run_that_is_cancelled_in_a_call_and_in_a_tool(thrift, provider, make):
    provider.answerer = twice
    thrift.budgets.add(Budget(limit_requests=10, per="run"))

    async def waits(task: str) -> str:
        """Work."""
        await asyncio.sleep(60)
        return "never"

    async def left() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(make(thrift, provider, waits, on_exceeded="summarize")(), 1.0)

    _run(left())
    settled(thrift, provider)


@AGENTS
def test_parallel_runs_share_no_budget_of_a_run(thrift, provider, make):
    provider.answerer = twice
    thrift.budgets.add(Budget(limit_requests=3, per="run"))

    async def works(task: str) -> str:
        """Work."""
        return "done"

    async def together() -> list[str]:
        return await asyncio.gather(*(make(thrift, provider, works, on_exceeded="end")() for _ in range(4)))

    assert _run(together()) == ["Done."] * 4
    settled(thrift, provider)
    assert [row["spent"] for row in thrift.budgets.status()] == [3] * 4


def test_two_middlewares_of_one_thrift_meter_once(thrift, provider):
    provider.answerer = twice
    thrift.budgets.add(Budget(limit_requests=5, per="run"))

    @tool
    def work(task: str) -> str:
        """Work."""
        return "done"

    class Second(lc.ThriftMiddleware):
        """Another one, since an agent takes each class once."""

    both = [lc.ThriftMiddleware(thrift, on_exceeded="end"), Second(thrift, on_exceeded="summarize")]
    agent = create_agent(client(provider), [work], middleware=both)
    assert agent.invoke({"messages": [("user", "Go.")]})["messages"][-1].text == "Done."
    settled(thrift, provider)
    assert [row["spent"] for row in thrift.budgets.status()] == [3]


def test_a_thread_that_is_resumed_after_its_window_closed_has_a_new_one(thrift, provider, monkeypatch):
    provider.answerer = twice
    thrift.budgets.add(Budget(limit_requests=1, window="hour", per="session"))

    @tool
    def work(task: str) -> str:
        """Work."""
        return "done"

    middleware = [lc.ThriftMiddleware(thrift, on_exceeded="ask")]
    agent = create_agent(client(provider), [work], middleware=middleware, checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t1"}}
    (asked,) = agent.invoke({"messages": [("user", "Go.")]}, config)["__interrupt__"]
    assert (asked.value["limit_requests"], len(provider.requests)) == (1, 1)
    later = thrift.budgets._now_us() + 2 * 3_600_000_000
    monkeypatch.setattr(thrift.budgets, "_now_us", lambda: later)
    # the node runs from its start, and is not refused any more: no answer is needed, and the next call of the hour is
    (again,) = agent.invoke(Command(resume=False), config)["__interrupt__"]
    assert (again.value["limit_requests"], len(provider.requests)) == (1, 2)
    assert agent.invoke(Command(resume=False), config)["messages"][-1].content == POLITE
    assert thrift.budgets.holds() == []


@pytest.mark.parametrize("make", [langchain_agent, llamaindex_agent])
def test_a_summary_that_does_not_fit_ends_politely(thrift, provider, make):
    provider.answerer = twice
    thrift.budgets.add(Budget(limit_usd="0.000001", per="run"))

    async def works(task: str) -> str:
        """Work."""
        return "done"

    assert _run(make(thrift, provider, works, on_exceeded="summarize")()) == POLITE
    assert provider.requests == []
    settled(thrift, provider)

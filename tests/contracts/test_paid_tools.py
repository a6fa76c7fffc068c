"""Tools whose cost is stated: it is set aside before the tool is called, and where a budget has no room the agent ends as it is told."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.instrumentation.dispatcher import instrument_tags
from llama_index.core.tools import FunctionTool
from llama_index.core.workflow import HumanResponseEvent, InputRequiredEvent

import llmthrift_langchain as lc
import llmthrift_llamaindex as li
from llmthrift_core import Budget, BudgetExceededError, attribute
from llmthrift_core.calls.refusals import NOT_DONE, POLITE
from llmthrift_core.testing.answers import Answer, Question, ToolCall
from tests.contracts.doors import _run, client, llm

pytestmark = pytest.mark.loopback


def three_searches(question: Question) -> Answer:
    """Three tool calls, one after the other, then words."""
    if any("is used up" in text for role, text in question.messages if role == "system"):
        return Answer("Nothing found so far.")
    results = sum(role == "tool" for role, _ in question.messages)
    return Answer(tool_calls=(ToolCall("search", {"query": f"tea {results}"}),)) if results < 3 else Answer("Done.")


def at_once(question: Question) -> Answer:
    """Three tool calls at once, then words."""
    results = sum(role == "tool" for role, _ in question.messages)
    return Answer("Done.") if results else Answer(tool_calls=tuple(ToolCall("search", {"query": str(each)}) for each in range(3)))


def langchain_agent(thrift: Any, provider: Any, work: Any, **options: Any) -> Any:
    made = create_agent(client(provider), [tool("search")(work)], middleware=[lc.ThriftMiddleware(thrift, cache=False, **options)])

    async def go() -> str:
        return str((await made.ainvoke({"messages": [("user", "Go.")]}))["messages"][-1].text)

    return go


def langchain_sync(thrift: Any, provider: Any, work: Any, **options: Any) -> Any:
    def blocking(query: str) -> str:
        """Search."""
        return str(asyncio.run(work(query)))

    made = create_agent(client(provider), [tool("search")(blocking)], middleware=[lc.ThriftMiddleware(thrift, cache=False, **options)])

    async def go() -> str:
        states = await asyncio.to_thread(lambda: list(made.stream({"messages": [("user", "Go.")]}, stream_mode="values")))
        return str(states[-1]["messages"][-1].text)

    return go


def llamaindex_agent(thrift: Any, provider: Any, work: Any, streaming: bool = True, **options: Any) -> Any:
    worker = FunctionTool.from_defaults(async_fn=work, name="search")
    made = li.budgeted(FunctionAgent(tools=[worker], llm=llm(provider), streaming=streaming), thrift, cache=False, **options)

    async def go() -> str:
        return str(await made.run("Go."))

    return go


def llamaindex_whole(thrift: Any, provider: Any, work: Any, **options: Any) -> Any:
    return llamaindex_agent(thrift, provider, work, streaming=False, **options)


def llamaindex_flow(thrift: Any, provider: Any, work: Any, **options: Any) -> Any:
    worker = FunctionTool.from_defaults(async_fn=work, name="search")
    clerk = FunctionAgent(name="clerk", description="Searches.", tools=[worker], llm=llm(provider))
    made = li.budgeted(AgentWorkflow(agents=[clerk], root_agent="clerk"), thrift, cache=False, **options)

    async def go() -> str:
        return str(await made.run("Go."))

    return go


AGENTS = pytest.mark.parametrize("make", [langchain_agent, langchain_sync, llamaindex_agent, llamaindex_whole, llamaindex_flow])


class Shop:
    """A tool that costs a dollar, and counts who comes in."""

    def __init__(self, thrift: Any, **options: Any) -> None:
        self.called: list[str] = []

        @thrift.costs(**({"usd": 1} | options))
        async def search(query: str) -> str:
            """Search."""
            self.called.append(query)
            return f"Nothing about {query}."

        self.search = search


def settled(thrift: Any) -> None:
    thrift.flush()
    assert thrift.budgets.holds() == []
    assert all((row["reserved"], row["overrun"]) == (0, 0) and row["spent"] <= row["limit"] for row in thrift.budgets.status())


@AGENTS
@pytest.mark.parametrize(
    ("ending", "said"), [("end", POLITE), ("stop", "Stopped: budget 'trip' refuses"), ("summarize", "Nothing found so far.")]
)
def test_a_tool_that_does_not_fit_is_not_called_and_its_agent_ends(thrift, provider, make, ending, said):
    provider.answerer = three_searches
    thrift.budgets.add(Budget(limit_usd="2.5", per="run", name="trip"))
    shop = Shop(thrift)
    assert _run(make(thrift, provider, shop.search, on_exceeded=ending)()).startswith(said)
    assert shop.called == ["tea 0", "tea 1"]
    settled(thrift)
    assert thrift.report().total["other_cost_usd"] == 2
    assert len(provider.requests) == (4 if ending == "summarize" else 3)


@AGENTS
def test_raise_ends_the_run_with_the_refusal_itself(thrift, provider, make):
    provider.answerer = three_searches
    thrift.budgets.add(Budget(limit_usd="2.5", per="run"))
    shop = Shop(thrift)
    with pytest.raises(BudgetExceededError) as caught:
        _run(make(thrift, provider, shop.search)())
    assert (caught.value.requested_usd, len(shop.called), len(provider.requests)) == (1, 2, 3)
    settled(thrift)


@AGENTS
def test_of_tools_at_once_those_are_called_that_fit(thrift, provider, make):
    provider.answerer = at_once
    thrift.budgets.add(Budget(limit_usd="2.5", per="run"))
    shop = Shop(thrift)
    assert _run(make(thrift, provider, shop.search, on_exceeded="end")()) == POLITE
    assert len(shop.called) == 2
    settled(thrift)


@AGENTS
def test_where_a_refusal_is_answered_the_model_goes_on_without_the_tool(thrift, provider, make):
    provider.answerer = three_searches
    thrift.budgets.add(Budget(limit_usd="1.5", per="run"))
    shop = Shop(thrift, on_budget="answer")
    assert _run(make(thrift, provider, shop.search, on_exceeded="end")()) == "Done."
    assert (len(shop.called), len(provider.requests)) == (1, 4)
    assert [message["content"] for message in provider.requests[-1].body["messages"] if message["role"] == "tool"][1:] == [NOT_DONE] * 2
    settled(thrift)


@AGENTS
def test_a_tools_own_budget_ends_no_agent(thrift, provider, make):
    provider.answerer = three_searches
    thrift.budgets.add(Budget(limit_usd="1.5", match={"feature": "archive"}))
    shop = Shop(thrift, feature="archive")
    assert _run(make(thrift, provider, shop.search, on_exceeded="end")()) == "Done."
    assert (len(shop.called), len(provider.requests)) == (1, 4)
    settled(thrift)


@AGENTS
def test_an_agent_in_a_tool_that_is_refused_ends_the_one_around_it_politely(thrift, provider, make):
    provider.answerer = three_searches
    thrift.budgets.add(Budget(limit_usd="1.5", per="run"))
    shop = Shop(thrift)
    inner = make(thrift, provider, shop.search)

    async def delegate(query: str) -> str:
        """Search."""
        return str(await inner())

    assert _run(make(thrift, provider, delegate, on_exceeded="end")()) == POLITE
    assert len(shop.called) == 1
    settled(thrift)


@AGENTS
def test_what_is_set_aside_comes_back_where_the_result_says_less_or_nothing(thrift, provider, make):
    provider.answerer = three_searches
    thrift.budgets.add(Budget(limit_usd="2.5", per="run"))
    shop = Shop(thrift, usd=lambda found: Decimal("0.5") if "tea 0" in found else None, up_to_usd=1.5)
    assert _run(make(thrift, provider, shop.search, on_exceeded="end")()) == "Done."
    assert (len(shop.called), thrift.report().total["other_cost_usd"]) == (3, Decimal("0.5"))
    settled(thrift)


@pytest.mark.parametrize("make", [langchain_agent, llamaindex_agent, llamaindex_flow])
def test_a_paid_tool_that_is_cancelled_costs_nothing_and_keeps_nothing(thrift, provider, make):
    provider.answerer = three_searches
    thrift.budgets.add(Budget(limit_usd="2.5", per="run"))

    @thrift.costs(usd=1)
    async def search(query: str) -> str:
        """Search."""
        await asyncio.sleep(60)
        return "never"

    async def left() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(make(thrift, provider, search, on_exceeded="end")(), 1.0)

    _run(left())
    settled(thrift)
    assert not thrift.report().total["other_cost_usd"]


def test_a_tools_cost_is_its_threads_and_its_users(thrift, provider):
    provider.answerer = three_searches
    thrift.budgets.add(Budget(limit_usd=4, per="session"))
    shop = Shop(thrift)
    agent = create_agent(client(provider), [tool("search")(shop.search)], middleware=[lc.ThriftMiddleware(thrift, on_exceeded="end")])
    metered = li.budgeted(
        FunctionAgent(tools=[FunctionTool.from_defaults(async_fn=shop.search, name="search")], llm=llm(provider)),
        thrift,
        cache=False,
        on_exceeded="end",
    )
    given: Any = {"messages": [("user", "Go.")]}

    async def go() -> list[str]:
        config: Any = {"configurable": {"thread_id": "t1"}, "metadata": {"user": "ada"}}
        said = [str((await agent.ainvoke(given, config))["messages"][-1].text) for _ in range(2)]
        with instrument_tags({"user": "ben", "session": "t2"}):
            return [*said, *[str(await metered.run("Go.")) for _ in range(2)]]

    assert _run(go()) == ["Done.", POLITE, "Done.", POLITE]
    settled(thrift)
    for who, names in (("user", ["ada", "ben"]), ("session", ["t1", "t2"])):
        rows = thrift.report(by=who).to_dicts()
        assert sorted((row[who], row["other_cost_usd"]) for row in rows) == [(name, Decimal(3)) for name in names]


@pytest.mark.parametrize("is_async", [False, True])
def test_ask_calls_the_tool_again_after_its_limit_was_raised(thrift, provider, is_async):
    provider.answerer = three_searches
    thrift.budgets.add(Budget(limit_usd="1.5", per="session", name="thread"))
    called: list[str] = []

    @tool
    @thrift.costs(usd=1)
    def search(query: str) -> str:
        """Search."""
        called.append(query)
        return "Nothing."

    saver, config = InMemorySaver(), {"configurable": {"thread_id": "t1"}}

    def go(given: Any) -> Any:
        made = create_agent(client(provider), [search], middleware=[lc.ThriftMiddleware(thrift, on_exceeded="ask")], checkpointer=saver)
        return _run(made.ainvoke(given, config)) if is_async else made.invoke(given, config)  # as another process would

    (asked,) = go({"messages": [("user", "Go.")]})["__interrupt__"]
    assert (asked.value["budget"], asked.value["limit_usd"], called, thrift.budgets.holds()) == ("thread", "1.500000000", ["tea 0"], [])
    (again,) = go(Command(resume={"limit_usd": 2.5}))["__interrupt__"]
    assert (again.value["limit_usd"], called, len(provider.requests)) == ("2.500000000", ["tea 0", "tea 1"], 3)
    assert go(Command(resume=False))["messages"][-1].content == POLITE
    assert (len(called), len(provider.requests)) == (2, 3)
    settled(thrift)
    after = go({"messages": [("user", "And now?")]})["messages"][-1]  # what was refused before ends no later turn
    assert after.content == "Done."


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(("answer", "said", "ran"), [({"limit_usd": 4}, "Done.", 3), (False, POLITE, 1)])
def test_ask_interrupts_once_for_each_refused_tool_and_each_is_answered_by_its_id(thrift, provider, is_async, answer, said, ran):
    provider.answerer = at_once
    thrift.budgets.add(Budget(limit_usd="1.5", per="session", name="thread"))
    called: list[str] = []

    @tool
    @thrift.costs(usd=1)
    def search(query: str) -> str:
        """Search."""
        called.append(query)
        return "Nothing."

    agent = create_agent(
        client(provider), [search], middleware=[lc.ThriftMiddleware(thrift, on_exceeded="ask")], checkpointer=InMemorySaver()
    )

    def go(given: Any) -> Any:
        config: Any = {"configurable": {"thread_id": "t1"}}
        return _run(agent.ainvoke(given, config)) if is_async else agent.invoke(given, config)

    asked = go({"messages": [("user", "Go.")]})["__interrupt__"]
    assert (len({each.id for each in asked}), len(called), thrift.budgets.holds()) == (2, 1, [])
    with pytest.raises(RuntimeError, match="specify the interrupt id"):
        go(Command(resume=answer))
    done = go(Command(resume={each.id: answer for each in asked}))["messages"]
    assert (done[-1].content, len(called), len(set(called)), len(provider.requests)) == (said, ran, ran, 1 + (said == "Done."))
    settled(thrift)


def test_ask_waits_for_a_raised_limit_and_asks_the_model_again(thrift, provider):
    provider.answerer = three_searches
    thrift.budgets.add(Budget(limit_usd="1.5", per="run", name="trip"))
    shop = Shop(thrift)
    worker = FunctionTool.from_defaults(async_fn=shop.search, name="search")
    agent = li.budgeted(FunctionAgent(tools=[worker], llm=llm(provider)), thrift, cache=False, on_exceeded="ask")
    asked: list[Any] = []

    async def go(answers: list[Any]) -> str:
        handler = agent.run("Go.")
        async for event in handler.stream_events():
            if isinstance(event, InputRequiredEvent):
                asked.append(event.limit_usd)
                handler.ctx.send_event(HumanResponseEvent(response=answers.pop(0)))
        return str(await handler)

    with attribute(run="one"):
        assert _run(go([{"limit_usd": 2.5}])) == "Done."
    assert (asked, shop.called) == (["1.500000000"], ["tea 0", "tea 2"])
    with attribute(run="two"):
        assert _run(go([None])) == POLITE
    settled(thrift)

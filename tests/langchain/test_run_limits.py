"""Agents whose budget is used up: how they end, what they are told before, and that nothing stays held."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from llmthrift_core import Budget, BudgetExceededError
from llmthrift_core.calls.last_words import notes_of
from llmthrift_core.calls.refusals import POLITE
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.prompts import Shorten
from llmthrift_core.prompts.steps import History
from llmthrift_core.testing.answers import Answer, Question, ToolCall
from llmthrift_langchain import ThriftMiddleware

pytestmark = pytest.mark.loopback
ASKED = {"messages": [("user", "Find tea.")]}


@tool
def search(query: str) -> str:
    """Search."""
    return f"Nothing about {query}."


def never_done(question: Question) -> Answer:
    """Asks for a tool while it has one, and sums up when told to."""
    if any("is used up" in text for role, text in question.messages if role == "system"):
        return Answer("Looked for tea; nothing found yet.")
    return Answer(tool_calls=(ToolCall("search", {"query": str(len(question.messages))}),))


@pytest.fixture
def make(thrift, client, provider):
    provider.answerer = never_done

    def made(*, checkpointer: Any = None, **options: Any) -> Any:
        return create_agent(client(), [search], middleware=[ThriftMiddleware(thrift, **options)], checkpointer=checkpointer)

    return made


async def ended(agent: Any, is_async: bool, config: Any = None, given: Any = ASKED) -> Any:
    return await agent.ainvoke(given, config) if is_async else agent.invoke(given, config)


@pytest.mark.parametrize("is_async", [False, True])
async def test_end_says_so_politely(make, thrift, provider, is_async):
    thrift.budgets.add(Budget(limit_requests=3, per="run"))
    last = (await ended(make(on_exceeded="end"), is_async))["messages"][-1]
    assert (last.content, last.response_metadata["llmthrift"]["source"]) == (POLITE, "budget_limit")
    assert (len(provider.requests), thrift.budgets.holds()) == (3, [])


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    "limit",
    [{"limit_requests": 3}, {"limit_tokens": 1800}, {"limit_usd": "0.0009"}, {"limit_tool_calls": 2}],
    ids=lambda limit: next(iter(limit)),
)
async def test_summarize_ends_with_a_summary_within_the_limit(make, thrift, provider, is_async, limit):
    budget = thrift.budgets.add(Budget(per="run", clamp_output=False, **limit))
    agent = make(on_exceeded="summarize", summary_tokens=200, max_tokens=300)
    last = (await ended(agent, is_async))["messages"][-1]
    assert last.content == "Looked for tea; nothing found yet."
    assert last.response_metadata["llmthrift"]["stopped_by"] == budget.name
    (row,) = thrift.budgets.status()
    assert (row["spent"] <= row["limit"], row["overrun"], row["reserved"], thrift.budgets.holds()) == (True, 0, 0, [])
    summary = provider.requests[-1]
    assert "tools" not in summary.body
    if "limit_requests" in limit:  # two steps, and the third call is the summary
        assert len(provider.requests) == 3


@pytest.mark.parametrize("is_async", [False, True])
async def test_where_a_tool_took_a_part_of_its_room_the_summary_is_shorter(thrift, client, provider, is_async):
    thrift.budgets.add(Budget(limit_usd="0.0006", per="run"))
    provider.answerer = never_done

    @tool("search")
    @thrift.costs(usd="0.00035")
    def paid(query: str) -> str:
        """Search."""
        return f"Nothing about {query}."

    middleware = ThriftMiddleware(thrift, on_exceeded="summarize", summary_tokens=400, max_tokens=300)
    last = (await ended(create_agent(client(), [paid], middleware=[middleware]), is_async))["messages"][-1]
    assert last.content == "Looked for tea; nothing found yet."
    (row,) = thrift.budgets.status()
    assert (row["spent"] <= row["limit"], row["overrun"], thrift.budgets.holds()) == (True, 0, [])
    assert provider.requests[-1].body["max_completion_tokens"] == 200


async def test_where_not_even_the_summary_fits_the_end_is_polite(make, thrift, provider):
    thrift.budgets.add(Budget(limit_requests=0, per="run"))
    assert make(on_exceeded="summarize").invoke(ASKED)["messages"][-1].content == POLITE
    assert (len(provider.requests), thrift.budgets.holds()) == (0, [])


@pytest.mark.parametrize("is_async", [False, True])
async def test_ask_interrupts_and_goes_on_with_a_raised_limit(make, thrift, provider, is_async):
    thrift.budgets.add(Budget(limit_requests=2, per="session", name="thread"))
    saver, config = InMemorySaver(), {"configurable": {"thread_id": "t1"}}
    agent = make(on_exceeded="ask", checkpointer=saver)
    (asked,) = (await ended(agent, is_async, config))["__interrupt__"]
    assert (asked.value["kind"], asked.value["budget"], asked.value["limit_requests"]) == ("budget_limit", "thread", 2)
    assert (len(provider.requests), thrift.budgets.holds()) == (2, [])
    agent = make(on_exceeded="ask", checkpointer=saver)  # as another process would
    (again,) = (await ended(agent, is_async, config, Command(resume={"limit_requests": 4})))["__interrupt__"]
    assert (again.value["limit_requests"], len(provider.requests)) == (4, 4)
    last = (await ended(agent, is_async, config, Command(resume=False)))["messages"][-1]
    assert (last.content, len(provider.requests), thrift.budgets.holds()) == (POLITE, 4, [])


def test_an_answer_that_raises_nothing_it_has_is_refused(make, thrift):
    thrift.budgets.add(Budget(limit_requests=1, per="session"))
    config = {"configurable": {"thread_id": "t1"}}
    agent = make(on_exceeded="ask", checkpointer=InMemorySaver())
    agent.invoke(ASKED, config)
    with pytest.raises(ConfigurationError, match="resume with False, or with a mapping of limit_requests"):
        agent.invoke(Command(resume={"limit_usd": 5}), config)


@pytest.mark.parametrize("is_async", [False, True])
async def test_past_the_soft_limit_the_model_is_told_and_a_cheaper_one_asked(thrift, client, provider, is_async):
    provider.answerer = never_done
    thrift.budgets.add(Budget(limit_requests=4, per="run"))
    middleware = ThriftMiddleware(
        thrift,
        models={"simple": client("gpt-4o-mini"), "complex": client("gpt-4o")},
        policy=lambda request: "complex",
        on_exceeded="end",
        soft=0.5,
        soft_tier="simple",
    )
    agent = create_agent(client(), [search], middleware=[middleware])
    messages = (await ended(agent, is_async))["messages"]
    assert [request.body["model"] for request in provider.requests] == ["gpt-4o", "gpt-4o", "gpt-4o-mini", "gpt-4o-mini"]
    lasts = [str(request.body["messages"][-1]["content"]) for request in provider.requests]
    assert ["model calls left" in text for text in lasts] == [False, False, True, True]
    assert "[Budget: 2 of 4 model calls left." in lasts[2]
    assert lasts[2].endswith("answer with what you have.]")
    assert not any("model calls left" in str(message.content) for message in messages)  # the agent's own history has no such lines


def test_time_is_a_limit_too(make, thrift, provider, monkeypatch):
    thrift.budgets.add(Budget(limit_seconds=60, per="run"))
    start, calls = thrift.budgets._now_us(), []
    monkeypatch.setattr(thrift.budgets, "_now_us", lambda: calls.append(1) or start + len(provider.requests) * 25_000_000)
    assert make(on_exceeded="end").invoke(ASKED)["messages"][-1].content == POLITE
    assert len(provider.requests) == 3  # at 0, 25 and 50 seconds


def test_a_nested_agent_has_what_its_run_has_left(thrift, client, provider):
    provider.answerer = never_done
    thrift.budgets.add(Budget(limit_requests=5, per="run"))
    inner = create_agent(client(), [search], middleware=[ThriftMiddleware(thrift, on_exceeded="end")])

    @tool("search")
    def delegate(query: str) -> str:
        """Delegate."""
        return str(inner.invoke(ASKED)["messages"][-1].content)

    outer = create_agent(client(), [delegate], middleware=[ThriftMiddleware(thrift, on_exceeded="end")])
    assert [message.content for message in outer.invoke(ASKED)["messages"]][-2:] == [POLITE, POLITE]
    assert (len(provider.requests), thrift.report().total["requests"], thrift.budgets.holds()) == (5, 5, [])


def test_a_tools_cost_counts_in_the_run(thrift, client, provider):
    provider.answerer = never_done
    thrift.budgets.add(Budget(limit_usd="0.05", per="run"))

    @tool("search")
    @thrift.costs(usd="0.02")
    def paid(query: str) -> str:
        """Search."""
        return "Nothing."

    agent = create_agent(client(), [paid], middleware=[ThriftMiddleware(thrift, on_exceeded="end", max_tokens=100)])
    assert agent.invoke(ASKED)["messages"][-1].content == POLITE
    assert len(provider.requests) == 3  # 0.02 and 0.04 leave room for a call, 0.06 does not


@pytest.mark.parametrize("options", [{"on_exceeded": "panic"}, {"soft": 0}, {"soft": 1.5}, {"soft_tier": "simple"}, {"summary_tokens": 0}])
def test_options_that_cannot_be_meant_are_refused(thrift, options):
    with pytest.raises(ConfigurationError):
        ThriftMiddleware(thrift, **options)


def test_raise_stays_the_default(make, thrift):
    thrift.budgets.add(Budget(limit_requests=1, per="run"))
    with pytest.raises(BudgetExceededError):
        make().invoke(ASKED)


def test_notes_fit_whatever_is_said():
    messages = [("system", "s" * 99), ("human", "Wo ist Öl? 🛢" * 50), *[("ai", f"{n} " + "é" * 300) for n in range(40)]]
    for most in (1, 15, 250, 2000):
        assert len(notes_of(messages, tokens=most).encode()) <= 2 * most
    assert "ai: 39 " in notes_of(messages, tokens=250)


def test_past_the_soft_limit_the_history_is_shorter(thrift, client, provider):
    provider.answerer = never_done
    thrift.budgets.add(Budget(limit_requests=6, per="run"))
    shorter = Shorten([History(max_tokens=60)])
    agent = create_agent(client(), [search], middleware=[ThriftMiddleware(thrift, on_exceeded="end", soft=0.6, soft_shorten=shorter)])
    agent.invoke(ASKED)
    sizes = [len(request.body["messages"]) for request in provider.requests]
    assert sizes[:4] == [1, 3, 5, 7]
    assert max(sizes[4:]) < 7

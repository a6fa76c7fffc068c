"""Limits on the tool calls of a run, through every door that enforces budgets."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool

from llmthrift_core import Budget, BudgetExceededError, attribute
from llmthrift_core.testing.answers import Answer, ToolCall
from llmthrift_langchain import ChatRouter, ThriftCallbackHandler, ThriftMiddleware, thrifty

pytestmark = pytest.mark.loopback


def twice(question: Any) -> Answer:
    return Answer(tool_calls=(ToolCall("search", {"query": "one"}), ToolCall("search", {"query": "two"})))


@tool
def search(query: str) -> str:
    """Search."""
    return f"Nothing about {query}."


@pytest.fixture(params=["thrifty", "router", "handler"])
def asked(request, thrift, client, provider):
    """A model with a tool, and the config of its calls. Every answer asks for two tool calls."""
    provider.answerer = twice
    thrift.budgets.add(Budget(limit_tool_calls=3, per="run"))
    if request.param == "handler":
        return client().bind_tools([search]), {"callbacks": [ThriftCallbackHandler(thrift, enforce=True)]}
    if request.param == "router":
        return ChatRouter(thrift, models={"only": client()}, cache=False).bind_tools([search]), {}
    return thrifty(client(), thrift, cache=False).bind_tools([search]), {}


def calls(thrift: Any) -> list[int]:
    return [row["spent"] for row in thrift.budgets.status()]


def test_an_answer_that_asks_for_too_many_is_refused(asked, thrift, provider):
    model, config = asked
    with attribute(run="one"):
        assert len(model.invoke("Find it.", config).tool_calls) == 2
        with pytest.raises(BudgetExceededError, match="made 2, asked for 2 more of 3 tool calls"):
            model.invoke("Go on.", config)
    with attribute(run="other"):
        model.invoke("Find it.", config)
    assert (calls(thrift), len(provider.requests), thrift.report().total["requests"]) == ([2, 2], 3, 3)


async def test_asynchronous_calls_and_streams_are_refused_alike(asked, thrift):
    model, config = asked
    with attribute(run="one"):
        await model.ainvoke("Find it.", config)
        with pytest.raises(BudgetExceededError, match="tool calls"):
            await model.ainvoke("Go on.", config)
        with pytest.raises(BudgetExceededError, match="tool calls"):
            _ = [chunk async for chunk in model.astream("Go on.", config)]
        with pytest.raises(BudgetExceededError, match="tool calls"):
            list(model.stream("Go on.", config))
    assert calls(thrift) == [2]
    assert thrift.report().total["requests"] == 4


def test_a_cached_answer_counts_too(thrift, client, provider):
    provider.answerer = twice
    thrift.budgets.add(Budget(limit_tool_calls=3, per="run"))
    model = thrifty(client(), thrift).bind_tools([search])
    with attribute(run="one"):
        model.invoke("Find it.")
        with pytest.raises(BudgetExceededError):
            model.invoke("Find it.")
    assert (len(provider.requests), thrift.report().total["cache_hits"]) == (1, 1)


@pytest.mark.parametrize("on_exceeded", ["raise", "stop"])
def test_an_agent_runs_no_tool_beyond_the_limit(thrift, client, provider, on_exceeded):
    ran = []

    @tool
    def note(text: str) -> str:
        """Note a text."""
        ran.append(text)
        return "Noted."

    provider.answerer = lambda question: Answer(tool_calls=(ToolCall("note", {"text": str(len(question.messages))}),))
    thrift.budgets.add(Budget(limit_tool_calls=3, per="run"))
    agent = create_agent(client(), [note], middleware=[ThriftMiddleware(thrift, on_exceeded=on_exceeded)])
    if on_exceeded == "raise":
        with pytest.raises(BudgetExceededError):
            agent.invoke({"messages": [("user", "Note.")]})
    else:
        assert "of 3 tool calls" in agent.invoke({"messages": [("user", "Note.")]})["messages"][-1].content
    assert (len(ran), len(provider.requests)) == (3, 4)

"""`on_budget="answer"`: a polite message where a budget refuses, through both doors."""

from __future__ import annotations

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool

from llmthrift_core import Budget, BudgetExceededError, attribute
from llmthrift_core.calls.refusals import POLITE
from llmthrift_core.testing.answers import Answer, ToolCall
from llmthrift_langchain import ChatRouter, thrifty

pytestmark = pytest.mark.loopback


@pytest.fixture(params=["thrifty", "router"])
def model(request, thrift, client):
    thrift.budgets.add(Budget(limit_requests=1, per="run", name="once"))
    if request.param == "thrifty":
        return thrifty(client(), thrift, cache=False, on_budget="answer")
    return ChatRouter(thrift, models={"only": client()}, cache=False, on_budget="answer")


async def test_whole_answers_and_streams_are_polite(model, thrift, provider):
    with attribute(run="one"):
        assert model.invoke("Hello").content != POLITE
        refused = model.invoke("Hello")
        mark = refused.response_metadata["llmthrift"]
        assert (refused.content, mark["source"], mark["budget"], mark["cost_usd"]) == (POLITE, "budget_limit", "once", "0")
        assert "made 1" in mark["reason"]
        assert (await model.ainvoke("Hello")).content == POLITE
        chunks = list(model.stream("Hello"))
        assert "".join(chunk.content for chunk in chunks) == POLITE
        assert chunks[-1].response_metadata["llmthrift"]["source"] == "budget_limit"
        assert "".join([chunk.content async for chunk in model.astream("Hello")]) == POLITE
        assert [message.content for message in model.batch(["a", "b"])] == [POLITE, POLITE]
    assert (len(provider.requests), thrift.report().total["requests"], thrift.budgets.holds()) == (1, 1, [])


def test_an_agent_ends_with_it(model, provider):
    @tool
    def note(text: str) -> str:
        """Note a text."""
        return "Noted."

    provider.answerer = lambda question: Answer(tool_calls=(ToolCall("note", {"text": "x"}),))
    with attribute(run="one"):
        assert create_agent(model, [note]).invoke({"messages": [("user", "Note.")]})["messages"][-1].content == POLITE
    assert len(provider.requests) == 1


def test_default_raises_and_other_values_are_refused(thrift, client):
    thrift.budgets.add(Budget(limit_requests=0))
    with pytest.raises(BudgetExceededError):
        thrifty(client(), thrift, cache=False).invoke("Hello")
    with pytest.raises(ValueError, match="on_budget"):
        thrifty(client(), thrift, on_budget="apologise")

"""Cost trees of LangGraph agents, from real clients."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from llmthrift_core.testing.answers import Answer, Question, ToolCall
from llmthrift_langchain import ChatRouter, ThriftCallbackHandler, thrifty

pytestmark = pytest.mark.loopback


def script(question: Question) -> Answer:
    """The outer agent asks a tool, which asks the inner agent, which asks another tool."""
    system = " ".join(text for role, text in question.messages if role == "system")
    if not any(role == "tool" for role, _ in question.messages):
        if "outer" in system:
            return Answer(tool_calls=(ToolCall("research", {"topic": "tea"}),))
        if "inner" in system:
            return Answer(tool_calls=(ToolCall("search", {"query": "tea"}),))
    return Answer("Done.")


@pytest.fixture(params=["handler", "thrifty", "router"])
def agent(request, thrift, client, provider):
    provider.answerer = script
    config: Any = {}
    model: Any = client()
    if request.param == "handler":
        config = {"callbacks": [ThriftCallbackHandler(thrift)]}
    elif request.param == "thrifty":
        model = thrifty(model, thrift, cache=False)
    else:
        model = ChatRouter(thrift, models={"only": model}, cache=False)

    @tool
    def search(query: str) -> str:
        """Search."""
        thrift.record_cost("search fee", "0.005")
        return "tea is hot"

    inner = create_agent(model, [search], system_prompt="inner", name="researcher")

    @tool
    def research(topic: str) -> str:
        """Research."""
        return str(inner.invoke({"messages": [("user", topic)]})["messages"][-1].content)

    outer = create_agent(model, [research], system_prompt="outer", name="clerk")
    return outer, config


def _shape(thrift: Any) -> list[str]:
    (row,) = thrift.report(by="run").to_dicts()
    return ["." * node["depth"] + node["name"] for node in thrift.run_costs(row["run"]).to_dicts()]


NESTED = [
    "clerk",
    ".gpt-4o-mini-2024-07-18",
    ".research",
    "..researcher",
    "...gpt-4o-mini-2024-07-18",
    "...search",
    "....search fee",
    "...gpt-4o-mini-2024-07-18",
    ".gpt-4o-mini-2024-07-18",
]


def test_a_nested_agent_stands_below_the_tool_that_called_it(agent, thrift):
    outer, config = agent
    outer.invoke({"messages": [("user", "Hello")]}, config)
    assert _shape(thrift) == NESTED
    (row,) = thrift.report(by="run").to_dicts()
    assert (row["requests"], row["other_cost_usd"]) == (4, Decimal("0.005"))
    assert thrift.run_costs(row["run"]).total_usd == row["cost_usd"] + row["other_cost_usd"]


async def test_so_it_does_asynchronously(agent, thrift):
    outer, config = agent
    await outer.ainvoke({"messages": [("user", "Hello")]}, config)
    assert [name for name in _shape(thrift) if "." not in name[:1]] == ["clerk"]
    assert len([name for name in _shape(thrift) if "gpt" in name]) == 4


def test_a_chain_is_named(thrift, client):
    chain = (RunnableLambda(lambda text: text) | client()).with_config(run_name="summaries")
    chain.invoke("Hello", {"callbacks": [ThriftCallbackHandler(thrift)]})
    assert _shape(thrift) == ["summaries", ".gpt-4o-mini-2024-07-18"]


def test_a_call_by_itself_is_a_run(thrift, client):
    client().invoke("Hello", {"callbacks": [ThriftCallbackHandler(thrift)]})
    (call,) = thrift.ledger.calls()
    assert call.path is None
    assert _shape(thrift) == [call.trace_id, ".gpt-4o-mini-2024-07-18"]

"""An agent whose loop does not get on is answered by a stronger model, and mechanical nodes by a cheaper one: in both frameworks."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from llama_index.core.agent.workflow import FunctionAgent

import llmthrift_langchain as lc
import llmthrift_llamaindex as li
from llmthrift_core.routing import Example, LearnedRouter, Upgrading
from llmthrift_core.testing.answers import Answer, Question, ToolCall
from tests.contracts.doors import _run, client, llm

pytestmark = pytest.mark.loopback
SMALL, LARGE = "gpt-4o-mini", "gpt-4o"


def search(query: str) -> str:
    """Search."""
    return "Nothing."


def stuck(question: Question) -> Answer:
    """The small model asks for the same thing again and again; six results are enough."""
    results = sum(role == "tool" for role, _ in question.messages)
    return Answer("Nothing there.") if results >= 5 else Answer(tool_calls=(ToolCall("search", {"query": "tea"}),))


async def in_langchain(thrift: Any, provider: Any, policy: Any, **options: Any) -> None:
    models = {"small": client(provider), "large": client(provider).model_copy(update={"model_name": LARGE})}
    agent = create_agent(client(provider), [tool(search)], middleware=[lc.ThriftMiddleware(thrift, models=models, policy=policy)])
    await agent.ainvoke({"messages": [("user", "Find tea.")]})


async def in_llamaindex(thrift: Any, provider: Any, policy: Any) -> None:
    models = {"small": llm(provider), "large": llm(provider).model_copy(update={"model": LARGE})}
    router = li.RouterLLM(thrift, models=models, policy=policy, cache=False)
    await FunctionAgent(tools=[search], llm=router).run("Find tea.")


@pytest.mark.parametrize("go", [in_langchain, in_llamaindex])
def test_the_same_tool_with_the_same_arguments_three_times(thrift, provider, go):
    provider.answerer = stuck
    _run(go(thrift, provider, Upgrading(lambda request: "small")))
    assert [request.body["model"] for request in provider.requests] == [SMALL] * 3 + [LARGE] * 3
    thrift.flush()
    assert "search was called 3 times with the same arguments" in str([row.route_reason for row in thrift.ledger.calls()])


def test_a_mechanical_node_is_learned_and_goes_down(thrift, provider):
    """Answers judged by node: formatting is as good with the small model, planning is not."""
    judged = []
    for number in range(60):
        for node, good in (("format", 1.0), ("plan", 0.0)):
            judged.append(Example(f"Step {number} of the order {number * 7}.", "small", good, call_site=node))
            judged.append(Example(f"Step {number} of the order {number * 7}.", "large", 1.0, call_site=node))
    router = LearnedRouter({"small": SMALL, "large": LARGE}, min_quality=0.95, catalog=thrift.prices).fit(judged)
    models = {"small": client(provider), "large": client(provider).model_copy(update={"model_name": LARGE})}
    chat = lc.ChatRouter(thrift, models=models, policy=router, cache=False)
    graph = StateGraph(MessagesState)
    for node in ("plan", "format"):
        graph.add_node(node, lambda state: {"messages": [chat.invoke([("user", "Step 7 of the order 49.")])]})
    graph.add_edge(START, "plan")
    graph.add_edge("plan", "format")
    graph.compile().invoke({"messages": [("user", "Go.")]})
    assert [request.body["model"] for request in provider.requests] == [LARGE, SMALL]

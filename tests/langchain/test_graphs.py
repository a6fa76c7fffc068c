"""Graphs of LangGraph around a metered model: work that is sent to many nodes at once, subgraphs that wait, nodes that are tried again."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy, Send, interrupt

from llmthrift_core import Budget, BudgetExceededError
from llmthrift_core.calls.refusals import POLITE
from llmthrift_core.testing.answers import Answer
from llmthrift_langchain import thrifty

pytestmark = pytest.mark.loopback


class State(TypedDict, total=False):
    items: list[str]
    item: str
    said: Annotated[list[str], operator.add]


def settled(thrift: Any, provider: Any) -> None:
    thrift.flush()
    assert (len(thrift.ledger.calls()), thrift.budgets.holds()) == (len(provider.requests), [])
    assert all((row["reserved"], row["overrun"]) == (0, 0) for row in thrift.budgets.status())


@pytest.mark.parametrize("is_async", [False, True])
async def test_of_work_that_is_sent_at_once_as_much_is_done_as_the_run_may(thrift, client, provider, is_async):
    provider.answerer = lambda question: Answer("Done.")
    thrift.budgets.add(Budget(limit_requests=5, per="run"))
    model = thrifty(client(), thrift, cache=False, on_budget="answer")

    def work(state: State) -> State:
        return {"said": [model.invoke(state["item"]).text]}

    async def awork(state: State) -> State:
        return {"said": [(await model.ainvoke(state["item"])).text]}

    graph = StateGraph(State)
    graph.add_node("work", awork if is_async else work)
    graph.add_conditional_edges(START, lambda state: [Send("work", {"item": each}) for each in state["items"]], ["work"])
    graph.add_edge("work", END)
    made: Any = graph.compile()
    given = {"items": [f"Item {number}" for number in range(9)], "said": []}
    said = (await made.ainvoke(given) if is_async else made.invoke(given))["said"]
    assert (sorted(set(said)), said.count("Done."), len(provider.requests)) == (["Done.", POLITE], 5, 5)
    settled(thrift, provider)
    assert len({row["run"] for row in thrift.ledger.calls()}) == 1


@pytest.mark.parametrize("calls", [3, 4])
def test_a_subgraph_that_waits_and_a_node_that_is_tried_again_share_their_thread(thrift, client, provider, calls):
    provider.answerer = lambda question: Answer("Done.")
    thrift.budgets.add(Budget(limit_requests=calls, per="session"))
    model = thrifty(client(), thrift, cache=False)
    failures = [ConnectionError("once")]

    def think(state: State) -> State:
        return {"said": [model.invoke("Think.").text]}

    def ask(state: State) -> State:
        return {"said": [interrupt("?"), model.invoke("Go on.").text]}

    def end(state: State) -> State:
        said = model.invoke("End.").text
        if failures:
            raise failures.pop()
        return {"said": [said]}

    inner = StateGraph(State).add_node("think", think).add_node("ask", ask).add_edge(START, "think").add_edge("think", "ask")
    outer = StateGraph(State).add_node("inner", inner.compile())
    outer.add_node("end", end, retry_policy=RetryPolicy(max_attempts=2, initial_interval=0.01, retry_on=ConnectionError))
    made: Any = outer.add_edge(START, "inner").add_edge("inner", "end").compile(checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "t1"}}
    assert "__interrupt__" in made.invoke({"said": []}, config)
    settled(thrift, provider)
    if calls == 4:
        assert made.invoke(Command(resume="yes"), config)["said"][-1] == "Done."
    else:
        with pytest.raises(BudgetExceededError):
            made.invoke(Command(resume="yes"), config)
    assert len(provider.requests) == calls
    settled(thrift, provider)

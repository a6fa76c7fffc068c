"""`ThriftMiddleware` beside LangChain's own, in any order: a row for each request, budgets to the nano-dollar, caches that hit."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    ContextEditingMiddleware,
    HumanInTheLoopMiddleware,
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    PIIMiddleware,
    SummarizationMiddleware,
    ToolRetryMiddleware,
)
from langchain.agents.middleware.context_editing import ClearToolUsesEdit
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import BaseModel

import llmthrift_langchain as lc
from llmthrift_core import Budget
from llmthrift_core.testing.answers import Answer, Question, ToolCall
from tests.contracts.doors import _run, client

pytestmark = pytest.mark.loopback
ASKED = {"messages": [("user", "Where is order 7? Write to ada@example.org.")]}
STEPS = 2


def script(question: Question) -> Answer:
    """Looks things up twice, then answers; sums up where a middleware wants a summary."""
    results = sum(role == "tool" for role, _ in question.messages)
    if not question.tools:
        return Answer("So far order 7 was looked up.")
    said = " ".join(text for _, text in question.messages)
    if results < STEPS and "Here is a summary" not in said:
        return Answer(tool_calls=(ToolCall("look_up", {"order": results}),))
    return Answer("It has shipped.")


class Flaky(RuntimeError):
    """What a tool raises the first time."""


def summarization(provider: Any, thrift: Any) -> Any:
    model = lc.thrifty(client(provider), thrift)
    return SummarizationMiddleware(model=model, trigger=("messages", 5), keep=("messages", 2))


MAKERS: dict[str, Callable[[Any, Any], Any]] = {
    "summarisation": summarization,
    "context editing": lambda provider, thrift: ContextEditingMiddleware(edits=[ClearToolUsesEdit(trigger=10, keep=1)]),
    "tool retry": lambda provider, thrift: ToolRetryMiddleware(max_retries=2, initial_delay=0.0, jitter=False, retry_on=(Flaky,)),
    "model retry": lambda provider, thrift: ModelRetryMiddleware(max_retries=2, initial_delay=0.0, jitter=False),
    "model fallback": lambda provider, thrift: ModelFallbackMiddleware(client(provider).model_copy(update={"model_name": "gpt-4o"})),
    "PII": lambda provider, thrift: PIIMiddleware("email", strategy="redact"),
    "human in the loop": lambda provider, thrift: HumanInTheLoopMiddleware(interrupt_on={"look_up": True}),
}
NAMES = list(MAKERS)
PAIRS = [(one, other) for place, one in enumerate(NAMES) for other in NAMES[place + 1 :]]
ORDERS = [((name,), (0, 1)) for name in NAMES]  # first and last
ORDERS += [(pair, (number % 3,) * 2) for number, pair in enumerate(PAIRS)]  # first, between and last, twice each


def agent_of(thrift: Any, provider: Any, names: tuple[str, ...], place: int, failures: list[int]) -> Any:
    @tool
    def look_up(order: int) -> str:
        """Look an order up."""
        if "tool retry" in names and failures:
            failures.pop()
            raise Flaky
        return f"order {order} has shipped"

    middleware = [MAKERS[name](provider, thrift) for name in names]
    middleware.insert(place, lc.ThriftMiddleware(thrift, cache=True, max_tokens=100))
    return create_agent(client(provider), [look_up], middleware=middleware, checkpointer=InMemorySaver())


def steps(found: Any) -> Any:
    """What an agent is given next: a person approves of every tool; None at its end."""
    if not (asked := found.get("__interrupt__")):
        return None
    return Command(resume={"decisions": [{"type": "approve"} for each in asked for _ in each.value["action_requests"]]})


def finished(agent: Any, thread: str) -> Any:
    """The agent's last message."""
    config: Any = {"configurable": {"thread_id": thread}, "recursion_limit": 100}
    given: Any = ASKED
    while given is not None:
        given = steps(found := agent.invoke(given, config))
    return found["messages"][-1]


async def afinished(agent: Any, thread: str) -> Any:
    """As `finished`."""
    config: Any = {"configurable": {"thread_id": thread}, "recursion_limit": 100}
    given: Any = ASKED
    while given is not None:
        given = steps(found := await agent.ainvoke(given, config))
    return found["messages"][-1]


@pytest.mark.parametrize(("names", "places"), ORDERS, ids=[" and ".join(names) for names, _ in ORDERS])
def test_rows_budgets_and_caches_are_right(thrift, provider, names, places):
    provider.answerer = script
    thrift.budgets.add(Budget(limit_usd="1", window="total"))
    for run, place in enumerate(places):
        before = len(provider.requests)
        failing = len({"model retry", "model fallback"} & set(names)) and 1
        if failing and run == 0:
            provider.fail_next(status=500)
        agent = agent_of(thrift, provider, names, place, [1])
        last = _run(afinished(agent, f"run {run}")) if run else finished(agent, f"run {run}")
        assert last.text == "It has shipped."
        thrift.flush()
        rows, sent = thrift.ledger.calls(), provider.requests[before:]
        assert len([row for row in rows if row.cache is None]) == len(provider.requests), "one row for each request"
        billed = sum(each.input_tokens + each.output_tokens for each in provider.usage_log)
        total = thrift.report().total
        assert total["input_tokens"] + total["output_tokens"] == billed
        (status,) = thrift.budgets.status()
        assert status["spent"] == sum((Decimal(row.cost_nano_usd or 0) for row in rows), Decimal(0)) / 10**9
        assert (status["reserved"], thrift.budgets.holds()) == (0, [])
        # whatever the order, the same prompts are sent, so that all are known; of what fell back, the first model was not
        unknown = 2 if "model fallback" in names else 0
        assert len(sent) >= 3 if run == 0 else len(sent) <= unknown, [each.body["messages"] for each in sent]


class Out(BaseModel):
    """What is found."""

    number: int


PICK = {"type": "function", "function": {"name": "pick", "description": "Pick.", "parameters": {"type": "object", "properties": {}}}}
WITHOUT_TOOLS: dict[str, tuple[dict[str, Any], list[Answer]]] = {
    "words": ({}, [Answer("Done.")]),
    "a call of nothing": ({}, [Answer(tool_calls=(ToolCall("none", {}),))]),
    "a tool of a dict": ({"tools": [PICK]}, [Answer(tool_calls=(ToolCall("pick", {}),))]),
    "a tool of the provider's": ({"tools": [{"type": "web_search"}]}, [Answer("Found.")]),
    "by the provider": ({"response_format": ProviderStrategy(Out)}, [Answer('{"number": 4}')]),
    "by a tool": ({"response_format": ToolStrategy(Out)}, [Answer(tool_calls=(ToolCall("Out", {"number": 4}),))]),
    "by a tool, again": (
        {"response_format": ToolStrategy(Out)},
        [Answer(tool_calls=(ToolCall("Out", {"number": "no"}),)), Answer(tool_calls=(ToolCall("Out", {"number": 4}),))],
    ),
}


@pytest.mark.parametrize("name", WITHOUT_TOOLS)
def test_an_agent_without_tools_is_the_graph_that_it_is_without_the_middleware(thrift, provider, name):
    options, answers = WITHOUT_TOOLS[name]
    found = []
    for middleware in ([], [lc.ThriftMiddleware(thrift, cache=False)]):
        left = iter(answers)
        provider.answerer = lambda question, left=left: next(left)
        agent = create_agent(client(provider), middleware=middleware, **options)
        given: Any = {"messages": [("user", "Go.")]}
        state = agent.invoke(given)
        shown = [(each.type, each.text, getattr(each, "tool_calls", None) and each.tool_calls[0]["args"]) for each in state["messages"]]
        found.append((set(agent.get_graph().nodes), shown, state.get("structured_response")))
    assert found[0] == found[1]


class Adding(AgentMiddleware[Any, Any, Any]):
    """Offers the model a tool that the agent cannot call."""

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        return handler(request.override(tools=[tool(look_nowhere)]))


def look_nowhere(place: str) -> str:
    """Look."""
    return "Nothing."


def test_a_tool_that_an_agent_does_not_know_is_an_error_as_without_the_middleware(thrift, provider):
    agent = create_agent(client(provider), middleware=[lc.ThriftMiddleware(thrift), Adding()])
    with pytest.raises(ValueError, match="doesn't know how to execute"):
        agent.invoke({"messages": [("user", "Go.")]})


def test_hooks_for_tools_are_there_where_a_refusal_is_answered_for(thrift):
    class Mine(lc.ThriftMiddleware):
        """One of a project's own."""

    for kind in (lc.ThriftMiddleware, Mine):
        plain, ending = kind(thrift), kind(thrift, on_exceeded="end")
        assert (type(plain), plain.name, ending.name) == (kind, kind.__name__, kind.__name__)
        assert isinstance(ending, kind)
        assert type(plain).wrap_tool_call is AgentMiddleware.wrap_tool_call
        assert type(ending).wrap_tool_call is not AgentMiddleware.wrap_tool_call
        assert type(ending) is type(kind(thrift, on_exceeded="ask"))

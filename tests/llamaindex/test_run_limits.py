"""Agents of LlamaIndex whose budget is used up: how they end, what they are told before, and that nothing stays held."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.llms import MockLLM
from llama_index.core.workflow import HumanResponseEvent, InputRequiredEvent

from llmthrift_core import Budget, BudgetExceededError, attribute
from llmthrift_core.calls.refusals import POLITE
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.prompts import Shorten
from llmthrift_core.prompts.steps import History
from llmthrift_core.testing.answers import Answer, Question, ToolCall
from llmthrift_llamaindex import RouterLLM, budgeted, thrifty
from llmthrift_llamaindex.agent_llm import AgentLLM
from tests.llamaindex.conftest import rows, run

pytestmark = [pytest.mark.loopback, pytest.mark.filterwarnings("ignore:.*structured output.*")]


def search(query: str) -> str:
    """Search."""
    return f"Nothing about {query}."


def never_done(question: Question) -> Answer:
    """Asks for a tool, in one way or the other, and sums up when told to."""
    if any("is used up" in text for role, text in question.messages if role == "system"):
        return Answer("Looked for tea; nothing found yet.")
    if question.tools:
        return Answer(tool_calls=(ToolCall("search", {"query": str(len(question.messages))}),))
    return Answer('Thought: I need a tool.\nAction: search\nAction Input: {"query": "tea"}')


def flow(llm: Any, **options: Any) -> AgentWorkflow:
    clerk = FunctionAgent(name="clerk", description="asks", tools=[search], llm=llm, system_prompt="You are a clerk.", **options)
    return AgentWorkflow(agents=[clerk], root_agent="clerk")


AGENTS = {
    "function": lambda llm, **options: FunctionAgent(tools=[search], llm=llm, **options),
    "workflow": flow,
    "react": lambda llm, **options: ReActAgent(tools=[search], llm=llm, **options),
}
agents = pytest.mark.parametrize("kind", AGENTS)
streams = pytest.mark.parametrize("streaming", [True, False])


@pytest.fixture
def make(thrift, openai, provider):
    provider.answerer = never_done

    def made(kind: str = "function", streaming: bool = True, **options: Any) -> Any:
        return budgeted(AGENTS[kind](openai(max_tokens=300), streaming=streaming), thrift, **{"cache": False, **options})

    return made


async def ended(agent: Any) -> Any:
    return await agent.run("Find tea.", max_iterations=50)


@agents
@streams
def test_end_says_so_politely(make, thrift, provider, kind, streaming):
    thrift.budgets.add(Budget(limit_requests=3, per="run"))
    output = run(ended(make(kind, streaming, on_exceeded="end")))
    assert (str(output), output.raw["llmthrift"]["source"]) == (POLITE, "budget_limit")
    assert (len(provider.requests), len(rows(thrift)), thrift.budgets.holds()) == (3, 3, [])
    assert len({row.trace_id for row in rows(thrift)}) == 1


@agents
@streams
@pytest.mark.parametrize(
    "limit",
    [{"limit_requests": 3}, {"limit_tokens": 2600}, {"limit_usd": "0.0009"}, {"limit_tool_calls": 2}],
    ids=lambda each: next(iter(each)),
)
def test_summarize_ends_with_a_summary_within_the_limit(make, thrift, provider, kind, streaming, limit):
    if kind == "react" and "limit_tool_calls" in limit:
        pytest.skip("what a ReActAgent's model says of tools is text to its provider")
    budget = thrift.budgets.add(Budget(per="run", clamp_output=False, **limit))
    output = run(ended(make(kind, streaming, on_exceeded="summarize", summary_tokens=200)))
    assert str(output) == "Looked for tea; nothing found yet."
    assert (output.raw["llmthrift"]["stopped_by"], output.raw["llmthrift"]["source"]) == (budget.name, "model")
    (row,) = thrift.budgets.status()
    assert (row["spent"] <= row["limit"], row["overrun"], row["reserved"], thrift.budgets.holds()) == (True, 0, 0, [])
    assert "tools" not in provider.requests[-1].body
    assert len(provider.requests) == len(rows(thrift))
    if "limit_requests" in limit:  # two steps, and the third call is the summary
        assert len(provider.requests) == 3


@streams
def test_where_a_tool_took_a_part_of_its_room_the_summary_is_shorter(thrift, openai, provider, streaming):
    thrift.budgets.add(Budget(limit_usd="0.0006", per="run"))
    provider.answerer = never_done

    @thrift.costs(usd="0.00035")
    def search(query: str) -> str:
        """Search."""
        return f"Nothing about {query}."

    agent = FunctionAgent(tools=[search], llm=openai(max_tokens=300), streaming=streaming)
    output = run(ended(budgeted(agent, thrift, cache=False, on_exceeded="summarize", summary_tokens=400)))
    assert str(output) == "Looked for tea; nothing found yet."
    (row,) = thrift.budgets.status()
    assert (row["spent"] <= row["limit"], row["overrun"], thrift.budgets.holds()) == (True, 0, [])
    assert provider.requests[-1].body["max_tokens"] == 200


def test_where_not_even_the_summary_fits_the_end_is_polite(make, thrift, provider):
    thrift.budgets.add(Budget(limit_requests=0, per="run"))
    assert str(run(ended(make(on_exceeded="summarize")))) == POLITE
    assert (len(provider.requests), thrift.budgets.holds()) == (0, [])


def test_stop_says_which_budget_and_raise_raises(make, thrift):
    thrift.budgets.add(Budget(limit_requests=1, per="run", name="small"))
    assert str(run(ended(make(on_exceeded="stop")))).startswith("Stopped: budget 'small'")
    with pytest.raises(BudgetExceededError, match="small"):
        run(ended(make()))


async def asking(agent: Any, answers: list[Any], asked: list[Any]) -> Any:
    handler = agent.run("Find tea.")
    async for event in handler.stream_events():
        if isinstance(event, InputRequiredEvent):
            asked.append(event)
            handler.ctx.send_event(HumanResponseEvent(response=answers.pop(0)))
    return await handler


@agents
@streams
def test_ask_waits_for_a_raised_limit_and_goes_on(make, thrift, provider, kind, streaming):
    thrift.budgets.add(Budget(limit_requests=2, per="run", name="trip"))
    asked: list[Any] = []
    answers = [{"limit_requests": 4}, {"limit_requests": 5}, None]
    with attribute(run="one"):
        output = run(asking(make(kind, streaming, on_exceeded="ask"), answers, asked))
    assert [(each.kind, each.budget, each.limit_requests) for each in asked] == [("budget_limit", "trip", limit) for limit in (2, 4, 5)]
    assert (str(output), output.raw["llmthrift"]["source"]) == (POLITE, "budget_limit")
    assert (len(provider.requests), len(rows(thrift)), thrift.budgets.holds()) == (5, 5, [])


def test_an_answer_that_raises_nothing_it_has_is_refused(make, thrift):
    thrift.budgets.add(Budget(limit_requests=1, per="run"))
    with pytest.raises(ConfigurationError, match="resume with False, or with a mapping of limit_requests"):
        run(asking(make(on_exceeded="ask"), [{"limit_usd": 5}], []))


@agents
@streams
def test_past_the_soft_limit_the_model_is_told_and_a_cheaper_one_asked(thrift, openai, provider, kind, streaming):
    provider.answerer = never_done
    thrift.budgets.add(Budget(limit_requests=4, per="run"))
    agent = budgeted(
        AGENTS[kind](openai(), streaming=streaming),
        thrift,
        models={"simple": openai("gpt-4o-mini"), "complex": openai("gpt-4o")},
        policy=lambda request: "complex",
        cache=False,
        on_exceeded="end",
        soft=0.5,
        soft_tier="simple",
    )
    assert str(run(ended(agent))) == POLITE
    assert [request.body["model"] for request in provider.requests] == ["gpt-4o", "gpt-4o", "gpt-4o-mini", "gpt-4o-mini"]
    lasts = [str(request.body["messages"][-1]["content"]) for request in provider.requests]
    assert ["model calls left" in text for text in lasts] == [False, False, True, True]
    assert "[Budget: 2 of 4 model calls left." in lasts[2]
    before = [str(request.body["messages"][:-1]) for request in provider.requests]
    assert not any("model calls left" in text for text in before)  # the agent's own history has no such lines


def test_past_the_soft_limit_the_history_is_shorter(thrift, openai, provider):
    provider.answerer = never_done
    thrift.budgets.add(Budget(limit_requests=6, per="run"))
    shorter = Shorten([History(max_tokens=60)])
    agent = budgeted(FunctionAgent(tools=[search], llm=openai()), thrift, cache=False, on_exceeded="end", soft=0.6, soft_shorten=shorter)
    run(ended(agent))
    sizes = [len(request.body["messages"]) for request in provider.requests]
    assert sizes[:4] == [1, 3, 5, 7]
    assert max(sizes[4:]) < 7
    assert rows(thrift)[-1].shortened_tokens > 0


def test_a_nested_agent_has_what_its_run_has_left(thrift, openai, provider):
    provider.answerer = never_done
    thrift.budgets.add(Budget(limit_requests=5, per="run"))
    inner = budgeted(FunctionAgent(name="inner", tools=[search], llm=openai()), thrift, cache=False, on_exceeded="end")
    said: list[str] = []

    async def delegate(query: str) -> str:
        """Delegate."""
        said.append(str(await inner.run(query)))
        return said[-1]

    outer = budgeted(
        FunctionAgent(name="outer", tools=[tool_named("search", delegate)], llm=openai()), thrift, cache=False, on_exceeded="end"
    )
    assert (str(run(ended(outer))), said) == (POLITE, [POLITE])
    assert (len(provider.requests), len(rows(thrift)), thrift.budgets.holds()) == (5, 5, [])
    assert len({row.trace_id for row in rows(thrift)}) == 1


def tool_named(name: str, function: Any) -> Any:
    from llama_index.core.tools import FunctionTool

    return FunctionTool.from_defaults(async_fn=function, name=name)


def test_a_budget_per_session_holds_over_runs(make, thrift, provider):
    thrift.budgets.add(Budget(limit_requests=3, per="session"))
    agent = make(on_exceeded="end")
    with attribute(session="s1"):
        assert [str(run(ended(agent))) for _ in range(2)] == [POLITE, POLITE]
    with attribute(session="s2"):
        run(ended(agent))
    assert len(provider.requests) == 6


def test_what_a_tool_costs_counts_in_the_run(thrift, openai, provider):
    provider.answerer = never_done
    thrift.budgets.add(Budget(limit_usd="0.02", per="run"))

    @thrift.costs(usd="0.008")
    def lookup(query: str) -> str:
        """Search."""
        return "Nothing."

    from llama_index.core.tools import FunctionTool

    tool = FunctionTool.from_defaults(lookup, name="search")
    agent = budgeted(FunctionAgent(tools=[tool], llm=openai(max_tokens=50)), thrift, cache=False, on_exceeded="end")
    assert str(run(ended(agent))) == POLITE
    assert (len(provider.requests), thrift.budgets.holds()) == (3, [])  # the third tool call used it up


def test_the_agent_keeps_its_class_its_router_and_what_it_was(thrift, openai):
    routed = RouterLLM(thrift, models={"a": openai(), "b": openai("gpt-4o")}, policy=lambda request: "b", max_tier="b")
    for llm, names in ((routed, ["a", "b"]), (thrifty(openai(), thrift, cache=False), ["model"]), (openai(), ["model"])):
        given = FunctionAgent(name="clerk", tools=[search], llm=llm)
        made = budgeted(given, thrift, on_exceeded="ask")
        assert (isinstance(made, FunctionAgent), made.name, given.llm is llm) == (True, "clerk", True)
        assert isinstance(made.llm, AgentLLM)
        assert list(made.llm.models) == names
        assert type(budgeted(made, thrift, on_exceeded="ask")) is type(made)
    assert (made.llm.limits.on_exceeded, budgeted(given, thrift).llm.cache) == ("ask", True)


def test_the_limits_survive_copies(thrift):
    llm = budgeted(FunctionAgent(llm=MockLLM()), thrift, on_exceeded="summarize", soft=0.5).llm
    assert llm.model_copy().limits == llm.limits
    function, given = llm.__reduce__()
    assert function(*given).limits == llm.limits
    assert pickle.loads(pickle.dumps(llm.limits)) == llm.limits


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"on_exceeded": "explode"}, "on_exceeded must be one of"),
        ({"soft": 2}, "soft must be a share"),
        ({"soft_tier": "model"}, "soft_tier= needs soft="),
        ({"soft_shorten": Shorten([])}, "soft_shorten= needs soft="),
        ({"summary_tokens": 0}, "summary_tokens must be"),
        ({"soft": 0.5, "soft_tier": "huge"}, "max_tier='huge' is neither a tier"),
    ],
)
def test_wrong_options_are_said(thrift, options, match):
    with pytest.raises(ConfigurationError, match=match):
        budgeted(FunctionAgent(llm=MockLLM()), thrift, **options)
    with pytest.raises(ConfigurationError, match="agent must be an agent"):
        budgeted(MockLLM(), thrift)

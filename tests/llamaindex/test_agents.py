"""Agents, workflows and engines, as their users run them: counted to the token, one model for a run, and stopped by budgets."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core import Document, MockEmbedding, Settings, SummaryIndex, VectorStoreIndex
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.llms import LLM, ChatMessage
from llama_index.core.query_engine import SubQuestionQueryEngine
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.tools import QueryEngineTool
from llama_index_instrumentation.dispatcher import instrument_tags

from llmthrift_core import Budget, BudgetExceededError, attribute
from llmthrift_core.routing import RouteRequest
from llmthrift_core.testing.answers import Answer, Question, ToolCall
from llmthrift_llamaindex import RouterLLM, ThriftEventHandler, thrifty
from tests.llamaindex.conftest import billed, counted, rows, run

pytestmark = [
    pytest.mark.loopback,
    pytest.mark.filterwarnings("ignore:.*structured output.*"),
]
WRAPS = {
    "wrapped": lambda llm, thrift: thrifty(llm, thrift),
    "routed": lambda llm, thrift: RouterLLM(thrift, models={"only": llm}),
}
wraps = pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS.keys())


def get_order_status(order_id: int) -> str:
    """Look up where an order is."""
    return f"order {order_id} has shipped"


def shop(question: Question) -> Answer | None:
    """Two tools, one after the other, then words."""
    said = "\n".join(text for role, text in question.messages if role == "assistant")
    results = sum(role == "tool" for role, _ in question.messages)
    if question.tools and results < 2:
        return Answer(tool_calls=(ToolCall("get_order_status", {"order_id": 100 + results}),))
    return Answer("Both orders have shipped.") if results or said else None


def react(question: Question) -> Answer | None:
    """What a model says that reasons in words."""
    if not any("Observation:" in text for role, text in question.messages if role == "user"):
        return Answer('Thought: I need a tool.\nAction: get_order_status\nAction Input: {"order_id": 123}')
    return Answer("Thought: I can answer without using any more tools.\nAnswer: It has shipped.")


async def go(agent: Any, question: str) -> str:
    return str(await agent.run(question))


def handoffs(llm: LLM) -> AgentWorkflow:
    clerk = FunctionAgent(name="clerk", description="asks", tools=[get_order_status], llm=llm, system_prompt="You are a clerk.")
    return AgentWorkflow(agents=[clerk], root_agent="clerk")


AGENTS = {
    "function": lambda llm: FunctionAgent(tools=[get_order_status], llm=llm, system_prompt="You are a clerk."),
    "function, not streaming": lambda llm: FunctionAgent(tools=[get_order_status], llm=llm, streaming=False),
    "workflow": handoffs,
    "react": lambda llm: ReActAgent(tools=[get_order_status], llm=llm),
    "react, not streaming": lambda llm: ReActAgent(tools=[get_order_status], llm=llm, streaming=False),
}
agents = pytest.mark.parametrize("kind", AGENTS)


@agents
@pytest.mark.parametrize("client", ["openai", "anthropic", "responses"])
@pytest.mark.parametrize(("door", "with_handler"), [("plain", True), *((door, handler) for door in WRAPS for handler in (True, False))])
def test_an_agent_is_counted_to_the_token(thrift, provider, request, kind, client, door, with_handler):
    if with_handler:
        ThriftEventHandler(thrift).install()
    provider.answerer = react if kind.startswith("react") else shop
    llm = request.getfixturevalue(client)()
    agent = AGENTS[kind](llm if door == "plain" else WRAPS[door](llm, thrift))
    answer = run(go(agent, "Where are my orders?"))
    assert "shipped" in answer
    assert len(rows(thrift)) == len(provider.requests) >= 2
    assert counted(thrift) == billed(provider)
    assert len({row.trace_id for row in rows(thrift)}) == 1  # one run of an agent
    if door != "plain":
        asked = len(provider.requests)
        assert run(go(AGENTS[kind](agent_llm(agent)), "Where are my orders?")) == answer
        assert len(provider.requests) == asked  # tool calls and words, all from the cache
        assert [row.cache for row in rows(thrift)[asked:]] == ["exact"] * asked


def agent_llm(agent: Any) -> LLM:
    return next(iter(agent.agents.values())).llm if isinstance(agent, AgentWorkflow) else agent.llm


@agents
@wraps
def test_a_budget_ends_an_agent_before_its_next_call(thrift, provider, openai, kind, wrap):
    provider.answerer = react if kind.startswith("react") else shop
    agent = AGENTS[kind](wrap(openai(), thrift))
    thrift.budgets.add(Budget(limit_requests=1, window="day"))
    with pytest.raises(Exception, match="budget") as raised:
        run(go(agent, "Where are my orders?"))
    refused: BaseException | None = raised.value
    while refused is not None and not isinstance(refused, BudgetExceededError):
        refused = refused.__cause__ or refused.__context__
    assert isinstance(refused, BudgetExceededError)
    assert len(provider.requests) == 1


@wraps
def test_a_budget_per_run_holds_for_an_agent_and_the_agents_in_its_tools(thrift, provider, openai, wrap):
    thrift.budgets.add(Budget(limit_requests=3, window="total", per="run"))
    llm = wrap(openai(), thrift)
    inner = FunctionAgent(name="inner", tools=[get_order_status], llm=llm, system_prompt="You look things up.")

    async def ask_colleague(question: str) -> str:
        """Ask a colleague, who is an agent."""
        return str(await inner.run(question))

    def answerer(question: Question) -> Answer | None:
        if "ask_colleague" in question.tools and not question.follows_tool:
            return Answer(tool_calls=(ToolCall("ask_colleague", {"question": "Where?"}),))
        return shop(question) if "get_order_status" in question.tools else Answer("Done.")

    provider.answerer = answerer
    outer = FunctionAgent(name="outer", tools=[ask_colleague], llm=llm, system_prompt="You ask others.")
    with pytest.raises(Exception, match="budget"):
        run(go(outer, "Where are my orders?"))
    assert len(provider.requests) == 3  # one of the outer agent, two of the inner one, whose error the outer one swallowed
    provider.reset()
    provider.answerer = answerer
    assert "shipped" in run(go(AGENTS["function"](llm), "And now, in a run of its own?"))


# --- engines ---


@pytest.fixture
def documents() -> list[Document]:
    return [Document(text=f"Orders over {amount} euro ship free of charge to country number {amount}.") for amount in (10, 20, 30)]


@pytest.fixture
def embedding() -> MockEmbedding:
    return MockEmbedding(embed_dim=8)


MODES = ["compact", "refine", "tree_summarize", "simple_summarize", "accumulate"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("streaming", [True, False])
@wraps
def test_a_query_engine_is_counted_cached_and_one_run(thrift, provider, handler, openai, documents, embedding, mode, streaming, wrap):
    index = VectorStoreIndex.from_documents(documents, embed_model=embedding)
    before = len(rows(thrift))
    llm = wrap(openai(), thrift)
    streaming = streaming and mode != "accumulate"  # which cannot
    engine = index.as_query_engine(llm=llm, response_mode=mode, streaming=streaming)
    first = str(engine.query("What ships free?"))
    asked = len(provider.requests)
    assert asked >= 1
    made = [row for row in rows(thrift)[before:] if row.request_type != "embedding"]
    assert len(made) == asked
    assert (sum(row.input_tokens for row in made), sum(row.output_tokens for row in made)) == billed(provider)
    if not streaming:
        assert len({row.trace_id for row in made}) == 1
    assert str(engine.query("What ships free?")) == first
    assert len(provider.requests) == asked


@wraps
def test_chat_engines_are_counted(thrift, provider, handler, openai, documents, embedding, wrap):
    llm = wrap(openai(), thrift)
    index = VectorStoreIndex.from_documents(documents, embed_model=embedding)
    for mode in ("context", "condense_question", "condense_plus_context", "simple"):
        engine = index.as_chat_engine(chat_mode=mode, llm=llm)
        engine.chat("What ships free?")
        "".join(engine.stream_chat("And to where?").response_gen)
    made = [row for row in rows(thrift) if row.request_type != "embedding"]
    assert (sum(row.input_tokens for row in made), sum(row.output_tokens for row in made)) == billed(provider)
    assert len([row for row in made if row.cache is None]) == len(provider.requests)


@pytest.mark.parametrize("mode", MODES)
@wraps
def test_a_budget_stops_a_query_engine(thrift, provider, openai, documents, embedding, mode, wrap):
    thrift.budgets.add(Budget(limit_usd="0.0000001", window="day"))
    index = SummaryIndex.from_documents(documents)
    with pytest.raises(BudgetExceededError):  # Refine swallows a ValueError
        index.as_query_engine(llm=wrap(openai(), thrift), response_mode=mode).query("What ships free?")
    assert provider.requests == []


def test_where_the_framework_swallows_the_refusal_every_further_call_is_refused(thrift, provider, openai, documents, embedding):
    llm = thrifty(openai(), thrift)
    thrift.budgets.add(Budget(limit_requests=1, window="day"))
    parts = '{"items": [{"sub_question": "One?", "tool_name": "docs"}, {"sub_question": "Two?", "tool_name": "docs"}]}'
    provider.answerer = lambda question: parts
    tool = QueryEngineTool.from_defaults(SummaryIndex.from_documents(documents).as_query_engine(llm=llm), name="docs", description="d")
    engine = SubQuestionQueryEngine.from_defaults(
        query_engine_tools=[tool], question_gen=LLMQuestionGenerator.from_defaults(llm=llm), llm=llm, use_async=False
    )
    assert str(engine.query("Compare one and two.")) == "Empty Response"  # what it makes of two failed questions
    assert len(provider.requests) == 1


# --- a user's view ---


def test_a_function_agent_through_a_router_keeps_one_model(thrift, provider, openai, anthropic):
    """The policy would send every further call elsewhere; the run stays where it began."""
    provider.answerer = shop
    picks = iter(["simple", "complex", "simple", "complex", "complex", "complex"])

    def choose(request: RouteRequest) -> str:
        return next(picks)

    llm = RouterLLM(thrift, models={"simple": openai(), "complex": anthropic()}, policy=choose)
    assert "shipped" in run(go(AGENTS["function"](llm), "Where are my orders?"))
    assert [row.provider for row in rows(thrift)] == ["openai"] * 3
    assert "shipped" in run(go(AGENTS["function"](llm), "Where are my other orders?"))
    assert [row.provider for row in rows(thrift)[3:]] == ["anthropic"] * 3
    assert counted(thrift) == billed(provider)


def test_an_agents_run_moves_on_with_the_model_that_answered_for_a_failed_one(thrift, provider, openai, anthropic):
    provider.answerer = shop
    provider.fail_next(status=429, times=1, model="gpt-4o-mini")
    llm = RouterLLM(thrift, models={"simple": openai(), "complex": anthropic()}, policy=lambda request: "simple")
    assert "shipped" in run(go(AGENTS["function"](llm), "Where are my orders?"))
    found = rows(thrift)
    assert [(row.provider, row.error, row.attempt_reason) for row in found[:2]] == [
        ("openai", "RateLimitError", None),
        ("anthropic", None, "fallback"),
    ]
    assert [row.provider for row in found[2:]] == ["anthropic"] * 2


def test_settings_hold_a_router(thrift, provider, handler, openai, documents, embedding):
    before = Settings._llm, Settings._embed_model
    try:
        Settings.llm = RouterLLM(thrift, models={"simple": openai(), "complex": openai("gpt-4o")})
        Settings.embed_model = embedding
        engine = VectorStoreIndex.from_documents(documents).as_query_engine()
        with attribute(user="ada"), instrument_tags({"feature": "search"}):
            engine.query("What ships free?")
    finally:
        Settings._llm, Settings._embed_model = before
    (row,) = [row for row in rows(thrift) if row.request_type != "embedding"]
    assert (row.user, row.feature) == ("ada", "search")


def test_the_users_text_that_workflows_tag_is_not_stored(thrift, provider, handler, openai, tmp_path):
    provider.answerer = shop
    secret = "My password is hunter2-xyzzy."
    run(go(AGENTS["function"](openai()), secret))
    thrift.flush()
    assert all("hunter2-xyzzy" not in str(row) for row in rows(thrift))
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"hunter2-xyzzy" not in stored
    assert b"input_summary" not in stored


def test_messages_appended_after_the_call_do_not_change_its_key(thrift, provider, openai):
    llm = thrifty(openai(), thrift)
    history = [ChatMessage("Hello")]
    llm.chat_with_tools([], "What is your name?", chat_history=history)
    llm.chat_with_tools([], "What is your name?", chat_history=[ChatMessage("Hello")])
    assert len(provider.requests) == 1

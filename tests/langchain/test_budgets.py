"""Budgets are enforced in the router, in agents and by the handler; hits are free; a refused call costs nothing."""

from __future__ import annotations

import asyncio
import gc
from decimal import Decimal
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.globals import set_llm_cache
from langchain_core.messages import HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langchain_openai import OpenAI

from llmthrift_core import Budget, BudgetExceededError, Thrift, attribute
from llmthrift_core.testing import Answer, Question, ToolCall
from llmthrift_langchain import ChatRouter, ThriftCache, ThriftCallbackHandler, ThriftMiddleware, thrifty

pytestmark = pytest.mark.loopback
MINI, BIG = "gpt-4o-mini", "gpt-4o"


def spent(thrift: Any) -> Any:
    (row,) = thrift.budgets.status()
    assert row["reserved"] == 0
    assert row["overrun"] == 0
    return row["spent"]


def until_refused(model: Any) -> tuple[int, BudgetExceededError]:
    """Call the model until a budget refuses; how many calls that took, and the refusal."""
    for made in range(2000):
        try:
            model.invoke(f"Go on {made}.")
        except BudgetExceededError as refused:
            return made, refused
    raise AssertionError("no budget refused")


@pytest.fixture(params=["router", "handler"])
def bounded(request, thrift, client) -> Any:
    """A model under budgets, either way: a function of the model's options."""

    def make(**options: Any) -> Any:
        if request.param == "router":
            return thrifty(client(MINI, **options), thrift, cache=False)
        return client(MINI, callbacks=[ThriftCallbackHandler(thrift, enforce=True)], **options)

    return make


def test_calls_go_on_until_the_money_is_gone(thrift, bounded, provider):
    thrift.budgets.add(Budget(limit_usd="0.01", per="user", window="day"))
    provider.answerer = lambda question: "word " * 200
    model = bounded(max_tokens=400)
    with attribute(user="ada"):
        made, refused = until_refused(model)
    assert len(provider.requests) == made
    assert refused.scope == {"user": "ada"}
    # The last refusal asked for 400 tokens, $0.00024 and the question: less than that was left.
    assert Decimal("0.0097") < spent(thrift) <= Decimal("0.01")
    assert spent(thrift) == thrift.report(by="user").total["cost_usd"]
    with attribute(user="ben"):
        model.invoke("Somebody else goes on.")


def test_without_a_limit_of_its_own_the_size_of_answers_is_learned(thrift, bounded, provider):
    thrift.budgets.add(Budget(limit_usd="0.0125"))  # a little more than the longest answer may cost
    provider.answerer = lambda question: "word " * 100
    model = bounded()
    until_refused(model)
    assert spent(thrift) > Decimal("0.0121")  # 97% of the budget


def test_streams_are_refused_extended_and_stopped(thrift, bounded, provider):
    thrift.budgets.add(Budget(limit_tokens=700))
    provider.answerer = lambda question: "word " * 2000
    for _ in range(5):
        thrift.budgets.outputs.learn(MINI, None, 20)
    pieces = []
    with pytest.raises(BudgetExceededError):
        pieces.extend(bounded().stream("Tell me everything."))
    text = "".join(str(piece.content) for piece in pieces)
    assert 100 < len(text.split()) < 700
    (row,) = thrift.ledger.calls()
    assert row.error == "BudgetExceededError"
    assert row.output_tokens > 0
    assert 0 < spent(thrift) <= 700
    thrift.budgets.add(Budget(limit_tokens=0, name="tokens"))
    with pytest.raises(BudgetExceededError):
        next(iter(bounded().stream("More.")))
    assert len(provider.requests) == 1


@pytest.mark.filterwarnings("ignore:The method .* is in beta")
async def test_event_streams_are_stopped_where_the_budget_ends(thrift, bounded, provider):
    thrift.budgets.add(Budget(limit_tokens=700))
    provider.answerer = lambda question: "word " * 2000
    for _ in range(5):
        thrift.budgets.outputs.learn(MINI, None, 20)
    stream = bounded().stream_events("Tell me everything.", version="v3")
    with pytest.raises(BudgetExceededError):
        list(stream)
    (row,) = thrift.ledger.calls()
    assert row.error == "BudgetExceededError"
    assert 100 < row.output_tokens < 700
    assert 100 < spent(thrift) <= 700
    stream = await bounded().astream_events("Tell me everything.", version="v3")
    with pytest.raises(BudgetExceededError):
        async for _ in stream:
            pass
    while thrift.budgets.holds():
        await asyncio.sleep(0.02)  # LangChain reports the end of a run after its reader has learned of it
    assert spent(thrift) <= 700


async def test_concurrent_calls_never_overspend(thrift, bounded, provider):
    thrift.budgets.add(Budget(limit_requests=5))
    model = bounded(max_tokens=10)
    answers = await asyncio.gather(*(model.ainvoke(f"Question {number}") for number in range(20)), return_exceptions=True)
    assert sum(not isinstance(answer, BaseException) for answer in answers) == 5 == len(provider.requests)
    assert {type(answer) for answer in answers if isinstance(answer, BaseException)} == {BudgetExceededError}
    assert spent(thrift) == 5


def test_batches_retries_and_fallbacks_cannot_slip_past(thrift, bounded, client, provider):
    thrift.budgets.add(Budget(limit_requests=3))
    model = bounded(max_tokens=10)
    answers = model.batch([f"Question {number}" for number in range(6)], return_exceptions=True)
    assert sum(isinstance(answer, BudgetExceededError) for answer in answers) == 3
    with pytest.raises(BudgetExceededError):
        model.with_retry(stop_after_attempt=3, wait_exponential_jitter=False).invoke("Again")
    with pytest.raises(BudgetExceededError):
        model.with_fallbacks([bounded(max_tokens=10)]).invoke("Again")
    assert len(provider.requests) == 3


def test_what_was_learned_survives_a_restart(tmp_path, client, provider):
    provider.answerer = lambda question: "word " * 100
    with Thrift(tmp_path / "l.db") as thrift:
        model = client(MINI, callbacks=[ThriftCallbackHandler(thrift)])
        for number in range(6):
            model.invoke(f"Go on {number}.")
    with Thrift(tmp_path / "l.db") as thrift:
        thrift.budgets.add(Budget(limit_tokens=1_000))  # the catalog's maximum would not fit
        until_refused(thrifty(client(MINI), thrift, cache=False))
        assert spent(thrift) > 800
        assert thrift.budgets.outputs.estimate(MINI, "another feature") is None


@pytest.mark.parametrize("limit", [{"limit_tokens": 120}, {"limit_usd": "0.00006"}], ids=["tokens", "usd"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_cut_to_what_is_left_where_the_budget_says_so(thrift, client, provider, limit, stream):
    provider.answerer = lambda question: "word " * 500
    thrift.budgets.add(Budget(**limit, name="b"))
    model = thrifty(client(MINI, max_tokens=400), thrift)

    def ask(question: str) -> str:
        return "".join(chunk.content for chunk in model.stream(question)) if stream else str(model.invoke(question).content)

    with pytest.raises(BudgetExceededError):
        ask("Tell me everything.")
    thrift.budgets.add(Budget(**limit, name="b", clamp_output=True))
    assert 50 < len(ask("Tell me everything.").split()) < 120
    sent = provider.requests[0].body
    assert sent.get("max_completion_tokens") or sent.get("max_tokens")
    assert spent(thrift) <= thrift.budgets.status()[0]["limit"]
    assert thrift.cache.stats()["stores"] == 0  # half an answer is nobody else's
    assert thrift.budgets.outputs.estimate(MINI, None) is None  # and says nothing about the next one
    with pytest.raises(BudgetExceededError):
        ask("More.")
    assert len(provider.requests) == 1


def test_an_answer_to_a_shortened_call_is_not_kept(thrift, client, provider):
    thrift.budgets.add(Budget(limit_tokens=120, clamp_output=True))
    provider.answerer = lambda question: "Short."
    model = thrifty(client(MINI, max_tokens=400), thrift)
    for _ in range(2):  # though it is whole: another was asked for
        assert model.invoke("Hm?").content == "Short."
    assert thrift.cache.stats()["stores"] == 0
    assert len(provider.requests) == 2


def test_a_failed_call_gives_its_money_back(thrift, bounded, provider):
    thrift.budgets.add(Budget(limit_usd=1))
    provider.fail_next(status=400)
    with pytest.raises(Exception, match="400"):
        bounded(max_tokens=10).invoke("Hi")
    assert spent(thrift) == 0


def test_an_abandoned_stream_settles_what_may_have_been_billed(thrift, bounded, provider):
    thrift.budgets.add(Budget(limit_tokens=100_000))
    provider.answerer = lambda question: "word " * 500
    stream = bounded(max_tokens=1000).stream("Tell me everything.")
    for _ in range(20):
        next(stream)
    stream.close()
    assert 1000 < spent(thrift) < 1100  # the provider may have gone on to the limit


def test_cached_answers_are_served_when_the_budget_is_gone(thrift, client, provider):
    thrift.budgets.add(Budget(limit_requests=1))
    by_router = thrifty(client(MINI), thrift)
    by_router.invoke("What are your hours?")
    assert by_router.invoke("What are your hours?").content
    assert "".join(chunk.content for chunk in by_router.stream("What are your hours?"))
    with pytest.raises(BudgetExceededError):
        by_router.invoke("Something new")
    assert len(provider.requests) == 1


@pytest.mark.parametrize("place", ["global", "own"])
async def test_a_hit_under_an_enforcing_handler_is_served_and_a_miss_refused(thrift, client, provider, place):
    thrift.budgets.add(Budget(limit_requests=1))
    cache = ThriftCache(thrift)
    if place == "global":
        set_llm_cache(cache)
    handler = ThriftCallbackHandler(thrift, enforce=True)
    model = client(MINI, cache=cache if place == "own" else None)
    chain = ChatPromptTemplate.from_template("{x}") | model
    config: Any = {"callbacks": [handler]}
    assert chain.invoke({"x": "Hours?"}, config).content
    assert chain.invoke({"x": "Hours?"}, config).content
    assert (await chain.ainvoke({"x": "Hours?"}, config)).content
    with pytest.raises(BudgetExceededError):
        chain.invoke({"x": "New?"}, config)
    with pytest.raises(BudgetExceededError):
        await chain.ainvoke({"x": "New?"}, config)
    with pytest.raises(BudgetExceededError):  # a stream asks no cache: documented
        list(chain.stream({"x": "Hours?"}, config))
    assert len(provider.requests) == 1
    assert spent(thrift) == 1
    assert thrift.report().total["cache_hits"] == 2


def test_a_refused_prompt_of_generate_releases_its_siblings(thrift, client, provider):
    thrift.budgets.add(Budget(limit_requests=2))
    model = client(MINI, callbacks=[ThriftCallbackHandler(thrift, enforce=True)])
    with pytest.raises(BudgetExceededError):
        model.generate([[HumanMessage("a")], [HumanMessage("b")], [HumanMessage("c")]])
    assert provider.requests == []
    assert spent(thrift) == 0
    model.generate([[HumanMessage("a")], [HumanMessage("b")]])
    assert spent(thrift) == 2


@pytest.mark.filterwarnings("ignore:coroutine 'ahandle_event' was never awaited")  # LangChain's, for the prompts after the refused one
@pytest.mark.parametrize("how", ["generate", "agenerate"])
def test_generate_that_is_refused_again_and_again_leaves_nothing_held(thrift, client, provider, how):
    thrift.budgets.add(Budget(limit_requests=6, name="b"))
    model = client(max_tokens=20, callbacks=[ThriftCallbackHandler(thrift, enforce=True)])
    for prompts in (10, 10, 8, 10, 7):
        asked = [[HumanMessage(f"Question {number}?")] for number in range(prompts)]
        with pytest.raises(BudgetExceededError):
            model.generate(asked) if how == "generate" else asyncio.run(model.agenerate(asked))
        assert thrift.budgets.holds() == []
    gc.collect()
    assert not provider.requests
    model.generate([[HumanMessage(f"Question {number}?")] for number in range(6)])
    thrift.flush()
    assert len(thrift.ledger.calls()) == 6


def test_completion_models_are_refused_too(thrift, provider):
    thrift.budgets.add(Budget(limit_requests=1))
    model = OpenAI(
        model="gpt-3.5-turbo-instruct", base_url=provider.openai_url, api_key="x", callbacks=[ThriftCallbackHandler(thrift, enforce=True)]
    )
    model.invoke("one")
    with pytest.raises(BudgetExceededError):
        model.invoke("two")
    assert spent(thrift) == 1


def test_a_handler_that_only_measures_refuses_nothing(thrift, client, provider):
    thrift.budgets.add(Budget(limit_requests=0))
    client(MINI, callbacks=[ThriftCallbackHandler(thrift)]).invoke("Hi")
    assert len(provider.requests) == 1


def test_observing_refuses_nothing(thrift, bounded, provider, monkeypatch):
    thrift.budgets.add(Budget(limit_requests=0))
    monkeypatch.setenv("LLMTHRIFT_OBSERVE", "1")
    bounded().invoke("Hi")
    assert len(provider.requests) == 1


def test_a_model_without_a_price_is_refused_under_a_money_budget(thrift, client, provider):
    thrift.budgets.add(Budget(limit_usd=1, name="b"))
    unknown = thrifty(client("house-model"), thrift, cache=False)
    with pytest.raises(BudgetExceededError, match="has no price"):
        unknown.invoke("Hi")
    assert provider.requests == []
    thrift.budgets.add(Budget(limit_usd=1, name="b", unpriced="allow"))
    unknown.invoke("Hi")
    thrift.prices.override("house-model", input_usd_per_million=0, output_usd_per_million=0)
    thrift.budgets.add(Budget(limit_usd=0, name="b"))
    unknown.invoke("Free models pass.")


def test_a_router_takes_the_best_cheaper_model_that_fits_else_refuses(thrift, client, provider):
    thrift.budgets.add(Budget(limit_usd="0.004", on_exceed="downgrade"))
    models = {"mini": client(MINI, max_tokens=1000), "big": client(BIG, max_tokens=1000)}
    router = ChatRouter(thrift, models=models, policy=lambda request: "big")
    assert router.invoke("Hi").response_metadata["model_name"].startswith(MINI)  # 1000 tokens of gpt-4o are $0.01
    assert "has no room for big" in thrift.ledger.calls()[0].route_reason
    thrift.budgets.add(Budget(limit_usd="0.0001", on_exceed="downgrade"))
    with pytest.raises(BudgetExceededError):
        router.invoke("Hi again")
    assert len(provider.requests) == 1


def looping(question: Question) -> Answer:
    return Answer(tool_calls=(ToolCall("search", {"query": f"number {len(question.messages)}"}),))


@tool
def search(query: str) -> str:
    """Search."""
    return f"Nothing about {query}; try another query."


@pytest.mark.parametrize("on_exceeded", ["raise", "stop"])
async def test_a_runaway_agent_is_stopped(thrift, client, provider, on_exceeded):
    thrift.budgets.add(Budget(limit_usd="0.005"))
    provider.answerer = looping
    middleware = ThriftMiddleware(thrift, on_exceeded=on_exceeded)
    agent = create_agent(client(MINI, max_tokens=300), [search], middleware=[middleware])
    task: Any = {"messages": [("user", "Find it.")]}
    config: Any = {"recursion_limit": 10_000}
    for ask in (lambda: agent.ainvoke(task, config), lambda: asyncio.to_thread(agent.invoke, task, config)):
        if on_exceeded == "raise":
            with pytest.raises(BudgetExceededError):
                await ask()
        else:
            assert "Stopped: budget 'usd' refuses the call" in (await ask())["messages"][-1].content
    assert Decimal("0.0045") < spent(thrift) <= Decimal("0.005")
    assert thrift.report().total["requests"] == len(provider.requests) > 5


@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
@pytest.mark.parametrize("door", ["middleware", "router", "handler"])
def test_nested_agents_share_the_budget_of_their_run(thrift, client, provider, named, door):
    thrift.budgets.add(Budget(limit_requests=4, per="run"))
    inner = client(MINI) if door == "handler" else thrifty(client(MINI), thrift, cache=False)

    @tool
    def ask_expert(question: str) -> str:
        """Ask another model."""
        return str(inner.invoke(question).content)

    provider.answerer = lambda question: (
        Answer(tool_calls=(ToolCall("ask_expert", {"question": f"n{len(question.messages)}"}),)) if question.tools else Answer("Hm.")
    )
    outer = thrifty(client(MINI), thrift, cache=False) if door == "router" else client(MINI)
    agent = create_agent(outer, [ask_expert], middleware=[ThriftMiddleware(thrift)] if door == "middleware" else [])
    config: Any = {"recursion_limit": 100}
    if door == "handler":
        config["callbacks"] = [ThriftCallbackHandler(thrift, enforce=True)]
    scopes = []
    for run in ("one", "two"):
        with attribute(run=run if named else None), pytest.raises(BudgetExceededError) as refused:
            agent.invoke({"messages": [("user", "Go")]}, config)
        scopes.append(refused.value.scope["run"])
    assert len(set(scopes)) == 2
    assert scopes == ["one", "two"] or not named
    assert len(provider.requests) == 8
    assert len({row.trace_id for row in thrift.ledger.calls()}) == 2


def test_what_makes_no_sense_is_refused(thrift):
    with pytest.raises(ValueError, match="on_exceeded must be"):
        ThriftMiddleware(thrift, on_exceeded="explode")


def test_tools_are_part_of_what_is_set_aside_and_input_counts_are_corrected_by_experience(thrift, client, provider):
    thrift.budgets.add(Budget(limit_tokens=100_000))
    held: list[int] = []

    def answer(question: Question) -> str:
        held.append(thrift.budgets.holds()[0]["tokens"])
        return "Fine."

    provider.answerer = answer
    model = thrifty(client(MINI, max_tokens=10), thrift, cache=False)
    model.invoke("Hi")
    model.bind_tools([search]).invoke("Hi")
    assert held[1] > held[0] + 20
    thrift.budgets.inputs.learn(MINI, counted=2_000, actual=5_000)
    model.invoke("Hi")
    assert held[2] - 10 == pytest.approx(2.5 * (held[0] - 10), abs=1)

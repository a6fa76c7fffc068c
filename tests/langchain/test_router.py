"""The router chooses, falls back, shares one flight, keeps tools in their provider's format, and stays a chat model."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from pydantic import BaseModel

from llmthrift_core import Thrift, attribute
from llmthrift_core.errors import ConfigurationError, NoModelQualifiesError
from llmthrift_core.routing import (
    Bounded,
    Bounds,
    Capabilities,
    Complexity,
    Example,
    LearnedRouter,
    RatedComplexity,
    RouteRequest,
    Rule,
    Rules,
    contains,
    feature_is,
)
from llmthrift_core.testing import Answer, LoopbackProvider, Question, ToolCall
from llmthrift_langchain import ChatRouter, ThriftCache, thrifty

pytestmark = [pytest.mark.loopback, pytest.mark.filterwarnings("ignore:The model 'claude:DeprecationWarning")]
SIMPLE, HARD = "What is the capital of France?", "Compare both plans and calculate which is cheaper for 12 users over 3 years."


def asked(provider: LoopbackProvider) -> list[str]:
    return [request.body["model"] for request in provider.requests]


@pytest.fixture
def router(thrift, client) -> ChatRouter:
    return ChatRouter(thrift, models={"simple": client("gpt-4o-mini"), "complex": client("gpt-4o")})


def test_simple_goes_cheap_and_hard_goes_strong(router, provider, thrift):
    router.invoke(SIMPLE)
    router.invoke(HARD)
    assert asked(provider) == ["gpt-4o-mini", "gpt-4o"]
    cheap, strong = sorted(thrift.ledger.calls(), key=lambda row: row.at_us)
    assert cheap.baseline_model == "gpt-4o"
    assert cheap.routing_saved_nano_usd > 0
    assert strong.routing_saved_nano_usd == 0
    assert "complexity" in cheap.route_reason


def test_savings_add_up_to_what_the_baseline_would_have_cost(thrift, client):
    router = ChatRouter(thrift, models={"simple": client("gpt-4o-mini"), "complex": client("gpt-4o")}, cache=True)
    for _ in range(3):
        router.invoke(SIMPLE)
    miss = min(thrift.ledger.calls(), key=lambda row: row.at_us)
    from llmthrift_core import Usage

    usage = Usage(input_tokens=miss.input_tokens, output_tokens=miss.output_tokens)
    on_baseline = 3 * thrift.prices.cost(usage, "gpt-4o").usd
    savings = thrift.savings()
    assert savings.without_usd == on_baseline  # spent + saved by cache + saved by routing, nothing twice


def test_rules_by_name_priority_and_attribution(thrift, client, provider):
    rules = Rules(
        [
            Rule("low", contains("report"), use="simple", priority=1),
            Rule("urgent", contains("report") & contains("urgent"), use="complex", priority=5),
            Rule("triage", feature_is("triage"), use="simple", priority=9),
        ],
        default="simple",
    )
    router = ChatRouter(thrift, models={"simple": client("gpt-4o-mini"), "complex": client("gpt-4o")}, policy=rules)
    router.invoke("a report")
    router.invoke("an urgent report")
    with attribute(feature="triage"):
        router.invoke("an urgent report")
    assert asked(provider) == ["gpt-4o-mini", "gpt-4o", "gpt-4o-mini"]


def test_a_function_decides_and_its_failures_do_not_break_the_call(thrift, client, provider, caplog):
    def choose(request: RouteRequest) -> str:
        return {"a": "simple", "b": "no such tier"}[request.question]

    router = ChatRouter(thrift, models={"simple": client("gpt-4o-mini"), "complex": client("gpt-4o")}, policy=choose)
    for question in ("a", "b", "c"):
        router.invoke(question)
    assert asked(provider) == ["gpt-4o-mini", "gpt-4o", "gpt-4o"]
    unknown, failed = [record.getMessage() for record in caplog.records if "routing function" in record.getMessage()]
    assert "chose none of simple, complex" in unknown
    assert re.search(r"choose failed: KeyError: .* at .*test_router\.py:\d+; the strongest allowed tier is used", failed)


def test_a_rule_that_fails_is_told_with_its_place_and_without_the_prompt(thrift, client, provider, caplog):
    def when(request: RouteRequest) -> bool:
        raise LookupError(f"no region for {request.question}")

    router = ChatRouter(
        thrift,
        models={"simple": client("gpt-4o-mini"), "complex": client("gpt-4o")},
        policy=Rules([Rule("region", when, use="simple")], default="complex"),
    )
    for _ in range(2):
        router.invoke("Mallory")
    (told,) = [record.getMessage() for record in caplog.records if "routing rule" in record.getMessage()]
    assert re.search(r"rule 'region' failed and is passed over: LookupError: no region for … at .*test_router\.py:\d+", told)
    assert asked(provider) == ["gpt-4o", "gpt-4o"]


def test_the_callers_maximum_tier_holds(router, provider):
    router.invoke(HARD, max_tier="simple")
    router.invoke(SIMPLE, max_tier="complex")
    assert asked(provider) == ["gpt-4o-mini", "gpt-4o-mini"]
    with pytest.raises(ConfigurationError, match="simple, complex"):
        router.invoke(HARD, max_tier="nonsense")


def test_rate_limits_and_outages_fall_back_and_are_one_call(router, provider, thrift):
    for status in (429, 503):
        provider.fail_next(status=status, model="gpt-4o-mini")
        router.invoke(SIMPLE)
    assert asked(provider) == ["gpt-4o-mini", "gpt-4o"] * 2
    rows = sorted(thrift.ledger.calls(), key=lambda row: row.at_us)
    assert [row.attempt for row in rows] == [1, 2, 1, 2]
    assert [row.attempt_reason for row in rows] == [None, "fallback", None, "fallback"]
    assert rows[0].call_id == rows[1].call_id != rows[2].call_id
    total = thrift.report(by="model").total
    assert (total["requests"], total["attempts"], total["fallbacks"], total["errors"]) == (2, 4, 2, 2)


async def test_a_model_that_rates_complexity_does_not_block_the_event_loop(thrift, client, provider):
    beats = 0
    going = asyncio.Event()

    async def beat() -> None:
        nonlocal beats
        while not going.is_set():
            beats += 1
            await asyncio.sleep(0.005)

    def rate(prompt: str) -> str:
        seen = beats
        while beats < seen + 3:  # other tasks go on meanwhile
            time.sleep(0.005)
        return "9"

    policy = RatedComplexity(rate, timeout_seconds=30)
    router = ChatRouter(thrift, models={"simple": client("gpt-4o-mini"), "complex": client("gpt-4o")}, policy=policy, cache=False)
    beating = asyncio.create_task(beat())
    await router.ainvoke(SIMPLE)
    going.set()
    await beating
    assert asked(provider) == ["gpt-4o"]


def test_a_learned_router_decides_by_call_site_and_question(thrift, client, provider):
    easy = [(f"Translate the word number {number}", 0.97) for number in range(60)]
    hard = [(f"Prove the theorem number {number}", 0.1) for number in range(60)]
    examples = [
        Example(prompt, model, quality if model == "simple" else 1.0, call_site=site)
        for site, prompts in (("words", easy), ("proofs", hard))
        for prompt, quality in prompts
        for model in ("simple", "complex")
    ]
    learned = LearnedRouter({"simple": 0.6, "complex": 10.0}, "complex", 0.98).fit(examples)
    router = ChatRouter(thrift, models={"simple": client("gpt-4o-mini"), "complex": client("gpt-4o")}, policy=learned)
    for site, question in (("words", easy[7][0]), ("proofs", hard[7][0]), ("elsewhere", easy[7][0])):
        router.invoke(question, config={"metadata": {"call_site": site}})
    assert asked(provider) == ["gpt-4o-mini", "gpt-4o", "gpt-4o"]
    reasons = [row.route_reason for row in sorted(thrift.ledger.calls(), key=lambda row: row.at_us)]
    assert reasons[0].startswith("simple: expected quality")
    assert "call site 'elsewhere' has no examples" in reasons[2]


def test_a_rating_is_metered_as_routing(thrift, client, provider):
    small = thrifty(client("gpt-4.1-nano"), thrift)
    provider.answerer = lambda question: Answer("9") if question.model == "gpt-4.1-nano" else None
    policy = RatedComplexity(small)
    router = ChatRouter(thrift, models={"simple": client("gpt-4o-mini"), "complex": client("gpt-4o")}, policy=policy)
    with attribute(feature="chat"):
        router.invoke(SIMPLE)
    rows = {row.model: row for row in thrift.ledger.calls()}
    assert {name: (row.feature, row.request_type) for name, row in rows.items()} == {
        "gpt-4.1-nano": ("chat", "routing"),
        "gpt-4o-2024-08-06": ("chat", None),
    }


def test_a_wrong_request_does_not_fall_back(router, provider):
    provider.fail_next(status=400)
    with pytest.raises(Exception, match="400"):
        router.invoke(SIMPLE)
    assert asked(provider) == ["gpt-4o-mini"]


def test_a_stream_falls_back_before_its_first_piece(router, provider):
    provider.fail_next(status=503, model="gpt-4o-mini")
    assert "".join(chunk.content for chunk in router.stream(SIMPLE))
    assert asked(provider) == ["gpt-4o-mini", "gpt-4o"]


def test_when_every_model_fails_the_last_error_is_raised_and_all_attempts_are_recorded(router, provider, thrift):
    provider.fail_next(status=503, times=2)
    with pytest.raises(Exception, match="503"):
        router.invoke(SIMPLE)
    assert len(thrift.ledger.calls()) == 2


async def test_identical_concurrent_requests_make_one_call(thrift, client, provider):
    provider.latency_seconds = lambda _: 0.2
    router = ChatRouter(thrift, models={"only": client()}, cache=True)
    answers = await asyncio.gather(*(router.ainvoke("Hello") for _ in range(20)))
    assert len({answer.content for answer in answers}) == 1
    assert len(provider.requests) == 1
    assert thrift.report(by="model").total["cache_hits"] == 19


def test_identical_requests_of_threads_make_one_call(thrift, client, provider):
    provider.latency_seconds = lambda _: 0.2
    router = ChatRouter(thrift, models={"only": client()}, cache=True)
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: router.invoke("Hello"), range(20)))
    assert len(provider.requests) == 1


def test_when_the_first_of_them_fails_another_one_asks(thrift, client, provider):
    provider.latency_seconds = lambda _: 0.1
    provider.fail_next(status=400)
    router = ChatRouter(thrift, models={"only": client()}, cache=True)

    def ask(_: int) -> str:
        try:
            return str(router.invoke("Hello").content)
        except Exception:
            return "failed"

    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(ask, range(5)))
    assert answers.count("failed") <= 1
    assert len(provider.requests) <= 2


def test_an_unfinished_stream_does_not_block_its_own_thread(thrift, client, provider, monkeypatch):
    monkeypatch.setattr("llmthrift_core.cache.single_flight.Waiting.wait", lambda waiting: pytest.fail("it waits for itself"))
    router = ChatRouter(thrift, models={"only": client()}, cache=True)
    stream = router.stream("Hello")
    next(stream)
    assert router.invoke("Hello").content
    stream.close()


@tool
def get_order_status(order_id: int) -> str:
    """Look up where an order is."""
    return f"order {order_id} has shipped"


def test_tools_reach_each_provider_in_its_own_format(thrift, client, provider):
    anthropic = ChatAnthropic(model="claude-sonnet-4-5", base_url=provider.anthropic_url, api_key="none", max_retries=0)
    router = ChatRouter(thrift, models={"simple": client("gpt-4o-mini"), "complex": anthropic})
    bound = router.bind_tools([get_order_status], tool_choice="any")
    assert bound.invoke("Where is order 7?", max_tier="simple").tool_calls[0]["args"] == {"order_id": 7}
    assert bound.invoke(HARD).tool_calls[0]["name"] == "get_order_status"
    openai, claude = provider.requests
    assert openai.body["tools"][0]["function"]["name"] == "get_order_status"
    assert claude.body["tools"][0]["input_schema"]["type"] == "object"


def test_fallbacks_keep_to_the_bounds_of_the_policy(thrift, client, provider):
    models = {name: client(model) for name, model in (("simple", "gpt-4o-mini"), ("medium", "gpt-4.1-mini"), ("complex", "gpt-4o"))}
    router = ChatRouter(thrift, models=models, policy=Bounded(None, Bounds({"medium": Capabilities(tools=False)})))
    provider.fail_next(status=503, model="gpt-4o-mini")
    router.bind_tools([get_order_status]).invoke(SIMPLE)
    assert asked(provider) == ["gpt-4o-mini", "gpt-4o"]
    unable = ChatRouter(thrift, models=models, policy=Bounded(None, Bounds({name: Capabilities(tools=False) for name in models})))
    with pytest.raises(NoModelQualifiesError, match="has no tools"):
        unable.bind_tools([get_order_status]).invoke(SIMPLE)
    assert len(asked(provider)) == 2


class Order(BaseModel):
    """An order."""

    number: int
    city: str


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_structured_output_of_like_and_of_unlike_models(thrift, client, provider):
    anthropic = ChatAnthropic(model="claude-sonnet-4-5", base_url=provider.anthropic_url, api_key="none", max_retries=0)
    alike = ChatRouter(thrift, models={"simple": client(), "complex": client("gpt-4o")}, cache=True)
    unlike = ChatRouter(thrift, models={"simple": client(), "complex": anthropic}, cache=True)
    for router in (alike, unlike):
        structured = router.with_structured_output(Order)
        for question in ("Order 7 to 'Paris'", HARD):
            first = structured.invoke(question)
            assert isinstance(first, Order)
            assert structured.invoke(question) == first
    raw = alike.with_structured_output(Order, include_raw=True).invoke("Order 8 to 'Rome'")
    assert raw["parsed"] == Order(number=8, city="Rome")
    assert raw["parsing_error"] is None


def test_a_changed_schema_under_the_same_name_is_another_question(thrift, client, provider):
    router = ChatRouter(thrift, models={"only": client()}, cache=True)

    def schema(**fields: Any) -> type[BaseModel]:
        return type("Thing", (BaseModel,), {"__annotations__": fields, "__doc__": "A thing."})

    router.with_structured_output(schema(number=int), method="function_calling").invoke("Order 7")
    router.with_structured_output(schema(city=str), method="function_calling").invoke("Order 7")
    assert len(provider.requests) == 2


def test_an_agent_runs_its_tool_loop_through_the_router(thrift, client, provider):
    def answer(question: Question) -> Answer | None:
        if question.messages[-1][0] == "tool":
            return Answer(f"Good news: {question.messages[-1][1]}.")
        return Answer(tool_calls=(ToolCall("get_order_status", {"order_id": 7}),))

    provider.answerer = answer
    router = ChatRouter(thrift, models={"simple": client(), "complex": client("gpt-4o")}, cache=True)
    agent = create_agent(router, [get_order_status])
    for _ in range(2):
        result = agent.invoke({"messages": [HumanMessage("Where is order 7?")]}, {"metadata": {"user": "ada"}})
        assert result["messages"][-1].content == "Good news: order 7 has shipped."
        assert isinstance(result["messages"][-2], ToolMessage)
    assert len(provider.requests) == 2  # the second run came from the cache, with its new message ids
    rows = thrift.ledger.calls()
    assert len(rows) == 4
    assert {row.user for row in rows} == {"ada"}


async def test_an_agent_streams_asynchronously(thrift, client, provider):
    router = ChatRouter(thrift, models={"only": client()}, cache=True)
    agent = create_agent(router, [])
    for _ in range(2):
        pieces = [piece async for piece, _ in agent.astream({"messages": [HumanMessage("Hello")]}, stream_mode="messages")]
        assert len(pieces) > 2
    assert len(provider.requests) == 1


async def test_events_name_the_model_that_answered(router):
    events = [event async for event in (ChatPromptTemplate.from_template("{x}") | router).astream_events({"x": SIMPLE}, version="v2")]
    kinds = [event["event"] for event in events]
    assert kinds.count("on_chat_model_start") == kinds.count("on_chat_model_end") == 1
    assert kinds.count("on_chat_model_stream") > 3
    end = next(event for event in events if event["event"] == "on_chat_model_end")
    assert end["data"]["output"].response_metadata["model_name"].startswith("gpt-4o-mini")


def test_it_is_an_ordinary_part_of_a_chain(router):
    chain = ChatPromptTemplate.from_template("{x}") | router.with_retry() | StrOutputParser()
    assert all(chain.batch([{"x": "one"}, {"x": "two"}]))


def test_the_cache_of_a_router_is_its_own_policy(thrift, client, provider):
    from langchain_core.globals import set_llm_cache

    follows = ChatRouter(thrift, models={"only": client()})
    for _ in range(2):
        follows.invoke("Hello")
    assert len(provider.requests) == 2  # no global cache: nothing to follow
    set_llm_cache(ThriftCache(thrift, namespace="tenant"))
    for _ in range(2):
        follows.invoke("Hello")
    assert len(provider.requests) == 3
    never = ChatRouter(thrift, models={"only": client()}, cache=False)
    for _ in range(2):
        never.invoke("Hello")
    assert len(provider.requests) == 5
    other = ChatRouter(thrift, models={"only": client()}, cache=ThriftCache(thrift, namespace="other tenant"))
    other.invoke("Hello")
    assert len(provider.requests) == 6


def test_parameters_of_the_model_and_of_the_call_are_part_of_the_key(thrift, client, provider):
    for model in (client(), client(temperature=0.5), client(seed=1)):
        thrifty(model, thrift).invoke("Hello")
    wrapped = thrifty(client(), thrift)
    wrapped.invoke("Hello", temperature=0.9)
    wrapped.invoke("Hello", stop=["x"])
    wrapped.bind(logprobs=True).invoke("Hello")
    assert len(provider.requests) == 6
    thrifty(client(timeout=99, default_headers={"X-Request-ID": "7"}), thrift).invoke("Hello")
    assert len(provider.requests) == 6  # what does not change the answer is not


def test_a_hit_is_marked_and_free(thrift, client):
    model = thrifty(client(), thrift)
    first, second = model.invoke("Hello"), model.invoke("Hello")
    assert second.content == first.content
    assert second.id != first.id
    assert second.response_metadata["llmthrift"]["cache"] == "exact"
    assert second.usage_metadata["total_tokens"] == 0


def test_models_given_by_name(thrift, provider, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("OPENAI_BASE_URL", provider.openai_url)
    router = ChatRouter(thrift, models={"simple": "openai:gpt-4o-mini", "complex": "openai:gpt-4o"}, temperature=0.3, max_tokens=20)
    router.invoke(SIMPLE)
    (request,) = provider.requests
    assert request.body["temperature"] == 0.3
    assert request.body.get("max_completion_tokens", request.body.get("max_tokens")) == 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": {}}, "models is empty"),
        ({"models": {"a": 7}}, "a tier must be a chat model"),
        ({"baseline": "b"}, "baseline='b'"),
        ({"max_tier": "b"}, "max_tier='b'"),
    ],
)
def test_what_cannot_be_used_is_refused(thrift, client, options, message):
    with pytest.raises(ConfigurationError, match=message):
        ChatRouter(thrift, **{"models": {"a": client()}, **options})


def test_routers_do_not_nest(thrift, client):
    with pytest.raises(ConfigurationError, match="do not nest"):
        ChatRouter(thrift, models={"a": thrifty(client(), thrift)})


def test_observing_calls_the_baseline_and_says_what_routing_would_have_saved(router, provider, thrift, monkeypatch):
    monkeypatch.setenv("LLMTHRIFT_OBSERVE", "1")
    router.invoke(SIMPLE)
    assert asked(provider) == ["gpt-4o"]
    (row,) = thrift.ledger.calls()
    assert row.observed_routing_nano_usd > 0
    assert row.routing_saved_nano_usd is None
    assert "gpt" not in str(thrift.savings().to_dict()["observed_routing_usd"])


def test_thresholds_are_visible_and_change_decisions(thrift, client, provider):
    cheap = ChatRouter(thrift, models={"s": client(), "c": client("gpt-4o")}, policy=Complexity(thresholds=[1.0]))
    dear = ChatRouter(thrift, models={"s": client(), "c": client("gpt-4o")}, policy=Complexity(thresholds=[0.0]))
    cheap.invoke(HARD)
    dear.invoke(SIMPLE)
    assert asked(provider) == ["gpt-4o-mini", "gpt-4o"]


def test_threads_share_one_router(thrift, client, provider):
    router = ChatRouter(thrift, models={"only": client()}, cache=True)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(5):
                router.invoke(f"Question {(number + turn) % 10}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(provider.requests) == 10
    assert thrift.report(by="model").total["requests"] == 100


def test_two_thrifts_keep_their_own_books(tmp_path, client):
    from llmthrift_langchain import ThriftCallbackHandler

    with Thrift(tmp_path / "a.db") as first, Thrift(tmp_path / "b.db") as second:
        model = thrifty(client(), first)
        model.invoke("Hello", {"callbacks": [ThriftCallbackHandler(second)]})
        assert first.report(by="model").total["requests"] == 1
        assert second.report(by="model").total["requests"] == 1

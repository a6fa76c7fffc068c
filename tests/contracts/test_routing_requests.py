"""What one request requires of a router, and what is tried when its model fails: alike in both frameworks."""

from __future__ import annotations

from typing import Any

import pytest

import llmthrift_langchain as lc
import llmthrift_llamaindex as li
from llmthrift_core import attribute
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing import Bounded, Bounds, Cascade, Complexity, FallbackChain, Profile, Profiles
from tests.contracts.doors import client, llm
from tests.contracts.test_faulty_policies import in_langchain, in_llamaindex

pytestmark = pytest.mark.loopback
DOORS = pytest.mark.parametrize("make", [in_langchain, in_llamaindex])
HOW = pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
KNOWN = {
    "weak": Profile({"triage": 0.96, "*": 0.6}, cost_usd=0.0004, latency_seconds=0.5),
    "middle": Profile(0.9, cost_usd=0.002, latency_seconds=6.0),
    "strong": Profile(0.97, cost_usd=0.006, latency_seconds=2.0),
}
GOOD_ENOUGH = Profiles(KNOWN, required_quality=0.5, on_none="strongest")


def asked_last(provider: Any) -> str:
    model: str = provider.requests[-1].body["model"]
    return model


@DOORS
@HOW
def test_a_call_says_what_it_requires(thrift, provider, make, how):
    door = make(thrift, provider, GOOD_ENOUGH)
    door.ask("Which?", how)
    assert asked_last(provider) == "gpt-4o-mini"
    door.ask("Which?", how, required_quality=0.95)  # not the answer that lower requirements got
    assert asked_last(provider) == "gpt-4o"
    door.ask("Which?", how, required_quality=0.85)
    assert asked_last(provider) == "gpt-4.1"
    door.ask("Which?", how, required_quality=0.85, max_latency_seconds=3)
    assert asked_last(provider) == "gpt-4o"
    door.ask("Which?", how, required_quality=0.95)
    door.ask("Which?", how)
    assert len(provider.requests) == 4  # as asked before: from the cache
    assert not {"required_quality", "max_latency_seconds"} & {name for request in provider.requests for name in request.body}


@DOORS
def test_metadata_and_tags_say_it_too_and_arguments_win(thrift, provider, make):
    door = make(thrift, provider, GOOD_ENOUGH)
    door.ask("Which?", metadata={"required_quality": 0.95})
    assert asked_last(provider) == "gpt-4o"
    with attribute(tags={"required_quality": "0.85"}):
        door.ask("Which?")
        assert asked_last(provider) == "gpt-4.1"
        door.ask("Which else?", required_quality=0.1)
        assert asked_last(provider) == "gpt-4o-mini"
    for odd in ("high", 7, None, True, float("nan")):  # metadata belongs to the application
        door.ask(f"Which? {odd}", metadata={"required_quality": odd, "max_latency_seconds": odd if odd != 7 else -7})
        assert asked_last(provider) == "gpt-4o-mini"


@DOORS
@pytest.mark.parametrize("wrong", [{"required_quality": 2}, {"max_latency_seconds": 0}, {"required_quality": "high"}])
def test_a_wrong_argument_is_said(thrift, provider, make, wrong):
    with pytest.raises(ConfigurationError, match=r"must lie within 0\.\.1|must be a positive number of seconds"):
        make(thrift, provider, GOOD_ENOUGH).ask("Which?", **wrong)
    assert provider.requests == []


@DOORS
def test_latency_bounds_any_policy(thrift, provider, make):
    times = {"weak": 0.5, "middle": 6.0, "strong": 2.0}
    door = make(thrift, provider, Bounded(lambda request: "middle", Bounds(latency_seconds=times)))
    door.ask("Which?")
    assert asked_last(provider) == "gpt-4.1"
    door.ask("Which?", max_latency_seconds=3)
    assert asked_last(provider) == "gpt-4o"


@DOORS
def test_waiting_has_a_price(thrift, provider, make):
    make(thrift, provider, Profiles(KNOWN, required_quality=0.85)).ask("Which?")
    assert asked_last(provider) == "gpt-4.1"
    # 0.002 + 6 * 0.002 = 0.014 USD, against 0.006 + 2 * 0.002 = 0.010
    make(thrift, provider, Profiles(KNOWN, required_quality=0.85, usd_per_second=0.002)).ask("Which?")
    assert asked_last(provider) == "gpt-4o"


@DOORS
def test_many_specialised_models_by_task(thrift, provider, make):
    tasks = [f"task {number}" for number in range(3)]
    experts = dict(zip(KNOWN, tasks, strict=True))
    profiles = {name: Profile({task: 0.95, "*": 0.2}, cost_usd=0.001) for name, task in experts.items()}
    door = make(thrift, provider, Profiles(profiles, required_quality=0.9))
    found = {}
    for task in tasks:
        with attribute(request_type=task):
            door.ask(f"Which of {task}?")
        found[task] = asked_last(provider)
    assert found == {"task 0": "gpt-4o-mini", "task 1": "gpt-4.1", "task 2": "gpt-4o"}


@DOORS
@HOW
def test_the_user_names_what_is_tried_after_a_failure(thrift, provider, make, how):
    door = make(thrift, provider, lambda request: "middle", fallbacks=["weak", "strong"])
    provider.fail_next(status=500, model="gpt-4.1")
    door.ask("Which?", how)
    assert [request.body["model"] for request in provider.requests] == ["gpt-4.1", "gpt-4o-mini"]


@DOORS
def test_a_fallback_may_cost_so_much(thrift, provider, make):
    door = make(thrift, provider, lambda request: "weak", fallbacks=FallbackChain(["strong", "middle"], max_usd="0.0045"))
    provider.fail_next(status=500, model="gpt-4o-mini")
    door.ask("Which?")  # 500 tokens of gpt-4o are 0.0050 USD, of gpt-4.1 0.0040
    assert [request.body["model"] for request in provider.requests] == ["gpt-4o-mini", "gpt-4.1"]
    tight = make(thrift, provider, lambda request: "weak", fallbacks=FallbackChain(max_usd="0.000001"))
    provider.fail_next(status=500, model="gpt-4o-mini")
    with pytest.raises(Exception, match="failure 500"):
        tight.ask("Which else?")
    assert len(provider.requests) == 3


@DOORS
@pytest.mark.parametrize("wrong", [["huge"], ["weak", "weak"], FallbackChain(["huge"])])
def test_a_chain_that_cannot_be_meant_is_said(thrift, provider, make, wrong):
    with pytest.raises(ConfigurationError, match=r"(no tier of this router|is tried once)"):
        make(thrift, provider, None, fallbacks=wrong)


@DOORS
@pytest.mark.parametrize(("threshold", "model"), [(0.8, "gpt-4o-mini"), (0.9, "gpt-4.1")])
def test_a_cascades_threshold_can_be_set(thrift, provider, make, threshold, model):
    make(thrift, provider, Cascade(["weak", "middle"], threshold=threshold)).ask("What is the capital of Norway?")
    assert asked_last(provider) == model  # an answer that nothing speaks against has a confidence of 0.85


def test_a_threshold_is_kept_and_checked():
    cascade = Cascade(["a", "b", "c"], threshold=[0.8, 0.7])
    again = Cascade.from_bytes(cascade.to_bytes())
    assert (again.thresholds, again.version) == ((0.8, 0.7), cascade.version)
    assert cascade.version != Cascade(["a", "b", "c"], threshold=0.8).version
    for wrong in (1.5, [0.8], "x"):
        with pytest.raises(ConfigurationError, match="threshold must lie within"):
            Cascade(["a", "b", "c"], threshold=wrong)


def routers(thrift: Any, provider: Any, make: Any, **models: Any) -> Any:
    return (lc.ChatRouter if make is in_langchain else li.RouterLLM)(thrift, models=models, missing="skip")


@DOORS
def test_models_without_a_client_are_skipped(thrift, provider, make, monkeypatch):
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "COHERE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    there = client(provider) if make is in_langchain else llm(provider)
    with pytest.warns(UserWarning, match=r"a router goes without small \(cohere:command-r\): "):
        router = routers(thrift, provider, make, small="cohere:command-r", large=there)
    assert list(router.tiers if make is in_langchain else router.models) == ["large"]
    with pytest.raises(ConfigurationError, match="none of the router's models can be used"):
        routers(thrift, provider, make, small="cohere:command-r")


@DOORS
def test_the_cheapest_seller_of_a_model_answers(thrift, provider, make):
    make_client = client if make is in_langchain else llm
    field = "model_name" if make is in_langchain else "model"
    thrift.prices.override("gpt-here", input_usd_per_million=3, output_usd_per_million=9)
    thrift.prices.override("gpt-there", input_usd_per_million=2, output_usd_per_million=8)
    sellers = [make_client(provider).model_copy(update={field: name}) for name in ("unpriced-model", "gpt-here", "gpt-there")]
    router = routers(thrift, provider, make, only=sellers)
    chosen = router.tiers["only"].name if make is in_langchain else router.models["only"].model
    assert chosen == "gpt-there"


def test_thresholds_are_fitted_to_a_sample():
    sample = [(f"What is the state of order {n}?", "small") for n in range(20)]
    sample += [(f"How does the consensus protocol of cluster {n} keep replicated transactions in order?", "middle") for n in range(20)]
    sample += [
        (f"Prove step by step that algorithm {n} terminates, and calculate its cost for 3 and 4 inputs.", "large") for n in range(20)
    ]
    tiers = ("small", "middle", "large")
    fitted = Complexity().fit(sample, tiers)
    from llmthrift_core.routing import RouteRequest, Tiers

    placed = [fitted.decide(RouteRequest(question), Tiers(tiers)).tier for question, _ in sample]
    assert placed == [tier for _, tier in sample]
    assert list(fitted.thresholds) == sorted(fitted.thresholds)
    assert fitted.version != Complexity().version
    # a sample that no threshold can part: caution sends it up, boldness down
    mixed = [("What is it?", "small"), ("What is it?", "large")]
    question = RouteRequest("What is it?")
    assert Complexity().fit(mixed, ("small", "large")).decide(question, Tiers(("small", "large"))).tier == "large"
    assert Complexity().fit(mixed, ("small", "large"), caution=0.5).decide(question, Tiers(("small", "large"))).tier == "small"


@pytest.mark.parametrize(
    ("sample", "tiers", "match"),
    [
        ([], ("a", "b"), "the sample is empty"),
        ([("?", "c")], ("a", "b"), "the sample has the tier 'c'"),
        ([("?", "a")], ("a",), "two or more"),
    ],
)
def test_a_sample_that_cannot_be_meant_is_said(sample, tiers, match):
    with pytest.raises(ConfigurationError, match=match):
        Complexity().fit(sample, tiers)


def test_technical_terms_and_open_questions_are_signals():
    from llmthrift_core.routing import RouteRequest

    signals = Complexity().explain(RouteRequest("How does the raft consensus protocol replicate a distributed log?"))
    assert {"open question", "technical terms"} <= set(signals)
    assert not {"open question", "technical terms"} & set(Complexity().explain(RouteRequest("How can I contact support?")))
    assert "technical terms" in Complexity(technical=[r"widgets?"]).explain(RouteRequest("Which widget?"))

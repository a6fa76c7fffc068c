"""Examples out of the ledger, from calls as doors make them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmthrift_core import Thrift, Usage, attribute
from llmthrift_core.attribution import current_attribution
from llmthrift_core.calls.request import (
    PromptFeatures,
    Request,
    Response,
    RouteUse,
)
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.quality import Evaluation
from llmthrift_core.routing import CallablePolicy, Example, LearnedRouter, RouteRequest, Tiers
from tests.core.routing.workload import labelled

USAGE = Usage(input_tokens=10, output_tokens=2)


@pytest.fixture
def any_thrift(any_url: str) -> Iterator[Thrift]:
    with Thrift(any_url, capture="text") as opened:
        yield opened


def answer(thrift: Thrift, model: str, messages: list[tuple[str, str]], text: str, **attribution: str) -> str:
    """One call from beginning to end; the answer is its request id."""
    with attribute(**attribution):
        prompt = PromptFeatures.of(messages, thrift.capture)
        call = thrift.begin(Request(model=model, attribution=current_attribution(), prompt=prompt))
        call.finish(Response(usage=USAGE, text=lambda: text))
    return call.call_id


def test_judged_calls_become_examples(any_thrift):
    talk = [("system", "Be brief."), ("human", "Hello"), ("ai", "Hi"), ("human", "Where is\nmy parcel?")]
    first = answer(any_thrift, "gpt-4o-mini-2024-07-18", talk, "Berlin", call_site="support")
    second = answer(any_thrift, "gpt-4o", [("prompt", "Say yes")], "yes")
    answer(any_thrift, "gpt-4o", [("prompt", "nobody judges this")], "no")
    any_thrift.feedback(first, quality=0.25, source="judge:a")
    any_thrift.feedback(first, quality=0.75, source="user")
    any_thrift.feedback(second, quality=1)
    found = sorted(any_thrift.examples(), key=lambda each: each.quality)
    assert found == [
        Example("Where is\nmy parcel?", "gpt-4o-mini-2024-07-18", 0.5, call_site="support", answer="Berlin", answer_tokens=2),
        Example("Say yes", "gpt-4o", 1.0, answer="yes", answer_tokens=2),
    ]
    named = any_thrift.examples(models={"simple": "gpt-4o-mini", "complex": 12.0})
    assert [example.model for example in named] == ["simple"]
    assert named.skipped == {"answer of another model": 1}
    assert any_thrift.examples(since="2100-01-01") == []


def test_what_judges_asked_and_what_meaning_answered_is_left_out(any_thrift):
    judged = answer(any_thrift, "gpt-4o", [("prompt", "How good is this?")], "0.5", request_type="evaluation")
    hit = any_thrift.ledger.record("gpt-4o", USAGE, cache="semantic")
    any_thrift.ledger.capture(hit, 1, None, "human: q", "a")
    for request_id in (judged, hit):
        any_thrift.feedback(request_id, quality=1)
    found = any_thrift.examples()
    assert found == []
    assert found.skipped == {"answer to another question, found by meaning": 1}


def test_where_nothing_is_stored_the_error_says_what_to_do(tmp_path: Path):
    with Thrift(tmp_path / "a.db") as thrift:
        assert thrift.examples() == []
        thrift.feedback(thrift.ledger.record("gpt-4o", USAGE), quality=1)
        with pytest.raises(ConfigurationError, match=r'1 answer was judged.*Thrift\(capture="text"\)'):
            thrift.examples()


def routed(thrift: Thrift, tier: str, model: str, text: str, quality: float | None = None, **options: Any) -> str:
    """One call that a router sent to a tier; the answer is its request id."""
    models = {"a": (model, None), "b": (model, None), tier: (model, None)}
    use = RouteUse(CallablePolicy(lambda request: tier), Tiers(tuple(models)), RouteRequest(text), models, tier)
    call = thrift.begin(Request(prompt=PromptFeatures.of([("human", text)], thrift.capture), route=use))
    for name, value in options.items():
        setattr(call, name, value)
    call.finish(Response(usage=USAGE, model=model, text=lambda: "yes"))
    if quality is not None:
        thrift.feedback(call.call_id, quality=quality)
    return call.call_id


def test_two_names_of_one_model_are_told_apart_by_the_tier_alone(any_thrift):
    routed(any_thrift, "a", "gpt-4o-2024-08-06", "first", 0.25)
    routed(any_thrift, "b", "gpt-4o-2024-08-06", "second", 0.75)
    any_thrift.feedback(answer(any_thrift, "gpt-4o", [("human", "third")], "x"), quality=1)  # not routed
    found = any_thrift.examples(models={"a": "gpt-4o", "b": "gpt-4o"})
    assert [(each.model, each.quality) for each in found] == [("a", 0.25), ("b", 0.75)]
    assert found.skipped == {"not routed, and 'a' and 'b' are the same model": 1}
    found = any_thrift.examples()
    assert [each.model for each in found] == ["a", "b", "gpt-4o"]
    assert found.models == {"a": "gpt-4o-2024-08-06", "b": "gpt-4o-2024-08-06", "gpt-4o": "gpt-4o"}


def test_a_tier_of_another_router_is_judged_by_its_model(any_thrift):
    routed(any_thrift, "small", "claude-3-haiku-20240307", "another router's small", 0.5)
    routed(any_thrift, "cheap", "gpt-4o-mini", "another name of the model", 1.0)
    routed(any_thrift, "small", "gpt-4o-mini", "its own", 0.0)
    found = any_thrift.examples(models={"small": "gpt-4o-mini", "large": "gpt-4o"})
    assert [(each.prompt, each.model) for each in found] == [("another name of the model", "small"), ("its own", "small")]
    assert found.skipped == {"answer of another model": 1}
    priced = any_thrift.examples(models={"small": 0.6, "large": 12.0})  # nothing but the tier tells
    assert [each.prompt for each in priced] == ["another router's small", "its own"]


def test_the_model_of_a_name_is_the_one_that_answered_last(any_thrift, monkeypatch):
    later = any_thrift.now_us() + 60_000_000
    for model, at_us in (("gpt-4o", later), ("gpt-4o-mini", later - 1)):
        monkeypatch.setattr(any_thrift, "now_us", lambda at_us=at_us: at_us)
        routed(any_thrift, "a", model, "q", 1.0)
    assert any_thrift.examples().models == {"a": "gpt-4o"}


def test_a_cascades_opinion_is_a_label_only_where_it_is_asked_for(any_thrift):
    routed(any_thrift, "a", "gpt-4o-mini", "reviewed", confidence=0.25)
    routed(any_thrift, "a", "gpt-4o-mini", "reviewed and judged", 1.0, confidence=0.25)
    routed(any_thrift, "a", "gpt-4o-mini", "surely wrong", confidence=0.0)
    routed(any_thrift, "a", "gpt-4o-mini", "neither")
    assert [each.prompt for each in any_thrift.examples()] == ["reviewed and judged"]
    found = any_thrift.examples(escalations=True)
    assert {each.prompt: each.quality for each in found} == {"reviewed": 0.25, "reviewed and judged": 1.0, "surely wrong": 0.0}
    assert len(found) == 3
    assert any_thrift.examples(since="2100-01-01", escalations=True) == []


def test_judges_speak_of_the_answer_they_were_shown_and_users_of_the_one_they_got(any_thrift):
    models = {"weak": ("gpt-4o-mini", None), "strong": ("gpt-4o", None)}
    use = RouteUse(CallablePolicy(lambda request: "weak"), Tiers(tuple(models)), RouteRequest("q"), models, "strong")
    call = any_thrift.begin(Request(prompt=PromptFeatures.of([("human", "q")], "text"), route=use))
    call.attempt("strong", "gpt-4o", reason="escalation", rejected=Response(usage=USAGE, text=lambda: "no idea"))
    call.finish(Response(usage=USAGE, text=lambda: "42"))
    Evaluation(any_thrift, lambda question, given: 0.75 if given == "42" else 0.25, sample=1.0, usd_per_judgement=0).run()
    assert {(each.model, each.quality) for each in any_thrift.examples()} == {("weak", 0.25), ("strong", 0.75)}
    any_thrift.feedback(call.call_id, quality=1.0, source="user")
    found = sorted((each.model, each.answer, each.quality) for each in any_thrift.examples())
    assert found == [("strong", "42", 0.875), ("weak", "no idea", 0.25)]  # the mean of a judge and a user
    assert any_thrift.quality(source="user").rows[0].value == "gpt-4o"


@pytest.mark.parametrize(("recorded", "name"), [("gpt-4-0613", "x"), ("gpt-4", "x"), ("gpt-4-turbo", None), ("gpt-4-2024-01-02", "x")])
def test_a_name_stands_for_dated_releases(tmp_path: Path, recorded: str, name: str | None):
    with Thrift(tmp_path / "a.db", capture="text") as thrift:
        thrift.feedback(answer(thrift, recorded, [("human", "q")], "a"), quality=1)
        assert [example.model for example in thrift.examples(models={"x": "gpt-4"})] == [name] * (name is not None)


def test_a_router_learns_from_a_ledger(tmp_path: Path):
    with Thrift(tmp_path / "a.db", capture="text") as thrift:
        given = labelled(60, sites=True)
        for example in given:
            request_id = answer(thrift, example.model, [("human", example.prompt)], "done", call_site=str(example.call_site))
            thrift.feedback(request_id, quality=example.quality)
        models = {"weak": 0.6, "strong": 12.0}
        found = thrift.examples(models=models)
        assert {(each.prompt, each.model, each.quality, each.call_site) for each in found} == {
            (each.prompt, each.model, each.quality, each.call_site) for each in given
        }
        assert LearnedRouter(models).fit(found).fitted

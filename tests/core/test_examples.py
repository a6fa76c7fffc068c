"""Examples out of the ledger, from calls as doors make them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llmthrift_core import Thrift, Usage, attribute
from llmthrift_core.attribution import current_attribution
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.request import PromptFeatures, Request, Response
from llmthrift_core.routing import Example, LearnedRouter
from tests.core.routing.workload import labelled
from tests.core.storage.backends import any_url, postgresql_server, postgresql_url  # noqa: F401 - fixtures

USAGE = Usage(input_tokens=10, output_tokens=2)


@pytest.fixture
def any_thrift(any_url: str) -> Iterator[Thrift]:  # noqa: F811
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
        Example("Where is\nmy parcel?", "gpt-4o-mini-2024-07-18", 0.5, call_site="support", answer="Berlin"),
        Example("Say yes", "gpt-4o", 1.0, answer="yes"),
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


def test_without_text_the_error_says_what_to_do(tmp_path: Path):
    with Thrift(tmp_path / "a.db") as thrift:
        assert thrift.examples() == []
        thrift.feedback(answer(thrift, "gpt-4o", [("human", "q")], "a"), quality=1)
        with pytest.raises(ConfigurationError, match=r'1 answers were judged.*Thrift\(capture="text"\)'):
            thrift.examples()


def test_two_names_of_one_model_cannot_be_told_apart(any_thrift):
    with pytest.raises(ConfigurationError, match="'a' and 'b' are both the model 'gpt-4o'"):
        any_thrift.examples(models={"a": "gpt-4o", "b": "gpt-4o"})


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

"""When two answers say the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from llmthrift_core import Thrift
from llmthrift_core.cache import ErrorBound, ModelJudge, SemanticCache, SimilarAnswers
from llmthrift_core.errors import ConfigurationError
from tests.core.cache.test_semantic import by_topic


def test_similar_answers_say_the_same_unless_a_fact_differs():
    same = SimilarAnswers()
    assert same(
        "Your card arrives within 10 days; you can track it in the app.", "The card takes up to 10 days to arrive. Track it in the app."
    )
    assert not same("Open the app and freeze the card under Cards.", "Open the app and order a card under Cards.")
    assert not same("You can return it within 30 days of delivery.", "You can return it within 14 days of delivery.")
    assert not same("You can return it.", "You cannot return it.")
    assert not same("The parcel is on its way.", "Our shop opens at nine.")
    assert not same("", "")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Yes.", True),
        ("yes, both say so", True),
        ("**Yes**", True),
        ("No.", False),
        ("", False),
        ("I cannot say yes or no", False),
        ("yesterday", False),
    ],
)
def test_only_a_clear_yes_of_a_model_counts(reply, expected):
    assert ModelJudge(lambda prompt: reply)("a", "b") is expected


def test_a_model_sees_both_answers_as_they_are_and_is_asked_once():
    prompts: list[str] = []

    def ask(prompt: str) -> str:
        prompts.append(prompt)
        return "yes"

    judge = ModelJudge(ask)
    assert judge("{second} costs {0}", "}{first}")
    assert judge("{second} costs {0}", "}{first}")
    assert len(prompts) == 1
    assert "{second} costs {0}" in prompts[0]
    assert "}{first}" in prompts[0]


def test_models_of_both_frameworks_are_judges():
    chat: Any = SimpleNamespace(invoke=lambda prompt: SimpleNamespace(content="yes"))
    llm: Any = SimpleNamespace(complete=lambda prompt: SimpleNamespace(text="Yes"))
    assert ModelJudge(chat)("a", "b")
    assert ModelJudge(llm)("a", "b")


@pytest.mark.parametrize("options", [{"model": 5}, {"model": print, "instruction": "same?"}])
def test_a_judge_that_cannot_be_asked_is_refused(options):
    with pytest.raises(ConfigurationError):
        ModelJudge(**options)


@pytest.mark.parametrize("threshold", [0, 1.5, True, "high"])
def test_a_threshold_that_makes_no_sense_is_refused(threshold):
    with pytest.raises(ConfigurationError):
        SimilarAnswers(by_topic, threshold)


def test_a_slow_judge_is_asked_off_the_callers_path_and_teaches(thrift: Thrift):
    cache = SemanticCache(thrift, by_topic, ErrorBound(seed=1), ModelJudge(lambda prompt: "yes"))
    cache.store("Which hours?", "Nine o'clock")
    cache.store("What hours?", "From nine")
    assert cache.flush()
    assert cache.belief().observations == 1
    assert cache.belief().would_have_served == 1
    assert cache.belief().text == "learning: 1 of about 200 observations, would have served 1"


def test_a_judge_that_fails_counts_the_answers_as_different(thrift: Thrift, caplog):
    def fail(first: str, second: str) -> bool:
        raise RuntimeError("sk-secret")

    cache = SemanticCache(thrift, by_topic, ErrorBound(seed=1), fail)
    cache.store("Which hours?", "Nine o'clock")
    cache.store("What hours?", "From nine")
    assert (cache.belief().observations, cache.belief().would_have_served) == (1, 0)
    assert "RuntimeError" in caplog.text
    assert "sk-secret" not in caplog.text
    assert cache.stats()["entries"] == 2

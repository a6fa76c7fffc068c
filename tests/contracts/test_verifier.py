"""A model that judges whether two questions are one, through each framework's own client: asked once, metered as its own calls, capped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

import llmthrift_langchain as lc
import llmthrift_llamaindex as li
from llmthrift_core import Thrift
from llmthrift_core.cache import FixedThreshold, SemanticCache
from llmthrift_core.quality import QuestionVerifier
from tests.contracts.doors import ask, client, llm

pytestmark = pytest.mark.loopback
CACHED, ASKED, AGAIN = "When do you open?", "What are your opening hours?", "Your opening hours, what are they?"
Model = Callable[[Thrift, Any, SemanticCache], Any]
MODELS: dict[str, tuple[Model, Callable[[Thrift, Any], Any]]] = {
    "langchain": (
        lambda thrift, provider, semantic: lc.thrifty(client(provider), thrift, cache=lc.ThriftCache(thrift, semantic=semantic)),
        lambda thrift, provider: lc.thrifty(client(provider, temperature=0), thrift, cache=None),
    ),
    "llamaindex": (
        lambda thrift, provider, semantic: li.thrifty(llm(provider), thrift, semantic=semantic),
        lambda thrift, provider: li.thrifty(llm(provider), thrift, cache=False),
    ),
}


def _one_point(texts: Sequence[str]) -> Any:
    return np.ones((len(texts), 2)) / np.sqrt(2)


def _say(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _judging(verdict: str) -> Callable[[Any], str]:
    """Answers a prompt of the verifier with the code at its end and a verdict, and everything else with its text."""
    return lambda question: (
        f"{question.last_user_text.split()[-1]} {verdict}"
        if CACHED in question.last_user_text and len(question.last_user_text) > 200
        else "Nine to five."
    )


@pytest.mark.parametrize("how", ["invoke", "astream"])
@pytest.mark.parametrize("framework", MODELS)
def test_what_the_exact_cache_answers_is_a_request_too(thrift, provider, framework, how):
    """The promise of an `ErrorBound` is of all requests."""
    semantic = SemanticCache(thrift, _one_point)
    model = MODELS[framework][0](thrift, provider, semantic)
    for _ in range(4):
        ask(model, _say(CACHED), how)
    assert len(provider.requests) == 1
    assert (semantic.belief().requests, semantic.belief().hits) == (4, 0)


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
@pytest.mark.parametrize(("verdict", "is_served"), [("yes", True), ("no", False)])
@pytest.mark.parametrize("framework", MODELS)
def test_a_models_word_decides_and_is_a_call_of_its_own(thrift, provider, framework, verdict, is_served, how):
    make, judge = MODELS[framework]
    provider.answerer = _judging(verdict)
    verifier = QuestionVerifier(judge(thrift, provider), thrift, max_usd_per_day="0.01")
    model = make(thrift, provider, SemanticCache(thrift, _one_point, FixedThreshold(1.0), verifier=verifier))
    ask(model, _say(CACHED), how)
    before = len(provider.requests)
    assert ask(model, _say(ASKED), how) == "Nine to five."
    assert len(provider.requests) == before + (1 if is_served else 2)
    ask(model, _say(ASKED), how)
    assert len(provider.requests) == before + (1 if is_served else 2)
    (row,) = [row for row in thrift.report(by="request_type").rows if row["request_type"] == "evaluation"]
    assert row["requests"] == 1
    assert row["cost_usd"] > 0


@pytest.mark.parametrize("framework", MODELS)
def test_when_the_amount_of_the_day_is_spent_nothing_is_served_by_meaning(thrift, provider, framework):
    make, judge = MODELS[framework]
    provider.answerer = _judging("yes")
    verifier = QuestionVerifier(judge(thrift, provider), thrift, max_usd_per_day=Decimal("0.0000001"))
    model = make(thrift, provider, SemanticCache(thrift, _one_point, FixedThreshold(1.0), verifier=verifier))
    ask(model, _say(CACHED))
    for text in (ASKED, AGAIN):
        before = len(provider.requests)
        ask(model, _say(text))
        assert len(provider.requests) > before

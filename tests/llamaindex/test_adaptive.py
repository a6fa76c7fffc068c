"""`RouterLLM` follows the feedback in the ledger, and asks any model how hard a question is."""

from __future__ import annotations

from typing import Any

import pytest

from llmthrift_core import Thrift, attribute
from llmthrift_core.routing import Adaptive, RatedComplexity
from llmthrift_core.testing.answers import Answer
from llmthrift_llamaindex import RouterLLM, thrifty
from tests.llamaindex.conftest import rows

pytestmark = pytest.mark.loopback
MODELS = {"small": "gpt-4.1-nano", "large": "gpt-4.1"}


def models(thrift: Thrift) -> list[str]:
    return ["small" if "nano" in row.model else "large" for row in rows(thrift)]


def test_a_model_that_gets_worse_is_left(thrift: Thrift, provider: Any, openai: Any) -> None:
    small_is_well = True
    provider.answerer = lambda question: Answer("right" if small_is_well or question.model == "gpt-4.1" else "wrong")
    policy = Adaptive(thrift, MODELS, explore_usd_per_day=1, explore_share=0.5, seed=3)
    llm = RouterLLM(thrift, models={tier: openai(name) for tier, name in MODELS.items()}, policy=policy, cache=False)

    def serve(count: int) -> list[str]:
        before = len(rows(thrift))
        for number in range(count):
            with attribute(call_site="support"):
                answer = llm.complete(f"Question {before + number}?")
            row = rows(thrift)[-1]
            thrift.feedback(row.request_id, quality=float(str(answer) == "right"))
            if number % 10 == 9:
                policy.scores.refresh()
        return models(thrift)[before:]

    serve(120)
    assert serve(10) == ["small"] * 10
    small_is_well = False
    serve(50)
    assert serve(10).count("large") >= 7
    cost_usd = {row["llmthrift.routing"]: row["cost_usd"] for row in thrift.report(by="llmthrift.routing").to_dicts()}
    assert cost_usd["explored"] > 0


def test_a_rating_of_a_llamaindex_model_is_metered_and_remembered(thrift: Thrift, provider: Any, openai: Any) -> None:
    provider.answerer = lambda question: Answer("9" if question.model == "gpt-4o-mini" else "An answer.")
    for _ in range(2):
        policy = RatedComplexity(thrifty(openai("gpt-4o-mini"), thrift), thrift=thrift, timeout_seconds=30)
        llm = RouterLLM(thrift, models={tier: openai(name) for tier, name in MODELS.items()}, policy=policy, cache=False)
        llm.complete("Hello?")
    assert sorted(request.body["model"] for request in provider.requests) == ["gpt-4.1", "gpt-4.1", "gpt-4o-mini"]
    (rated,) = [row for row in rows(thrift) if row.request_type == "routing"]
    assert rated.cost_nano_usd > 0

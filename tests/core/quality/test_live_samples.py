"""`sample_live`: every answer is judged, and the amount is never exceeded by more than one answer."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from llmthrift_core import Thrift, Usage
from llmthrift_core.errors import JudgeError
from llmthrift_core.quality import Judgement, sample_live

PROMPTS = [(f"What is {number} + 1?", "sums") for number in range(20)]


def metered(thrift: Thrift, model: str, says: Any) -> Any:
    """A model that bills 1,000 tokens out: a cent with gpt-4o."""

    def ask(prompt: str) -> str:
        thrift.ledger.record(model, Usage(output_tokens=1_000))
        return str(says(prompt))

    return ask


def judge(question: str, answer: str) -> Judgement:
    number = int(question.split()[2])
    return Judgement(float(answer == str(number + 1)), "", "checker")


def right(prompt: str) -> int:
    return int(prompt.split()[2]) + 1


def test_answers_are_judged_metered_and_timed() -> None:
    with Thrift(":memory:") as thrift:
        models = {"small": metered(thrift, "gpt-4o-mini", lambda _: 1), "large": metered(thrift, "gpt-4o", right)}
        found = sample_live(thrift, PROMPTS[:3], models, judge, max_usd=1)
        assert [(each.prompt, each.model, each.quality, each.call_site) for each in found.examples] == [
            (prompt, model, float(model == "large" or place == 0), "sums")
            for place, (prompt, _) in enumerate(PROMPTS[:3])
            for model in ("small", "large")
        ]
        assert all(each.latency_seconds is not None and each.latency_seconds >= 0 for each in found.examples)
        assert found.spent_usd == 3 * (Decimal("0.01") + Decimal("0.0006"))
        assert {row.request_type for row in thrift.ledger.calls()} == {"evaluation"}
        assert (found.failed, found.stopped) == (0, None)


def test_it_stops_where_the_amount_is_spent_and_where_the_cost_is_not_known() -> None:
    with Thrift(":memory:") as thrift:
        models = {"large": metered(thrift, "gpt-4o", right)}
        found = sample_live(thrift, PROMPTS, models, judge, max_usd="0.035")
        assert len(found.examples) == 3
        assert found.spent_usd <= Decimal("0.035")
        assert found.stopped == "the amount of $0.035 is spent"
        again = sample_live(thrift, PROMPTS, models, judge, max_usd="0.035")
        assert len(again.examples) == 1  # the amount is one of the day; what an answer costs is learned from the first
        unmetered = sample_live(thrift, PROMPTS, {"free": str.upper}, lambda *_: Judgement(1.0, "", "x"), max_usd=1, name="other")
        assert not unmetered.examples
        assert "is not known" in str(unmetered.stopped)


def test_what_fails_leaves_its_prompt_out() -> None:
    with Thrift(":memory:") as thrift:

        def strict(question: str, answer: str) -> Judgement:
            if question == PROMPTS[1][0]:
                raise JudgeError("no verdict", kind="unreadable")
            return judge(question, answer)

        def says(prompt: str) -> int:
            if prompt == PROMPTS[2][0]:
                raise TimeoutError
            return right(prompt)

        found = sample_live(thrift, PROMPTS[:4], {"large": metered(thrift, "gpt-4o", says)}, strict, max_usd=1)
        assert [each.prompt for each in found.examples] == [PROMPTS[0][0], PROMPTS[3][0]]
        assert found.failed == 2

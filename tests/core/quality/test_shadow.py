"""A shadow evaluation says what is better and cheaper for certain, asks no more than it must, and spends no more than it may."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from typer.testing import CliRunner

from llmthrift_core import Thrift, Usage, attribute
from llmthrift_core.cli.app import app
from llmthrift_core.errors import ConfigurationError, JudgeError, StorageError
from llmthrift_core.quality import PairwiseJudge, Preference, ShadowEvaluation, shadow_sums
from llmthrift_core.quality.shadow_results import Bar, Compared
from llmthrift_core.quality.shadow_sums import kept_report
from llmthrift_core.settings import acting, is_observing
from tests.core.quality.conftest import ScriptedModel, part

CENT = Usage(output_tokens=1_000)  # of gpt-4o


@pytest.fixture
def thrift() -> Iterator[Thrift]:
    with Thrift(":memory:") as opened:
        yield opened


def configuration(thrift: Thrift, answer: str | Callable[[Any], str], model: str = "gpt-4o-mini") -> Callable[[Any], str]:
    """Bills a thousand tokens out: 0.06 cents with gpt-4o-mini, a cent with gpt-4o."""

    def ask(messages: Any) -> str:
        thrift.ledger.record(model, CENT)
        return answer if isinstance(answer, str) else answer(messages)

    return ask


def by_length(question: str, first: str, second: str) -> Preference:
    """The longer answer is better."""
    return Preference(float((len(first) > len(second)) - (len(first) < len(second))), True, "", "length")


def offer(shadow: ShadowEvaluation, count: int, answer: str = "present") -> int:
    taken = 0
    for number in range(count):
        taken += shadow.offer(f"Question {number}?", answer, messages=f"Question {number}?", usd=0.01)
        shadow.flush()
    return taken


def test_verdicts_counts_and_the_month(thrift: Thrift) -> None:
    worse = ("present" if number % 4 else "bad" for number in range(10_000))
    configurations = {
        "same and cheap": configuration(thrift, "present "),
        "worse and cheap": configuration(thrift, lambda _: next(worse)),
        "same and dear": configuration(thrift, "present", "gpt-4o"),
    }
    with ShadowEvaluation(thrift, configurations, by_length, sample=1, max_usd_per_day=100, seed=0, max_loss=0.1) as shadow:
        offer(shadow, 400)
        report = shadow.report()
        assert shadow.is_finished
        assert not shadow.offer("One more?", "present", messages="x", usd=0.01)
    assert {each.name: each.verdict for each in report.rows} == {
        "same and cheap": "switch on",
        "worse and cheap": "leave off",
        "same and dear": "leave off",
    }
    assert report.switch_on == ("same and cheap",)
    good, bad, dear = report.rows
    assert good.saving.estimate == pytest.approx(0.94)
    assert (good.better, good.worse, good.same) == (0, 0, good.judged)
    assert bad.quality_change.estimate == pytest.approx(-bad.worse / bad.judged)
    assert dear.judged < 60  # what is clear is asked no more
    assert good.monthly_usd is not None
    rate = float(report.present_usd) / report.seconds * 30 * 86_400
    assert good.monthly_usd.estimate == pytest.approx(0.94 * rate)
    assert "same and cheap" in str(report)
    assert "Limits hold together at 95.0%" in report._repr_html_()
    assert report.to_dicts()[0]["quality_change_low"] == good.quality_change.low


def test_the_judge_sees_no_names_and_no_order(thrift: Thrift) -> None:
    seen: list[tuple[str, str]] = []

    def first_wins(question: str, first: str, second: str) -> Preference:
        seen.append((first, second))
        return Preference(1.0, True, "", "biased")

    with ShadowEvaluation(thrift, {"secret": configuration(thrift, "other")}, first_wins, sample=1, max_usd_per_day=9, seed=3) as shadow:
        offer(shadow, 60)
        (row,) = shadow.report().rows
    assert {("other", "present"), ("present", "other")} == set(seen)
    assert abs(row.quality_change.estimate) < 0.4  # a judge that goes by the position prefers nobody
    assert row.verdict == "not clear yet"


def test_a_model_that_judges_is_metered_in_the_same_amount(thrift: Thrift) -> None:
    def reply(code: str, prompt: str) -> str:
        thrift.ledger.record("gpt-4o", CENT)
        return f"{code} {'A' if part(prompt, 'answer-A') == 'right' else 'B'}"

    model = ScriptedModel(reply)
    with ShadowEvaluation(
        thrift, {"new": configuration(thrift, "right")}, PairwiseJudge(model), sample=1, max_usd_per_day="0.05", seed=0
    ) as shadow:
        offer(shadow, 5)
        report = shadow.report()
    # Each comparison costs two cents and a little: two fit into five.
    assert (report.rows[0].better, report.rows[0].judged) == (2, 2)
    assert report.spent_usd == 2 * (Decimal("0.02") + Decimal("0.0006"))
    assert report.stopped == "the amount of the day is spent"
    assert all("new" not in prompt and "present" in prompt for prompt in model.prompts)


def test_what_fails_or_has_no_price_is_asked_no_more_and_the_others_are(thrift: Thrift) -> None:
    def broken(messages: Any) -> str:
        raise TimeoutError

    configurations = {"broken": broken, "free": lambda messages: "x", "good": configuration(thrift, "present")}
    with ShadowEvaluation(thrift, configurations, by_length, sample=1, max_usd_per_day=9) as shadow:
        offer(shadow, 8)
        rows = {each.name: each for each in shadow.report().rows}
        assert shadow.health()["failed"] == 6
    assert rows["broken"].note is not None
    assert "5 comparisons failed in a row; the last: the configuration failed with TimeoutError" in rows["broken"].note
    assert rows["free"].note is not None
    assert "what it costs is not known" in rows["free"].note
    assert (rows["free"].failed, rows["good"].judged) == (1, 8)


def test_a_judge_that_fails_is_no_judgement(thrift: Thrift) -> None:
    def failing(question: str, first: str, second: str) -> Preference:
        raise JudgeError("no", kind="unreadable")

    with ShadowEvaluation(thrift, {"new": configuration(thrift, "other")}, failing, sample=1, max_usd_per_day=9) as shadow:
        offer(shadow, 3)
        (row,) = shadow.report().rows
    assert (row.judged, row.failed, row.verdict) == (0, 3, "not clear yet")
    assert "unknown" in str(shadow.report())


def test_the_sample_what_is_left_out_and_its_own_calls(thrift: Thrift) -> None:
    with ShadowEvaluation(
        thrift, {"new": configuration(thrift, "present")}, by_length, sample=0.2, max_usd_per_day=9, seed=1, min_saving=-1
    ) as shadow:
        assert 5 <= offer(shadow, 100) <= 35
        assert not shadow.offer("Q", "A", messages="Q", usd=None)
        with attribute(request_type="evaluation"):
            assert not shadow.offer("Q", "A", messages="Q", usd=1)
        shadow.skip("they have tools or a schema")
        report = shadow.report()
    assert report.offered == 101
    assert report.skipped == {"their cost is not known": 1, "they have tools or a schema": 1}
    assert report.present_usd == 1


def test_configurations_act_in_observe_mode_and_nothing_else_does(thrift: Thrift) -> None:
    found: list[bool] = []

    def ask(messages: Any) -> str:
        found.append(is_observing())
        thrift.ledger.record("gpt-4o-mini", CENT)
        return "present"

    with mock.patch.dict(os.environ, {"LLMTHRIFT_OBSERVE": "1"}):
        with ShadowEvaluation(thrift, {"new": ask}, by_length, sample=1) as shadow:
            offer(shadow, 1)
        with acting():
            assert not is_observing()
        assert is_observing()
    assert found == [False]


@pytest.mark.parametrize(
    "options", [{"sample": 2}, {"max_loss": 0}, {"confidence": 1}, {"min_saving": "a"}, {"configurations": {}}, {"judge": None}]
)
def test_options_that_make_no_sense_are_refused(thrift: Thrift, options: dict[str, Any]) -> None:
    given: dict[str, Any] = {"configurations": {"new": str.upper}, "judge": by_length, **options}
    with pytest.raises(ConfigurationError):
        ShadowEvaluation(thrift, **given)


def test_looked_at_after_every_answer_a_harmful_configuration_is_hardly_ever_switched_on() -> None:
    """Answers get worse by exactly what is not allowed: switching on would be the error that the limits bound."""
    bar = Bar(min_saving=0.05, max_loss=0.1, alpha=0.05)
    wrong = 0
    for seed in range(60):
        chance = random.Random(seed)
        compared = Compared()
        for _ in range(400):
            compared.add(-1.0 if chance.random() < 0.2 else float(chance.random() < 0.125), 1.0, 0.3)
            if compared.verdict(bar) == "switch on":
                wrong += 1
                break
    assert wrong <= 3


# --- kept in the database ---


def _kept(thrift: Thrift, **options: Any) -> ShadowEvaluation:
    names = {"cheap": configuration(thrift, "present "), "dear": configuration(thrift, "present", "gpt-4o")}
    return ShadowEvaluation(thrift, names, by_length, sample=1, max_usd_per_day=100, seed=0, kept_as="of today", **options)


def test_processes_add_up_and_a_restart_goes_on(any_thrift: Thrift, any_url: str, clock: Any) -> None:
    with ExitStack() as open_now:
        other = any_thrift if any_url == ":memory:" else open_now.enter_context(Thrift(any_url, clock=clock))
        here, there = open_now.enter_context(_kept(any_thrift)), open_now.enter_context(_kept(other))
        offer(here, 12)
        clock.now += 3_600
        offer(there, 8)
        there.skip("it calls tools")
        for each in (there.report(), here.report()):
            assert (each.offered, each.sampled, each.seconds) == (20, 20, 3_600)
            assert [row.judged for row in each.rows] == [20, 20]
            assert each.skipped == {"it calls tools": 1}
            assert each.present_usd == Decimal("0.2")
        before = here.report()
    with _kept(any_thrift) as again:
        assert again.report() == before
        while not again.is_finished:
            offer(again, 20)
        kept = kept_report(any_thrift.database, "of today")
        assert kept == again.report()
        assert kept is not None
        assert kept.switch_on == ("cheap",)
    with _kept(any_thrift) as finished:  # what was clear is clear
        assert finished.is_finished
        assert not finished.offer("One more?", "present", messages="x", usd=0.01)
    assert kept_report(any_thrift.database, "of tomorrow") is None


def test_what_the_database_does_not_take_is_kept_until_it_does(thrift: Thrift) -> None:
    with _kept(thrift) as shadow:
        with mock.patch.object(shadow_sums, "add", side_effect=StorageError("the database is away")):
            offer(shadow, 3)
            assert [row.judged for row in shadow.report().rows] == [3, 3]
        assert thrift.health()["failures"]["shadow evaluation"] >= 3
        offer(shadow, 1)
        found = kept_report(thrift.database, "of today")
        assert found is not None
        assert [(row.name, row.judged) for row in found.rows] == [("cheap", 4), ("dear", 4)]
        assert found.offered == 4


def test_other_configurations_under_the_same_name_begin_anew(thrift: Thrift) -> None:
    with _kept(thrift) as shadow:
        offer(shadow, 5)
    names = {"cheap": configuration(thrift, "present "), "new": configuration(thrift, "present ")}
    with ShadowEvaluation(thrift, names, by_length, sample=1, max_usd_per_day=9, kept_as="of today") as other:
        assert {row.name: row.judged for row in other.report().rows} == {"cheap": 5, "new": 0}


@pytest.mark.parametrize("name", ["", 3, True])
def test_a_name_that_is_none_is_refused(thrift: Thrift, name: Any) -> None:
    with pytest.raises(ConfigurationError, match="kept_as"):
        ShadowEvaluation(thrift, {"a": configuration(thrift, "b")}, by_length, kept_as=name)


def test_the_command_line_tells_what_is_kept(tmp_path: Path) -> None:
    with Thrift(tmp_path / "one.db") as thrift, _kept(thrift) as shadow:
        offer(shadow, 5)
    run = CliRunner().invoke(app, ["quality", "shadow", "of today", "--url", str(tmp_path / "one.db")])
    assert run.exit_code == 0, run.output
    assert "0/5/0" in run.output
    assert "cheap" in run.output
    unknown = CliRunner().invoke(app, ["quality", "shadow", "other", "--url", str(tmp_path / "one.db")])
    assert (unknown.exit_code, unknown.output.strip()) == (1, "No shadow evaluation is kept as 'other'.")

"""The quality guard: what it concludes from the ledger, when it switches routing off, and how routing comes back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from llmthrift_core import Thrift, Usage
from llmthrift_core.attribution import attribute
from llmthrift_core.calls.request import Request, Response, RouteUse
from llmthrift_core.errors import ConfigurationError, JudgeError, StorageError
from llmthrift_core.quality import Judgement
from llmthrift_core.quality.routing_guard import QualityGuard
from llmthrift_core.routing import (
    AnswerContext,
    Bounded,
    Bounds,
    Cascade,
    CascadePolicy,
    RatedComplexity,
    RouteRequest,
    Tiers,
    ToolCall,
)
from tests.core.clock import Clock

USAGE = Usage(input_tokens=1000, output_tokens=200)
SAVED, WEAK_COST = Decimal("0.00423"), Decimal("0.00027")
"""gpt-4o at $2.50 and $10 a million would have cost $0.0045 for this usage, gpt-4o-mini costs $0.00027."""
TIERS = Tiers(("weak", "strong"))
MODELS = {"weak": ("gpt-4o-mini", "openai"), "strong": ("gpt-4o", "openai")}
DAY = 86_400
REFUSED, SOUND = "I'm sorry, but I cannot help with that.", "It is so."


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime(2026, 3, 11, 12, tzinfo=UTC).timestamp())


@pytest.fixture
def ledger(any_url: str, clock: Clock) -> Iterator[Thrift]:
    with Thrift(any_url, clock=clock) as opened:
        yield opened


class Judge:
    """Gives every answer the same quality, and remembers what it was asked."""

    name = "the judge"

    def __init__(self, quality: float) -> None:
        self.quality = quality
        self.asked: list[tuple[str, str]] = []

    def __call__(self, question: str, answer: str) -> Judgement:
        self.asked.append((question, answer))
        return Judgement(self.quality, "", "the judge")


def guarded(thrift: Thrift, judge: Any, **options: Any) -> QualityGuard:
    given = {"sample": 1, "usd_per_judgement": 0, "fewest_judged": 5, "fewest_routed": 5, "refresh_seconds": 3_600, **options}
    guard = QualityGuard(CascadePolicy(Cascade(["weak", "strong"])), thrift, judge, **given)
    guard.refresh()  # so that none comes in the background before a test moves the clock
    return guard


def answer(thrift: Thrift, guard: QualityGuard, text: str = SOUND, times: int = 1, **facts: Any) -> str:
    """Calls as a door makes them; the tier that answers the last one in the end."""
    for _ in range(times):
        request = RouteRequest("How is it?")
        call = thrift.begin(Request(route=RouteUse(guard, TIERS, request, MODELS, "strong")))
        context = AnswerContext(request_id=lambda call=call: call.request_id, **{name: lambda v=v: v for name, v in facts.items()})
        found = guard.review(request, str(call.tier), text, TIERS, context)
        if found is not None and found.next is not None:
            call.attempt("strong", "gpt-4o", "openai", reason="escalation", rejected=Response(usage=USAGE))
        call.finish(Response(usage=USAGE))
    assert guard.flush()
    return str(call.tier)


def test_good_answers_keep_routing_on_and_the_figures_are_exact(ledger: Thrift) -> None:
    guard = guarded(ledger, judge := Judge(0.95), usd_per_judgement="0.001")
    assert answer(ledger, guard, times=10) == "weak"
    report = guard.refresh()
    assert (report.is_on, report.figures.routed, report.figures.judged) == (True, 10, 10)
    assert report.figures.routing_saved_usd == 10 * SAVED
    assert report.figures.judging_usd == Decimal("0.010")
    assert report.figures.net_saving_usd == 10 * SAVED - Decimal("0.010")
    assert report.figures.quality.estimate == pytest.approx(0.95)
    assert judge.asked == [("How is it?", SOUND)] * 10
    assert guard.alerts() == []
    assert "net saving" in str(report)


def test_bad_answers_switch_routing_off_and_it_comes_back_when_they_are_old(ledger: Thrift, clock: Clock, caplog: Any) -> None:
    guard = guarded(ledger, judge := Judge(0.3), window_days=7, fewest_judged=20)
    answer(ledger, guard, times=19)
    assert guard.refresh().is_on  # too few to be certain
    answer(ledger, guard)
    report = guard.refresh()
    assert not report.is_on
    assert "20 judged answers have a quality of 0.30" in report.reason
    assert caplog.text.count("switches routing off") == 1
    (alert,) = ledger.health()["alerts"]
    assert "routing is off" in alert
    assert answer(ledger, guard) == "strong"
    assert guard.decide(RouteRequest("x"), TIERS.at_most("weak")).tier == "weak"  # the strongest that the caller allows
    assert len(judge.asked) == 20  # answers of the strongest tier are not judged
    clock.now += 6 * DAY
    assert not guard.refresh().is_on
    clock.now += 1.1 * DAY
    assert guard.refresh().is_on
    assert "on again" in caplog.text
    assert answer(ledger, guard) == "weak"
    assert ledger.health()["alerts"] == []


def test_decisions_renew_the_snapshot_in_the_background(ledger: Thrift, clock: Clock) -> None:
    guard = guarded(ledger, Judge(0.1), refresh_seconds=300, fewest_judged=20)
    answer(ledger, guard, times=20)
    assert guard.decide(RouteRequest("x"), TIERS).tier == "weak"  # the snapshot is of the first decision
    clock.now += 301
    guard.decide(RouteRequest("x"), TIERS)
    assert guard.flush()
    decision = guard.decide(RouteRequest("x"), TIERS)
    assert decision.tier == "strong"
    assert "routing is off" in decision.reason


def test_a_clock_that_is_set_back_does_not_blind_the_guard(ledger: Thrift, clock: Clock) -> None:
    guard = guarded(ledger, Judge(0.1), refresh_seconds=300, fewest_judged=20)
    clock.now -= 3 * DAY
    guard.decide(RouteRequest("x"), TIERS)
    assert guard.flush()
    answer(ledger, guard, times=20)
    clock.now += 301
    guard.decide(RouteRequest("x"), TIERS)
    assert guard.flush()
    assert guard.decide(RouteRequest("x"), TIERS).tier == "strong"


def test_quality_that_may_be_chance_keeps_routing_on(ledger: Thrift) -> None:
    class Mixed(Judge):
        def __call__(self, question: str, answer: str) -> Judgement:
            super().__call__(question, answer)
            return Judgement(float(len(self.asked) % 5 > 0), "", "the judge")

    guard = guarded(ledger, Mixed(0))
    answer(ledger, guard, times=20)  # four in five are good: below 0.85, and not certainly so
    report = guard.refresh()
    assert report.figures.quality.estimate == pytest.approx(0.8)
    assert report.figures.quality.low < 0.85 < report.figures.quality.high
    assert report.is_on


def test_rejected_answers_that_cost_more_than_routing_saves_switch_it_off(ledger: Thrift) -> None:
    guard = guarded(ledger, Judge(0.95))
    answer(ledger, guard, REFUSED, times=9)
    figures = guard.refresh().figures
    assert (figures.routed, figures.routing_saved_usd) == (18, -9 * WEAK_COST)
    assert not guard.report().is_on
    assert "over 18 attempts" in guard.report().reason


def test_judging_that_costs_more_than_routing_saves_switches_it_off(ledger: Thrift) -> None:
    guard = guarded(ledger, Judge(0.95), usd_per_judgement="0.01")
    answer(ledger, guard, times=6)
    assert guard.refresh().figures.net_saving_usd == 6 * SAVED - 6 * Decimal("0.01")
    assert not guard.report().is_on
    assert guard.report().figures.quality.estimate == pytest.approx(0.95)


def test_checks_that_ask_models_are_part_of_the_cost(ledger: Thrift) -> None:
    guard = guarded(ledger, Judge(0.95))
    answer(ledger, guard, times=3)
    with attribute(config_version=guard.version, request_type="evaluation"):
        ledger.ledger.record("gpt-4o", USAGE, config_version=guard.version, request_type="evaluation")
    ledger.ledger.record("gpt-4o", USAGE, config_version="another policy", request_type="evaluation")
    assert guard.refresh().figures.checks_usd == Decimal("0.0045")


def test_the_daily_amount_bounds_what_is_judged(ledger: Thrift) -> None:
    guard = guarded(ledger, judge := Judge(0.3), max_usd_per_day="0.02", usd_per_judgement="0.01")
    answer(ledger, guard, times=8)
    assert len(judge.asked) == 2
    report = guard.refresh()
    assert (report.figures.judged, report.unjudged) == (2, "the amount for judging is spent for today")


def test_a_judge_of_unknown_cost_is_named(ledger: Thrift) -> None:
    guard = guarded(ledger, Judge(0.3), usd_per_judgement=None)
    answer(ledger, guard, times=8)
    report = guard.refresh()
    assert report.figures.judged == 1
    assert "what a judgement costs is not known" in str(report)


def test_judgements_of_others_say_nothing_of_the_guard(ledger: Thrift) -> None:
    guard = guarded(ledger, lambda question, answer: None)
    other = guarded(ledger, Judge(0.1), name="other", fewest_judged=1_000)
    answer(ledger, other, times=10)
    for row in ledger.ledger.calls():
        ledger.feedback(row.request_id, quality=0.0, source="judge:somebody")
    assert guard.refresh().figures.judged == 0
    assert other.refresh().figures.judged == 10


def test_a_new_process_comes_to_the_same_conclusion(ledger: Thrift) -> None:
    answer(ledger, guarded(ledger, Judge(0.2)), times=20)
    assert not guarded(ledger, Judge(0.2)).refresh().is_on


def test_tool_calls_and_answers_of_unknown_calls_are_not_judged(ledger: Thrift) -> None:
    guard = guarded(ledger, judge := Judge(0.2))
    answer(ledger, guard, tool_calls=(ToolCall("look", {}),))
    guard.review(RouteRequest("x"), "weak", SOUND, TIERS)
    guard.review(RouteRequest("x"), "weak", SOUND, TIERS, {})
    assert guard.flush()
    assert judge.asked == []


def test_judges_that_fail_change_nothing(ledger: Thrift) -> None:
    def fails(question: str, answer: str) -> float:
        raise JudgeError("down", kind="failed")

    guard = guarded(ledger, fails)
    assert answer(ledger, guard, times=8) == "weak"
    assert guard.refresh().is_on


def test_a_ledger_that_cannot_be_read_leaves_routing_as_it_is(ledger: Thrift, monkeypatch: pytest.MonkeyPatch) -> None:
    guard = guarded(ledger, Judge(0.9))

    def fails() -> None:
        raise StorageError("gone")

    monkeypatch.setattr(type(ledger.database), "read", lambda self: fails())
    assert guard.refresh().is_on
    assert ledger.health()["failures"] == {"quality guard": 1}


def test_it_is_what_the_inner_policy_is(ledger: Thrift) -> None:
    assert guarded(ledger, Judge(1)).holds_streams
    asked = RatedComplexity(lambda prompt: "1")
    guard = QualityGuard(Bounded(asked, Bounds({})), ledger, Judge(1), name="second")
    assert guard.waits
    assert not guard.holds_streams
    assert guard.allowed(RouteRequest("x"), TIERS).names == TIERS.names
    assert guard.version != guard.policy.version


@pytest.mark.parametrize(
    "options",
    [
        {"min_quality": 0},
        {"min_quality": "high"},
        {"sample": 2},
        {"window_days": 0},
        {"confidence": 1},
        {"fewest_judged": 1},
        {"fewest_routed": 0},
        {"refresh_seconds": -1},
        {"name": "a/b"},
        {"judge": "gpt-4o"},
    ],
)
def test_what_makes_no_sense_is_refused(ledger: Thrift, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        guarded(ledger, **{"judge": Judge(1), **options})

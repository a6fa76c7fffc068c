"""What follows from evidence, with figures that can be checked by hand."""

from __future__ import annotations

import math
import random

import pytest

from llmthrift_core.autopilot import AutopilotRules, verdicts
from llmthrift_core.autopilot.traffic import Slice
from llmthrift_core.autopilot.verdicts import expected_units, margin_left, of_canary, of_version
from llmthrift_core.quality.experiment_results import ArmSums
from llmthrift_core.statistics import Interval, RatioSums

RULES = AutopilotRules(min_quality=0.95)


def _arm(rng: random.Random, units: int, cost: float, quality: float, *, judged: bool = True) -> ArmSums:
    sums = ArmSums(requests=units)
    for _ in range(units):
        sums.cost.add(1, cost * rng.lognormvariate(0, 0.3))
        if judged:
            sums.quality.add(1, min(1.0, max(0.0, rng.gauss(quality, 0.1))))
    return sums


@pytest.mark.parametrize(
    ("cost", "quality", "units", "days", "what", "why"),
    [
        (0.5, 0.9, 2_000, 5, "keep", "it saves more than 2.0%"),
        (0.5, 0.7, 2_000, 5, "give up", "it loses more quality than the 0.045 that it may"),
        (1.5, 0.9, 2_000, 5, "give up", "it does not save 2.0%"),
        (0.5, 0.9, 2_000, 1, "wait", "1 of 2 days with calls"),
        (0.5, 0.86, 200, 5, "wait", "nothing is certain yet"),
        (0.5, 0.86, 200, 28, "give up", "still undecided after 28 days with calls"),
        (0.5, 0.9, 20, 5, "wait", "only 20 answers of the canary"),
    ],
)
def test_a_canary(cost: float, quality: float, units: int, days: int, what: str, why: str) -> None:
    rng = random.Random(3)
    canary, control = _arm(rng, units, cost, quality), _arm(rng, 4 * units, 1.0, 0.9)
    found = of_canary(canary, control, margin=0.045, days=days, rules=RULES)
    assert (found.what, found.why.startswith(why)) == (what, True), found.why


def test_calls_without_a_price_are_waited_for() -> None:
    rng = random.Random(3)
    canary, control = _arm(rng, 100, 1.0, 0.9), _arm(rng, 100, 1.0, 0.9)
    canary.unpriced = 7
    assert of_canary(canary, control, margin=0.045, days=5, rules=RULES).why.startswith("7 calls have no price")


def test_a_change_that_loses_more_than_it_may_is_rarely_kept_however_often_it_is_looked_at() -> None:
    kept, rules = 0, AutopilotRules(min_quality=0.98, alpha=0.1)
    for seed in range(60):
        rng = random.Random(seed)
        canary, control = ArmSums(), ArmSums()
        for day in range(1, 25):
            for arm, units, quality in ((canary, 15, 0.88), (control, 45, 0.9)):  # exactly what it may lose
                for _ in range(units):
                    arm.requests += 1
                    arm.cost.add(1, (0.5 if arm is canary else 1.0) * rng.lognormvariate(0, 0.3))
                    arm.quality.add(1, rng.gauss(quality, 0.05))
            verdict = of_canary(canary, control, margin=0.02, days=day, rules=rules).what
            if verdict != "wait":
                kept += verdict == "keep"
                break
    assert kept <= 6  # half of alpha is 5%: 3 are to be expected at most


def _by_question(rng: random.Random, weights: list[float], popular: int) -> tuple[ArmSums, ArmSums]:
    """A tenth of the questions with a change that makes answers to the most popular ones worse by 0.2, and the others without it."""
    canary, control = ArmSums(), ArmSums()
    for number, weight in enumerate(weights):
        calls = round(weight)
        arm = canary if rng.random() < 0.1 else control
        arm.requests += calls
        arm.cost.add(calls, 0.001 * calls)
        worse = 0.2 if arm is canary and number < popular else 0.0
        arm.quality.add(calls, calls * rng.gauss(0.9 - worse, 0.02))
    return canary, control


def test_a_canary_without_the_popular_questions_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, saving = [8_000 / (number + 1) for number in range(1_500)], Interval(0.2, 0.1, 0.3)
    arms = [_by_question(random.Random(seed), weights, 8) for seed in range(30)]  # 8 questions with a third of the calls: a loss of 0.07

    def kept() -> int:
        return sum(of_canary(*each, margin=0.02, days=5, rules=RULES, replayed=saving).what == "keep" for each in arms)

    assert kept() == 0
    found = [of_canary(*each, margin=0.02, days=5, rules=RULES, unit="question", replayed=saving) for each in arms]
    assert any(each.why.startswith("a few questions make most calls: the canary's weigh as ") for each in found)
    assert any(min(arm.quality.effective_units for arm in each) >= 30 for each in arms)  # its own weights do not show what it lacks
    monkeypatch.setattr(verdicts, "expected_units", lambda canary, control: 1_000.0)
    assert kept() >= 5  # what is guarded against is there


def test_many_questions_of_about_equal_weight_are_enough() -> None:
    rng = random.Random(5)
    arms = _by_question(rng, [rng.lognormvariate(3, 0.7) for _ in range(1_500)], 0)
    assert expected_units(*arms) == pytest.approx(150 / math.exp(0.7**2), rel=0.2)
    assert of_canary(*arms, margin=0.02, days=5, rules=RULES, replayed=Interval(0.2, 0.1, 0.3)).what == "keep"
    assert expected_units(ArmSums(), ArmSums()) == 0


def _slices(rng: random.Random, qualities: list[float], units: int = 60) -> list[Slice]:
    found = []
    for number, quality in enumerate(qualities):
        sums = RatioSums()
        for _ in range(units):
            sums.add(1, min(1.0, max(0.0, rng.gauss(quality, 0.1))))
        found.append(Slice(number, sums))
    return found


def test_a_version_that_keeps_its_promise_stays_and_one_that_breaks_it_goes_soon() -> None:
    rng = random.Random(4)
    good = _slices(rng, [0.9] * 28)
    assert not any(of_version(good[: number + 1], promise=0.88)[0] for number in range(28))
    broken = good[:24] + _slices(rng, [0.8] * 4)
    looks = [of_version(broken[: number + 1], promise=0.88)[0] for number in range(28)]
    assert looks.index(True) in (24, 25)  # within half a day, after six good ones
    assert of_version(broken, promise=0.88)[1].endswith("promised are 0.880")
    assert of_version([], promise=0.88) == (False, "")


def test_what_may_be_lost_is_of_the_quality_before_the_first_change() -> None:
    assert margin_left(0.9, 0.0, 0.98) == pytest.approx(0.018)
    assert margin_left(0.89, 0.01, 0.98) == pytest.approx(0.008)
    assert margin_left(0.88, 0.02, 0.98) < 0

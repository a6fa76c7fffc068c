"""The last judged answers of a model: their mean, how much they are worth, and when it changed."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmthrift_core.routing.adaptive.evidence import (
    MOST_ANSWERS,
    Evidence,
    JudgedAnswer,
    ModelScore,
)

HOUR = 3_600_000_000


def told(evidence: Evidence, qualities: list[float], *, start: int = 0, every_us: int = HOUR) -> Evidence:
    for place, quality in enumerate(qualities):
        evidence.put(start + place, JudgedAnswer((start + place) * every_us, quality, 0.01, 100, 10))
    return evidence


def drawn(chance: random.Random, share: float, count: int) -> list[float]:
    return [float(chance.random() < share) for _ in range(count)]


def quality(evidence: Evidence, half_life_us: float = 1e18) -> float:
    found = evidence.score(half_life_us)
    assert found is not None
    return found[0].quality


def test_a_half_life_weighs_answers_and_says_how_fresh_they_are() -> None:
    found = told(Evidence(), [0.0, 1.0]).score(HOUR)
    assert found is not None
    score, as_of_us = found
    assert as_of_us == HOUR
    assert score.quality == pytest.approx(1 / 1.5)  # weights 1/2 and 1
    assert score.judged == pytest.approx(1.5**2 / 1.25)  # Kish
    assert score.fresh == pytest.approx(1.5)
    assert (score.cost_usd, score.input_tokens, score.output_tokens) == pytest.approx((0.01, 100, 10))


def test_an_answer_that_a_cache_gave_says_nothing_of_costs() -> None:
    evidence = Evidence()
    evidence.put(1, JudgedAnswer(0, 1.0, None, 0, 0))
    found = evidence.score(HOUR)
    assert found is not None
    assert found[0].cost_usd is None
    evidence.put(2, JudgedAnswer(0, 1.0, 0.02, 50, 5))
    found = evidence.score(HOUR)
    assert found is not None
    assert (found[0].cost_usd, found[0].input_tokens) == (0.02, 50)


def test_a_corrected_judgement_replaces_the_earlier_one() -> None:
    evidence = told(Evidence(), [1.0] * 4)
    evidence.put(3, JudgedAnswer(3 * HOUR, 0.0))
    assert quality(evidence) == pytest.approx(0.75)


@pytest.mark.parametrize(("before", "after", "most"), [(0.95, 0.5, 50), (0.5, 0.95, 50), (0.95, 0.75, 200)])
def test_a_change_is_found_and_what_was_before_is_forgotten(before: float, after: float, most: int) -> None:
    for seed in range(10):
        chance = random.Random(seed)
        evidence = told(Evidence(), drawn(chance, before, 300))
        evidence.settle()
        for step in range(0, most, 5):
            told(evidence, drawn(chance, after, 5), start=300 + step)
            if evidence.settle():
                break
        else:
            pytest.fail(f"seed {seed}: no change found within {most} answers")
        assert abs(quality(evidence) - after) < abs(quality(evidence) - before)


def test_what_was_forgotten_does_not_come_back_with_a_late_judgement() -> None:
    evidence = told(Evidence(), [1.0] * 100 + [0.0] * 30)
    assert evidence.settle()
    evidence.put(7, JudgedAnswer(7 * HOUR, 1.0))
    assert quality(evidence) < 0.2


def test_changes_by_chance_are_rare() -> None:
    found = 0
    for seed in range(20):
        chance, evidence = random.Random(seed), Evidence()
        for step in range(0, 1_000, 10):
            told(evidence, drawn(chance, 0.85, 10), start=step)
            found += evidence.settle()
    assert found <= 8  # in 2,000 looks


def test_the_last_answers_are_kept_and_no_more() -> None:
    evidence = told(Evidence(), [1.0] * (MOST_ANSWERS + 300))
    evidence.settle()
    found = evidence.score(1e18)
    assert found is not None
    assert found[0].judged == pytest.approx(MOST_ANSWERS)


def test_a_site_with_few_answers_borrows_the_missing_ones() -> None:
    site, every = ModelScore(0.2, 5.0, 5.0, 0.1, 1, 1), ModelScore(0.8, 400.0, 300.0, 0.2, 2, 2)
    filled = site.filled(every, 20.0)
    assert (filled.quality, filled.judged) == (pytest.approx((0.2 * 5 + 0.8 * 15) / 20), 20.0)
    assert (filled.cost_usd, filled.fresh) == (0.1, 5.0)
    assert every.filled(site, 20.0) is every
    assert site.filled(ModelScore(0.8, 5.0, 5.0, 0.1, 1, 1), 20.0) is site


@given(st.lists(st.tuples(st.integers(0, 10**15), st.floats(0, 1)), min_size=1, max_size=80), st.floats(1e6, 1e15))
def test_scores_are_always_figures_that_can_be_true(answers: list[tuple[int, float]], half_life_us: float) -> None:
    evidence = Evidence()
    for number, (at_us, value) in enumerate(answers):
        evidence.put(number, JudgedAnswer(at_us, value))
    evidence.settle()
    found = evidence.score(half_life_us)
    assert found is not None
    score = found[0]
    assert -1e-9 <= score.quality <= 1 + 1e-9
    assert 0 < score.judged <= len(answers) + 1e-6
    assert score.cost_usd is None
    assert 0 <= score.at_least(1.0) <= score.at_most(2.0) <= 1
    assert math.isfinite(score.fresh)

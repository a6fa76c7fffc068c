"""Thresholds keep their promise with a margin, and cheaper prices never take calls away from a model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmthrift_core.routing.learned.calibration import (
    MARGIN,
    chosen,
    surplus,
    threshold_for,
    weight_for,
)


def test_surplus_of_complete_labels_is_the_mean_difference() -> None:
    observed = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    found = surplus(np.full((4, 2), 0.3), observed, np.array([0, 1, 0, 1]), 1, 0.5)
    differences = np.array([0.5, 0.5, 1.0, 0.5])
    assert found.mean == pytest.approx(differences.mean())
    assert found.standard_error == pytest.approx(differences.std() / 2)
    assert found.lower == pytest.approx(found.mean - MARGIN * found.standard_error)


def test_surplus_fills_what_is_missing_with_corrected_predictions() -> None:
    chance = np.random.default_rng(0)
    truth = (chance.random((20_000, 2)) < [0.6, 0.8]).astype(float)
    observed = np.where(chance.random(truth.shape) < 0.5, truth, np.nan)
    found = surplus(np.full(truth.shape, 0.1), observed, np.zeros(20_000, dtype=int), 1, 1.0)
    assert found.mean == pytest.approx((truth[:, 0] - truth[:, 1]).mean(), abs=4 * found.standard_error)
    assert found.standard_error < 0.02


def test_a_choice_without_labels_is_never_fine() -> None:
    assert surplus(np.zeros((3, 2)), np.array([[np.nan, 1.0]] * 3), np.zeros(3, dtype=int), 1, 0.5).lower == -np.inf


def test_the_weight_is_the_cheapest_that_keeps_the_promise() -> None:
    chance = np.random.default_rng(1)
    difficulty = chance.random(4_000)
    predicted = np.stack([1 - difficulty, np.full(4_000, 0.95)], axis=1)
    observed = (chance.random(predicted.shape) < predicted).astype(float)
    cost = np.array([[0.05, 1.0]] * 4_000)
    spent = []
    for promise in (0.8, 0.9, 0.98):
        weight = weight_for(predicted, observed, cost, 1, promise)
        assert weight is not None
        choice = chosen(predicted, cost, weight)
        rows = np.arange(4_000)
        assert observed[rows, choice].mean() >= promise * observed[:, 1].mean()
        spent.append(cost[rows, choice].mean())
    assert spent == sorted(spent)


def test_no_weight_where_nothing_keeps_the_promise() -> None:
    observed = np.array([[0.0, 1.0], [1.0, 1.0]] * 10)
    assert weight_for(np.array([[1.0, 0.0]] * 20), observed, np.array([[0.1, 1.0]] * 20), 1, 0.98) is None


@settings(max_examples=100)
@given(
    quality=st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=20),
    cost=st.lists(st.floats(0, 10), min_size=3, max_size=3),
    model=st.integers(0, 2),
    share=st.floats(0, 1),
    weight=st.floats(0, 10),
)
def test_a_cheaper_model_is_never_chosen_less(
    quality: list[list[float]], cost: list[float], model: int, share: float, weight: float
) -> None:
    expected, usd = np.array(quality), np.array([cost] * len(quality))
    cheaper = usd.copy()
    cheaper[:, model] *= share
    before = chosen(expected, usd, weight) == model
    assert (chosen(expected, cheaper, weight) == model)[before].all()


def test_the_threshold_keeps_what_may_be_kept() -> None:
    probability = np.concatenate([np.full(160, 1.0), np.full(240, 0.1)])
    kept = np.concatenate([np.ones(160), np.zeros(216), np.ones(24)])
    assert threshold_for(probability, kept, np.ones(400), 0.98) == 1.0
    assert threshold_for(probability, kept, np.zeros(400), 0.98) == 0.1
    assert threshold_for(probability, np.zeros(400), np.ones(400), 1.0) == np.inf


@pytest.mark.parametrize("promise", [0.95, 0.98])
def test_the_threshold_keeps_its_promise_in_most_samples(promise: float) -> None:
    chance = np.random.default_rng(2)
    true_quality = []
    for _ in range(200):
        good = chance.beta(4, 2, size=250)
        kept, escalated = (chance.random((2, 250)) < [good, np.full(250, 0.9)]).astype(float)
        threshold = threshold_for(good, kept, escalated, promise)
        everything = np.random.default_rng(3).beta(4, 2, size=20_000)
        true_quality.append(np.where(everything >= threshold, everything, 0.9).mean() / 0.9)
    assert np.mean(np.array(true_quality) >= promise) >= 0.9


def test_probabilities_that_promise_too_much_are_not_believed() -> None:
    chance = np.random.default_rng(4)
    claimed = np.linspace(1.0, 0.8, 400)
    kept = (chance.random(400) < 0.4).astype(float)
    assert threshold_for(claimed, kept, np.full(400, 0.9), 0.95) > 0.98


def test_equal_scores_are_kept_or_escalated_together() -> None:
    kept = np.array([1.0] * 60 + [0.0] * 40)
    assert threshold_for(np.full(100, 0.6), kept, np.ones(100), 0.9) == np.inf
    assert threshold_for(np.full(100, 0.6), kept, np.ones(100), 0.5) == 0.6

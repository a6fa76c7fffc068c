"""Forests are scikit-learn's, and confidence knows what asking the next model is worth."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesRegressor

from llmthrift_core.routing.cascades.confidence import Confidence, Forest, QualityEstimate


@pytest.mark.parametrize("rows", [3, 60, 500])
def test_a_forest_tells_what_scikit_learn_tells(rows: int) -> None:
    chance = np.random.default_rng(rows)
    measures = chance.normal(size=(rows, 7))
    quality = np.clip(measures[:, 0] * measures[:, 1] + chance.normal(size=rows), 0, 1)
    order = np.random.default_rng(4).permutation(rows)
    theirs = ExtraTreesRegressor(100, min_samples_leaf=3, max_features=0.3, random_state=4).fit(measures[order], quality[order])
    forest = Forest.fitted(measures, quality, seed=4)
    asked = chance.normal(size=(50, 7))
    assert forest(asked) == pytest.approx(theirs.predict(asked))
    assert (Forest.restored(forest.state)(asked) == forest(asked)).all()


def test_an_estimate_sees_what_a_line_cannot() -> None:
    chance = np.random.default_rng(1)
    measures = chance.uniform(-1, 1, size=(600, 4))
    good = ((measures[:, 0] > 0) == (measures[:, 1] > 0)).astype(float)  # exclusive or: no line tells these apart
    estimate, unseen = QualityEstimate.fitted(measures, good, seed=0)
    assert unseen[good == 1].mean() - unseen[good == 0].mean() > 0.5
    assert estimate(np.array([0.6, 0.6, 0.0, 0.0])) > 0.8
    assert estimate(np.array([0.6, -0.6, 0.0, 0.0])) < 0.2


def test_where_no_model_does_well_an_answer_is_kept_rather_than_asked_for_again() -> None:
    chance = np.random.default_rng(2)
    impossible = chance.random(500) < 0.3
    measures = np.column_stack([impossible, chance.normal(size=500)]).astype(float)
    good = np.where(impossible, 0.1, 0.6) > chance.random(500)
    escalated = np.where(impossible, 0.1, 0.95) > chance.random(500)
    confidence, unseen = Confidence.fitted(measures, good.astype(float), escalated.astype(float), seed=0)
    assert unseen[impossible].mean() > unseen[~impossible].mean() + 0.1
    assert confidence(np.array([1.0, 0.0])) > confidence(np.array([0.0, 0.0]))
    assert unseen.mean() == pytest.approx(good.mean(), abs=0.05)


@pytest.mark.parametrize("known", [0, 10, 400])
def test_the_last_model_may_lack_labels(known: int) -> None:
    chance = np.random.default_rng(3)
    measures = chance.normal(size=(400, 3))
    good = (measures[:, 0] > 0).astype(float)
    escalated = np.where(np.arange(400) < known, (chance.random(400) < 0.8).astype(float), np.nan)
    confidence, unseen = Confidence.fitted(measures, good, escalated, seed=0)
    assert np.isfinite(unseen).all()
    assert (confidence.escalated is None) == (known < 400)
    assert confidence(np.array([2.0, 0.0, 0.0])) > 0.8 > 0.2 > confidence(np.array([-2.0, 0.0, 0.0]))
    assert Confidence.restored(confidence.state)(measures[0]) == confidence(measures[0])

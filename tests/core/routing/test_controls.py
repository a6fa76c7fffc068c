"""The controls, with figures derived by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from llmthrift_core.routing.simulation.controls import apgr, control_scores, site_means, split, spread

QUALITY = np.array([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [0.0, 1.0]])


def test_the_area_under_the_recovered_gap():
    # Of two prompts the first alone gains: found first, the gap is recovered after half of the calls: 0, 1, 1; last: 0, 0, 1.
    quality = QUALITY[:2]
    assert apgr(np.array([2.0, 1.0]), quality) == 0.75
    assert apgr(np.array([1.0, 2.0]), quality) == 0.25
    assert math.isnan(apgr(np.array([1.0, 2.0]), QUALITY[1:3]))


def test_call_sites_are_drawn_to_the_mean_by_ten_labels():
    learn, judge = np.array([0, 1, 2]), np.array([3])
    overall = np.array([1 / 3, 2 / 3])
    known = site_means(["a", "b", "b", "a"], QUALITY, learn, judge)
    assert known == pytest.approx(((QUALITY[0] + 10 * overall) / 11)[None])
    assert site_means(["a", None, "b", "c"], QUALITY, learn, judge) == pytest.approx(overall[None])


def test_controls_rank_by_what_they_are_named_after():
    found = control_scores(["xx", "x", "xxxx", "xxx"], ["a", "b", "b", "a"], QUALITY, np.array([0, 1]), np.array([2, 3]), seed=3)
    assert list(found["length (longest to strong)"]) == [4, 3]
    assert list(found["shortest to strong"]) == [-4, -3]
    assert list(found["oracle"]) == [0, 1]
    assert found["call-site table"][1] > found["call-site table"][0]
    assert "call-site table" not in control_scores(["x", "y"], None, QUALITY[:2], np.array([0]), np.array([1]), seed=0)


def test_a_split_is_whole_and_follows_its_seed():
    learn, judge = split(10, 4, seed=1)
    assert (len(learn), len(judge)) == (4, 6)
    assert sorted([*learn, *judge]) == list(range(10))
    assert list(split(10, 4, seed=1)[0]) == list(learn)
    assert list(split(10, 4, seed=2)[0]) != list(learn)


def test_splits_are_not_independent_samples():
    assert spread([0.0, 2.0]) == pytest.approx(1.96 * math.sqrt(2))
    assert math.isnan(spread([1.0]))

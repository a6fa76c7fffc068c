"""Formulas against published figures, and intervals against simulations."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmthrift_core.statistics import (
    RatioSums,
    exponential_mean,
    quality_difference,
    quality_interval,
    ratio_interval,
    relative_saving,
    t_quantile,
    units_for_tail,
    units_needed,
)


def sums(values: list[float]) -> RatioSums:
    found = RatioSums()
    for value in values:
        found.add(1, value)
    return found


# Student's table, as in every textbook.
@pytest.mark.parametrize(
    ("p", "dof", "expected"),
    [(0.975, 3, 3.182), (0.975, 5, 2.571), (0.975, 30, 2.042), (0.95, 10, 1.812), (0.995, 10, 3.169), (0.975, math.inf, 1.960)],
)
def test_students_t(p: float, dof: float, expected: float) -> None:
    assert t_quantile(p, dof) == pytest.approx(expected, rel=0.002)


def test_without_degrees_of_freedom_nothing_is_known() -> None:
    assert math.isinf(t_quantile(0.975, 0))
    assert math.isinf(ratio_interval(sums([1.0]), 0.95).high)


def test_the_interval_of_a_mean_is_students() -> None:
    # Of 1..10 the mean is 5.5, the standard deviation 3.02765, t(0.975, 9) = 2.262157: 5.5 -+ 2.165852.
    interval = ratio_interval(sums([float(value) for value in range(1, 11)]), 0.95)
    assert (interval.estimate, interval.low, interval.high) == pytest.approx((5.5, 3.334149, 7.665851), abs=2e-4)


def test_the_degrees_of_freedom_are_welchs() -> None:
    # scipy.stats.ttest_ind([.2, .4, .9], [.1, .2, .2, .8], equal_var=False): difference 0.175, 95% limits -0.546645 and 0.896645 (4.1073).
    a, b = sums([0.2, 0.4, 0.9]), sums([0.1, 0.2, 0.2, 0.8])
    half = t_quantile(0.975, 4.107254) * math.sqrt(a.variance + b.variance)
    assert (0.175 - half, 0.175 + half) == pytest.approx((-0.546645, 0.896645), abs=5e-4)


def test_one_share_has_the_limits_of_agresti_and_coull() -> None:
    # 81 of 90 right: with two of each added 83/94, standard error sqrt(p(1-p)/93), t(0.975, 93) = 1.985802.
    interval = quality_interval(sums([1.0] * 81 + [0.0] * 9), 0.95)
    p = 83 / 94
    half = 1.985802 * math.sqrt(p * (1 - p) / 93)
    assert interval.estimate == 0.9
    assert (interval.low, interval.high) == pytest.approx((p - half, p + half), abs=1e-5)


def test_a_difference_of_shares_has_the_limits_of_agresti_and_caffo() -> None:
    # 56 of 70 against 48 of 80 (Newcombe 1998, table II, example a; his method 10: 0.0524 to 0.3339). With one of each added:
    # 57/72 - 49/82 = 0.194105, variances p(1-p)/(n-1), about 150 degrees of freedom.
    found = quality_difference(sums([1.0] * 56 + [0.0] * 14), sums([1.0] * 48 + [0.0] * 32), 0.95)
    assert found.estimate == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=0.005)


def test_a_few_equal_scores_are_not_certainty() -> None:
    for count in (1, 5, 34):
        interval = quality_interval(sums([1.0] * count), 0.95)
        assert interval.estimate == interval.high == 1.0
        assert interval.low < 0.9
        difference = quality_difference(sums([1.0] * count), sums([1.0] * count), 0.95)
        assert difference.low < -0.02
        assert difference.high > 0.02


def test_nothing_judged_says_nothing() -> None:
    empty = quality_interval(RatioSums(), 0.95)
    assert (math.isnan(empty.estimate), empty.low, empty.high) == (True, 0.0, 1.0)
    assert math.isnan(quality_difference(sums([1.0]), RatioSums(), 0.95).estimate)
    assert math.isnan(relative_saving(RatioSums(), sums([1.0, 2.0]), 0.95).estimate)


def test_requests_of_one_unit_are_not_independent() -> None:
    # Twenty users with ten equal requests each say as much as twenty requests.
    random.seed(1)
    scores = [random.random() for _ in range(20)]
    by_user, by_request = RatioSums(), RatioSums()
    for score in scores:
        by_user.add(10, 10 * score)
        for _ in range(10):
            by_request.add(1, score)
    assert by_user.ratio == pytest.approx(by_request.ratio) == pytest.approx(sum(scores) / 20)
    assert by_user.variance == pytest.approx(sums(scores).variance)
    assert by_user.variance > 9 * by_request.variance


@pytest.mark.parametrize("sigma", [0.5, 1.0])
def test_savings_of_heavy_tailed_costs_are_covered(sigma: float) -> None:
    random.seed(7)
    trials, covered, false = 400, 0, 0
    for _ in range(trials):
        control = sums([random.lognormvariate(0, sigma) for _ in range(200)])
        candidate = sums([0.9 * random.lognormvariate(0, sigma) for _ in range(200)])
        saving = relative_saving(candidate, control, 0.95)
        covered += saving.low <= 0.1 <= saving.high
        false += saving.low > 0.1
    # Of 400 trials 380 are to be expected; four standard deviations are 17.
    assert covered >= 380 - 17
    assert false <= 10 + 13


def test_differences_of_qualities_are_covered() -> None:
    random.seed(8)
    covered = 0
    for _ in range(400):
        a = sums([float(random.random() < 0.95) for _ in range(60)])
        b = sums([float(random.random() < 0.90) for _ in range(60)])
        found = quality_difference(a, b, 0.95)
        covered += found.low <= 0.05 <= found.high
    assert covered >= 380 - 17


def test_the_tail_rule_is_355_times_the_squared_skewness() -> None:
    # scipy.stats.skew([1, 2, 3, 9]) = 0.979409; 355 * 0.959243 = 340.53.
    assert sums([1, 2, 3, 9]).skewness == pytest.approx(0.979409, abs=1e-5)
    assert units_for_tail(sums([1, 2, 3, 9])) == 341
    assert units_for_tail(sums([2.0] * 50)) == 0


def test_costs_that_do_not_vary_have_neither_variance_nor_tail() -> None:
    constant = RatioSums()
    for number in range(20_000):
        constant.add(number % 7 + 1, (number % 7 + 1) * 0.0025)
    assert (constant.variance, constant.skewness) == (0.0, 0.0)
    random.seed(2)
    varied = sums([1_000 + random.random() for _ in range(5_000)])
    assert varied.variance * 5_000 == pytest.approx(1 / 12, rel=0.1)
    assert abs(varied.skewness) < 0.2


def test_how_many_units_are_needed() -> None:
    # Two standard deviations of 0.1 and a margin of 0.02: (1.959964 + 0.841621)^2 * 2 * 0.01 / 0.0004 = 392.4.
    scores = sums([0.7, 0.9] * 5_000)
    assert units_needed(scores, scores, 0.02, 0.95) == pytest.approx(393, abs=3)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.floats(0.5, 0.999))
def test_limits_of_a_quality_hold_its_mean_and_stay_in_range(scores: list[float], confidence: float) -> None:
    interval = quality_interval(sums(scores), confidence)
    assert 0 <= interval.low <= interval.estimate + 1e-12
    assert interval.estimate - 1e-12 <= interval.high <= 1


@given(st.lists(st.floats(0, 1), max_size=20), st.lists(st.floats(0, 1), max_size=20))
def test_sums_can_be_added(first: list[float], second: list[float]) -> None:
    assert sums(first).plus(sums(second)).variance == pytest.approx(sums(first + second).variance)


def test_older_values_count_less() -> None:
    mean, effective = exponential_mean([(0, 1.0), (7, 0.0)], half_life=7)
    assert mean == pytest.approx(2 / 3)
    assert effective == pytest.approx(1.5**2 / 1.25)  # Kish: (1 + 1/2)^2 / (1 + 1/4)
    assert math.isnan(exponential_mean([], half_life=7)[0])

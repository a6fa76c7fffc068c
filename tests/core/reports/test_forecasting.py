"""The method alone: what it expects of known series, and that its intervals hold as often as they say."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.forecasts import FAMILIES, coverage, interval_score, trials, width_at_80
from llmthrift_core.reports.forecasting import Outlook, band_of, look_ahead, weekly_rhythm


@pytest.fixture(scope="module")
def found() -> list:
    return trials(280, seed=11)


def test_intervals_hold_in_about_eight_of_ten_cases(found) -> None:
    assert len(found) >= 200
    assert {trial.family for trial in found} == set(FAMILIES)
    assert 0.75 <= coverage(found) <= 0.85


def test_intervals_are_narrower_than_those_of_naive_forecasts(found) -> None:
    # All three with the percentiles of their own errors, so that none is narrow for being wrong.
    ours = width_at_80(found, "ours")
    assert ours < 0.95 * width_at_80(found, "naive")
    assert ours < 0.95 * width_at_80(found, "to_date")
    assert interval_score(found) < interval_score(found, "naive")


def test_equal_days_go_on() -> None:
    outlook = look_ahead([10.0] * 40, 0, 10)
    assert outlook.days == pytest.approx([10.0] * 10)
    band = outlook.band(10, 10)
    assert band.expected == pytest.approx(100)
    assert 80 < band.low < 100 < band.high < 120


def test_a_weekly_rhythm_is_kept() -> None:
    history = [10.0 if day % 7 < 5 else 2.0 for day in range(42)]
    assert look_ahead(history, 0, 7).days == pytest.approx([10, 10, 10, 10, 10, 2, 2], rel=0.05)
    assert look_ahead(history, 2, 7).days == pytest.approx([10, 10, 10, 10, 10, 2, 2], rel=0.05)


def test_a_job_every_monday_comes_on_mondays() -> None:
    history = [70.0 if day % 7 == 0 else 0.0 for day in range(56)]
    days = look_ahead(history, 0, 14).days
    assert [day for day, amount in enumerate(days) if amount > 1] == [0, 7]
    assert sum(days) == pytest.approx(140, rel=0.1)


def test_one_wild_day_is_no_new_level_and_a_week_of_them_is() -> None:
    calm = [10.0] * 30
    assert look_ahead([*calm, 1000.0], 0, 1).days[0] < 20
    assert look_ahead([*calm, *[100.0] * 7], 0, 1).days[0] > 60


def test_a_day_or_three_of_history_make_a_wide_interval() -> None:
    widths = []
    for days in (1, 3, 30):
        band = look_ahead([10.0] * days, 0, 20).band(20, 20)
        assert band.expected == pytest.approx(200)
        widths.append((band.high - band.low) / band.expected)
    assert widths[0] > 0.8
    assert widths[0] > widths[1] > widths[2]


def test_what_comes_at_random_may_come_or_not() -> None:
    history = [0.0] * 50
    for day in (3, 17, 31, 44):
        history[day] = 20.0
    band = look_ahead(history, 0, 7).band(7, 7)
    assert band.low < 0.1
    assert band.high > 20  # one such day is likely enough
    assert band.expected == pytest.approx(4.5 / 50 * 20 * 7)


def test_no_rhythm_is_seen_in_two_weeks_or_in_chance() -> None:
    assert weekly_rhythm([10.0 if day % 7 < 5 else 2.0 for day in range(14)], 0) == [1.0] * 7
    assert weekly_rhythm([10.0] * 60, 0) == pytest.approx([1.0] * 7)


def test_a_sum_of_a_gamma_distribution_has_its_percentiles() -> None:
    # A relative variance of 1 is the exponential distribution: -ln(0.9) and -ln(0.1) times the mean.
    band = band_of(100.0, 1.0)
    assert band.low == pytest.approx(-100 * math.log(0.9), rel=0.1)
    assert band.high == pytest.approx(-100 * math.log(0.1), rel=0.02)
    assert band_of(0.0, 1.0).high == 0
    assert Outlook((1.0, 1.0), 0.01, 0.04, 0.01).variance(2, 3) == pytest.approx(0.01 + 0.02 + 0.05)


@given(st.lists(st.one_of(st.just(0.0), st.floats(1e-9, 1e9)), min_size=1, max_size=60), st.integers(0, 6), st.integers(1, 40))
def test_whatever_the_history_an_interval_is_finite_and_in_order(history: list[float], weekday: int, days: int) -> None:
    if not any(history):
        history[0] = 1.0
    outlook = look_ahead(history, weekday, days)
    assert len(outlook.days) == days
    assert all(math.isfinite(amount) and amount >= 0 for amount in outlook.days)
    band = outlook.band(days, days)
    assert 0 <= band.low <= band.expected <= band.high < math.inf

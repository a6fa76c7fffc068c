"""The rules alone, and how they do on synthetic series."""

from __future__ import annotations

import random

import pytest

from benchmarks.anomalies import false_alarms, found_spikes, hourly, hours_until_told
from benchmarks.forecasts import FAMILIES
from llmthrift_core.reports.unusual import Quiet, RecentRequests, unusual_day, unusual_days, unusual_hour, unusual_hours


def test_ten_times_the_mean_of_the_hundred_before_itself_excluded() -> None:
    recent = RecentRequests()
    for _ in range(200):
        assert recent.see(10_000_000) is None
    assert recent.see(99_999_999) is None
    # That one is among the hundred now: their mean is 10.89999999 million.
    assert recent.see(109_000_000) is not None
    recent = RecentRequests()
    for cost in [1_000] * 50 + [20] * 100:  # the first fifty are forgotten
        recent.see(cost)
    assert recent.see(200) == (20, 10)


def test_few_requests_tell_nothing() -> None:
    recent = RecentRequests()
    assert [recent.see(cost) for cost in [1] * 19 + [1_000]] == [None] * 20
    assert recent.see(1_000_000) is not None


def test_a_flat_ten_dollars_and_then_a_thousand() -> None:
    ((index, found),) = unusual_days([10.0] * 14 + [1001.5])
    assert (index, found.expected) == (14, 10)
    assert found.score > 100
    assert unusual_days([10.0] * 14 + [19.9]) == []
    assert unusual_days([1.0] * 14 + [19.9]) == []  # below $20
    assert unusual_day(1001.5, [10.0] * 6) is None  # of six days nothing is usual
    assert unusual_day(30.0, [20.0] * 28) is None  # less than two days


def test_downward_is_never_unusual() -> None:
    assert unusual_days([1_000.0] * 28 + [0.0, 1.0, 500.0]) == []


def test_a_slow_weekly_rhythm_is_none() -> None:
    assert unusual_days([100.0 if day % 7 < 5 else 20.0 for day in range(90)]) == []


def test_the_first_weekly_job_is_told_and_the_next_ones_are_not() -> None:
    days = [20.0] * 14 + [300.0 if day % 7 == 0 else 20.0 for day in range(60)]
    assert [index for index, _ in unusual_days(days)] == [14]


def test_what_stays_high_is_told_once_and_again_at_three_times_the_height() -> None:
    assert [index for index, _ in unusual_days([10.0] * 20 + [100.0] * 30)] == [20]
    assert [index for index, _ in unusual_days([10.0] * 20 + [100.0, 120.0, 290.0, 300.0, 310.0])] == [20, 23]
    quiet = Quiet(7)
    assert [quiet.tells(at, 5) for at in (0, 6, 12, 18, 26)] == [True, False, False, False, True]


def test_growth_by_a_tenth_a_week_is_none() -> None:
    assert unusual_days([100 * 1.1 ** (day / 7) for day in range(120)]) == []


def test_a_new_feature_is_compared_with_a_day_of_everything() -> None:
    assert unusual_days([150.0], usual_days=[100.0]) == []
    assert unusual_days([250.0]) == []
    assert len(unusual_days([250.0], usual_days=[100.0])) == 1
    assert unusual_day(250.0, [], usual_day=None) is None


def test_batch_jobs_are_compared_among_themselves() -> None:
    jobs = [50.0 if day in (3, 11, 12, 20, 27) else 0.0 for day in range(28)]
    assert unusual_day(60.0, jobs) is None
    assert unusual_day(600.0, jobs) is not None


def test_a_day_that_runs_is_compared_with_the_same_hours() -> None:
    found = unusual_day(60.0, [24.0] * 14, so_far=[8.0] * 14)
    assert found is not None
    assert found.expected == 8


def test_the_same_calls_at_another_hour_are_none() -> None:
    office = [30.0 if 8 <= hour < 18 else 0.0 for _ in range(20) for hour in range(24)]
    night = [60.0 if hour in (1, 2, 3, 4, 5) else 0.0 for hour in range(24)]
    assert unusual_hours([*office, *night]) == []
    assert unusual_hour(601.0, [0.0] * 14, [300.0] * 14) is not None
    assert unusual_hour(599.0, [0.0] * 14, [300.0] * 14) is None


def test_an_hour_is_told_with_its_event_once() -> None:
    hours = hourly(random.Random(5), 20)
    hours[400:410] = [5_000.0] * 10
    assert [index for index, _ in unusual_hours(hours)] == [400]


@pytest.mark.parametrize("family", FAMILIES)
def test_at_most_one_false_alarm_a_quarter(family: str) -> None:
    assert false_alarms(family, 30, seed=9) <= 1


@pytest.mark.parametrize("family", FAMILIES)
def test_ten_times_a_usual_day_is_told(family: str) -> None:
    assert found_spikes(family, 10, 25, seed=9) >= 0.9


def test_a_loop_that_runs_away_is_told_in_hours() -> None:
    share, delay = hours_until_told(500, 10, seed=9)
    assert share == 1
    assert delay is not None
    assert delay <= 3

"""Confidence sequences hold at all looks together, and the alarm is rarely false."""

from __future__ import annotations

import math
import random

import pytest

from llmthrift_core.statistics import RatioSums, quality_difference
from llmthrift_core.statistics.sequential import (
    e_value,
    evidence_of_change,
    half_width,
    mixture_weight,
    sequential_interval,
    sequential_quality_difference,
    sequential_saving,
)

_LOOKS = (40, 60, 90, 135, 200, 300, 450, 675, 1_000)


def _arms(rng: random.Random, first: float, second: float) -> list[tuple[RatioSums, RatioSums]]:
    """What is known of two arms at each look: of the first arm a ninth as many units as of the second."""
    a, b, found = RatioSums(), RatioSums(), []
    for units in _LOOKS:
        while a.units < units:
            a.add(1, float(rng.random() < first))
            for _ in range(3):
                b.add(1, float(rng.random() < second))
        found.append((RatioSums(*(getattr(a, n) for n in RatioSums.__slots__)), RatioSums(*(getattr(b, n) for n in RatioSums.__slots__))))
    return found


def test_the_width_is_that_of_the_published_boundary() -> None:
    # By hand: v = 100, rho = 10, alpha = 0.05: sqrt(110 * log(110 / (10 * 0.0025))) = 30.38, of a sum whose variance is 100.
    rho = 10.0
    narrowest_at = 1 / (rho * (-2 * math.log(0.05) + math.log(1 - 2 * math.log(0.05))))
    assert mixture_weight(narrowest_at, 0.05) == pytest.approx(rho)
    assert half_width(1 / 100, alpha=0.05, narrowest_at=narrowest_at) == pytest.approx(30.38 / 100, rel=1e-3)


def test_limits_are_narrowest_about_where_a_decision_is_expected() -> None:
    at = 0.01
    best = half_width(at, alpha=0.05, narrowest_at=at)
    assert all(best <= half_width(at, alpha=0.05, narrowest_at=at * factor) for factor in (0.05, 0.25, 4, 20))
    assert best < 1.03 * min(half_width(at, alpha=0.05, narrowest_at=at * 1.1**power) for power in range(-20, 20))


def test_they_hold_at_all_looks_together_where_usual_ones_do_not() -> None:
    rng, wrong, wrong_usually = random.Random(5), 0, 0
    for _ in range(120):
        looks = _arms(rng, 0.8, 0.8)
        found = [sequential_quality_difference(a, b, alpha=0.1, narrowest_at=0.0004) for a, b in looks]
        usual = [quality_difference(a, b, 0.9) for a, b in looks]
        wrong += any(not each.low <= 0 <= each.high for each in found)
        wrong_usually += any(not each.low <= 0 <= each.high for each in usual)
    assert wrong <= 12  # 10% are allowed
    assert wrong_usually >= 24  # what is guarded against is there


def test_a_difference_is_found() -> None:
    rng = random.Random(6)
    found = [sequential_quality_difference(*_arms(rng, 0.6, 0.85)[-1], alpha=0.05, narrowest_at=0.0004).high < -0.1 for _ in range(40)]
    assert sum(found) >= 38


def test_savings_of_costs_with_a_tail_hold_at_all_looks() -> None:
    rng, wrong, found = random.Random(7), 0, 0
    for _ in range(100):
        a, b, is_wrong, is_found = RatioSums(), RatioSums(), False, False
        for units in _LOOKS:
            while a.units < units:
                a.add(1, 0.7 * rng.lognormvariate(0, 1))
                b.add(1, rng.lognormvariate(0, 1))
            each = sequential_saving(a, b, alpha=0.05, narrowest_at=0.005)
            is_wrong |= not each.low <= 0.3 <= each.high
            is_found |= each.low > 0
        wrong, found = wrong + is_wrong, found + is_found
    assert wrong <= 5
    assert found >= 90


def test_too_little_says_nothing() -> None:
    few, many = RatioSums(), RatioSums()
    for number in range(200):
        many.add(1, 1)
        if number < 29:
            few.add(1, 0)
    assert sequential_quality_difference(few, many, alpha=0.05, narrowest_at=0.001).low == -1
    assert sequential_quality_difference(few, many, alpha=0.05, narrowest_at=0.001).high == 1
    heavy = RatioSums()  # 200 units, five of which are nearly everything
    for number in range(200):
        heavy.add(1_000 if number < 5 else 1, 900 if number < 5 else 0.9)
    assert heavy.effective_units == pytest.approx(5.4, abs=0.1)
    assert many.effective_units == 200
    assert sequential_quality_difference(heavy, many, alpha=0.05, narrowest_at=0.001).low == -1
    assert sequential_quality_difference(many, heavy, alpha=0.05, narrowest_at=0.001).high == 1
    assert sequential_saving(heavy, many, alpha=0.05, narrowest_at=0.001).low == -math.inf
    assert sequential_saving(RatioSums(), many, alpha=0.05, narrowest_at=0.001).high == 1
    assert sequential_interval(0.0, math.inf, alpha=0.05, narrowest_at=0.001).high == math.inf
    assert e_value(1.0, math.inf, alpha=0.05, narrowest_at=1.0) == 1.0


def test_evidence_against_what_is_so_is_one_on_average() -> None:
    # The mean over a normal estimate around 0, by adding up: a mean of samples would hang on its few largest values.
    step = 0.01
    points = [step * number for number in range(-900, 900)]
    mean = sum(e_value(0.1 * z, 0.01, alpha=0.05, narrowest_at=0.01) * math.exp(-z * z / 2) / math.sqrt(2 * math.pi) * step for z in points)
    assert mean == pytest.approx(1.0, abs=0.01)


def test_a_change_is_noticed_soon_and_an_alarm_is_rarely_false() -> None:
    rng, delays, false = random.Random(9), [], 0
    for _ in range(60):
        days: list[float] = []
        for day in range(40):
            # The mean of 100 answers a day, 0.02 better than promised, and from day 30 on 0.08 worse.
            days.append(rng.gauss(-0.02 if day < 30 else 0.08, 0.03))
            since = [days[start:] for start in range(len(days))]
            evidence = evidence_of_change(
                e_value(sum(each) / len(each), 0.03**2 / len(each), alpha=0.005, narrowest_at=0.03**2) for each in since
            )
            if evidence > 200:
                false += day < 30
                if day >= 30:
                    delays.append(day - 29)
                break
    assert false == 0
    assert len(delays) == 60
    assert sum(delays) / len(delays) <= 2.5

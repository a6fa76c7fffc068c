"""What is set aside for the input: kept as calls come and go, and the same as computed from the last 200."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmthrift_core.budgets.sizes import InputRatios

REMEMBERED = 200
pairs = st.tuples(
    st.one_of(st.integers(1, 40), st.integers(1, 20_000)),
    st.sampled_from((0.9, 1.0, 1.0, 1.1, 1.25, 3.0, 9.0)),
    st.integers(0, 12),
).map(lambda given: (given[0], math.ceil(given[0] * given[1]) + given[2]))


def plain(seen: Sequence[tuple[int, int]], counted: int) -> int:
    """The estimate, from all pairs anew."""
    ratio = max(min(max(actual / sent, 1.0), 1.0 + sent / 512, 4.0) for sent, actual in seen)
    added = max(actual - math.ceil(sent * ratio) for sent, actual in seen)
    return math.ceil(counted * ratio) + min(max(added, 0), 8_192)


@settings(max_examples=60, deadline=None)
@given(st.lists(pairs, min_size=1, max_size=12), st.integers(1, 40), st.lists(pairs, max_size=12))
def test_the_estimate_is_that_of_the_last_200_calls(some: list[tuple[int, int]], times: int, more: list[tuple[int, int]]) -> None:
    """After any calls: few, many, and others after they have left."""
    ratios, all_pairs = InputRatios(), some * times + more
    for place, (counted, actual) in enumerate(all_pairs, start=1):
        ratios.learn("model", counted=counted, actual=actual)
        if place % 37 == 0 or place == len(all_pairs):
            for asked in (1, 700, 30_000):
                assert ratios.estimate("model", asked) == plain(all_pairs[:place][-REMEMBERED:], asked)


@pytest.mark.parametrize("after", [199, 200])
def test_a_call_counts_for_200_calls(after: int) -> None:
    ratios = InputRatios()
    ratios.learn("model", counted=2_000, actual=5_000)
    for _ in range(after):
        ratios.learn("model", counted=1_000, actual=1_000)
    assert ratios.estimate("model", 2_000) == (5_000 if after < REMEMBERED else 2_000)

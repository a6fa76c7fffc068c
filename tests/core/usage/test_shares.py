"""Shares that add up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmthrift_core import Usage
from llmthrift_core.usage.shares import split, split_usage


@given(st.integers(0, 10**15), st.lists(st.integers(0, 10**6), min_size=1, max_size=30))
def test_the_shares_are_the_total_and_nearly_in_proportion(total: int, weights: list[int]) -> None:
    shares = split(total, weights)
    assert sum(shares) == total
    if whole := sum(weights):
        assert all(abs(share - total * weight / whole) < 1 + total * 1e-9 for share, weight in zip(shares, weights, strict=True))


def test_by_hand() -> None:
    assert split(100, [3, 1]) == [75, 25]
    assert split(7, [1, 1, 1]) == [3, 2, 2]
    assert split(5, []) == []
    with pytest.raises(ValueError, match="negative"):
        split(5, [1, -1])


@given(st.data(), st.integers(1, 12))
def test_shares_of_a_usage_add_up_and_are_usages(data: st.DataObject, size: int) -> None:
    sent, made = data.draw(st.integers(0, 10**6)), data.draw(st.integers(0, 10**6))
    read = data.draw(st.integers(0, sent))
    written = data.draw(st.integers(0, sent - read))
    whole = Usage(sent, made, read, written, data.draw(st.integers(0, written)), data.draw(st.integers(0, made)), web_searches=3)
    weights = [data.draw(st.lists(st.integers(0, 999), min_size=size, max_size=size)) for _ in range(2)]
    shares = split_usage(whole, *weights)
    for name in (
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "cache_write_1h_tokens",
        "reasoning_tokens",
        "web_searches",
    ):
        assert sum(getattr(share, name) for share in shares) == getattr(whole, name)


def test_of_a_usage_with_pictures_the_first_request_gets_all() -> None:
    whole = Usage(30, 15, input_image_tokens=7, service_tier="flex")
    assert split_usage(whole, [1, 1, 1], [1, 1, 1]) == [whole, Usage(service_tier="flex"), Usage(service_tier="flex")]

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmthrift_core import Thrift, Usage
from llmthrift_core.decisions import ApiCost, Band, BuildOrBuy, SelfHosted, build_or_buy
from llmthrift_core.errors import ConfigurationError

API = ApiCost(input_usd_per_million=3, output_usd_per_million=15, input_tokens=2_000, output_tokens=500)


def _hosted(operations: int) -> SelfHosted:
    return SelfHosted(gpus=2, usd_per_gpu_hour=3.50, requests_per_hour=800, operations_usd_per_month=operations)


def test_the_published_example() -> None:
    found = build_or_buy(API, _hosted(0), hours_per_month=720)
    assert (found.api_usd_per_request, found.self_hosted_usd_per_request) == (Decimal("0.0135"), Decimal("0.00875"))
    assert (found.node_usd_per_month, found.capacity_per_month, found.naive_break_even_requests) == (Decimal(5_040), 576_000, 373_333)
    # One node serves 576,000; the second pays from 746,667 on, the third (1,120,000) before two are full.
    assert found.bands == (
        Band(0, 373_333, "api", 0),
        Band(373_334, 576_000, "self_hosted", 1),
        Band(576_001, 746_666, "api", 0),
        Band(746_667, None, "self_hosted", 2),
    )


def test_bands_have_the_nodes_that_the_volume_needs() -> None:
    found = build_or_buy(API, _hosted(15_000), hours_per_month=720)
    assert found.naive_break_even_requests == 1_484_444
    assert found.naive_break_even_requests > found.capacity_per_month
    assert found.bands == (
        Band(0, 3_351_111, "api", 0),
        Band(3_351_112, 3_456_000, "self_hosted", 6),
        Band(3_456_001, 3_724_444, "api", 0),
        Band(3_724_445, 4_032_000, "self_hosted", 7),
        Band(4_032_001, 4_097_777, "api", 0),
        Band(4_097_778, None, "self_hosted", 8),
    )
    hybrid = found.hybrid
    assert hybrid is not None
    assert (hybrid.requests, hybrid.nodes, hybrid.usd, hybrid.api_usd, hybrid.api_requests) == (
        3_456_000,
        6,
        Decimal(45_240),
        Decimal(46_656),
        0,
    )
    # Where the API alone costs less than seven nodes, six full ones and the API for 144,000 requests cost less than either.
    mixed = found.at(3_600_000)
    assert (mixed.nodes, mixed.api_requests, mixed.usd, mixed.utilisation) == (6, 144_000, Decimal(47_184), 1.0)
    assert (mixed.api_usd, mixed.self_hosted_usd) == (Decimal(48_600), Decimal(50_280))
    assert "3,351,112" in str(found)
    assert "$45,240.00 against $46,656.00" in str(found)
    assert "<table>" in found._repr_html_()
    assert found.to_dicts()[1] == {"from_requests": 3_351_112, "to_requests": 3_456_000, "choice": "self_hosted", "nodes": 6}


def test_gpus_that_never_pay() -> None:
    found = build_or_buy(API, SelfHosted(gpus=8, usd_per_gpu_hour=10, requests_per_hour=100))
    assert (found.bands, found.hybrid, found.always_from_requests) == ((Band(0, None, "api", 0),), None, None)
    assert "more volume does not change that" in str(found)
    assert found.at(10**9).nodes == 0


def test_bands_that_never_seem_to_end_are_cut_and_said() -> None:
    barely = SelfHosted(gpus=1, usd_per_gpu_hour=Decimal("10.79"), requests_per_hour=800, operations_usd_per_month=15_000)
    found = build_or_buy(API, barely)
    assert len(found.bands) <= 202
    assert "go on taking turns" in found.notes[-1]
    assert found.bands[-1] == Band(found.always_from_requests or 0, None, "self_hosted", found.bands[-1].nodes)


def test_the_ledger_gives_the_cost_of_a_request(thrift: Thrift) -> None:
    thrift.ledger.record("claude-sonnet-4-5", Usage(input_tokens=1_000, output_tokens=400), at="2026-01-01")
    thrift.ledger.record("claude-sonnet-4-5", Usage(input_tokens=3_000, output_tokens=600), at="2026-01-02")
    thrift.ledger.record("claude-sonnet-4-5", Usage(input_tokens=3_000, output_tokens=600), at="2026-01-02", cache="exact")
    found = ApiCost.of(thrift, "claude-sonnet-4-5")
    assert found.usd_per_request == Decimal("0.0135")  # $3 and $15 a million: as the example
    assert (found.input_tokens, found.output_usd_per_million) == (2_000, 15)
    assert ApiCost.of(thrift, "claude-sonnet-4-5", since="2026-01-02").usd_per_request == Decimal("0.018")
    with pytest.raises(ConfigurationError, match="no priced calls of model 'gpt-4o'"):
        ApiCost.of(thrift, "gpt-4o")


def _cheapest(found: BuildOrBuy, requests: int) -> tuple[str, int]:
    """By hand: nodes as many as needed, against the API."""
    costs = found._costs
    nodes = -(-requests // costs.capacity)
    alone = costs.operations + costs.node * nodes
    return ("self_hosted", nodes) if alone < costs.per_request * requests else ("api", 0)


@settings(max_examples=200)
@given(
    price=st.fractions(Fraction(1, 1_000), 5, max_denominator=1_000),
    node=st.fractions(Fraction(1, 10), 60, max_denominator=100),
    operations=st.fractions(0, 200, max_denominator=10),
    capacity=st.integers(1, 40),
)
def test_bands_agree_with_brute_force(price: Fraction, node: Fraction, operations: Fraction, capacity: int) -> None:
    api = ApiCost(input_usd_per_million=price * 1_000_000, output_usd_per_million=0, input_tokens=1, output_tokens=0)
    hosted = SelfHosted(gpus=1, usd_per_gpu_hour=node, requests_per_hour=capacity, operations_usd_per_month=operations)
    found = build_or_buy(api, hosted, hours_per_month=1)
    bands = found.bands
    assert bands[0].from_requests == 0
    assert all(left.to_requests is not None and left.to_requests + 1 == right.from_requests for left, right in pairwise(bands))
    assert bands[-1].to_requests is None
    if len(bands) > 200:
        return
    last = bands[-1].from_requests
    for requests in {*range(min(last + 3 * capacity, 1_500)), *range(max(0, last - 50), last + 3 * capacity)}:
        band = next(band for band in bands if band.to_requests is None or requests <= band.to_requests)
        choice, nodes = _cheapest(found, requests)
        assert band.choice == choice, requests
        if band.to_requests is not None or requests == last:
            assert band.nodes == nodes, requests
    for requests in range(0, 4 * capacity, 3):
        best = min(
            price * max(0, requests - count * capacity) + ((operations + node * count) if count else 0)
            for count in range(requests // capacity + 2)
        )
        assert abs(found.at(requests).usd - Decimal(best.numerator) / Decimal(best.denominator)) < Decimal("1e-11")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"gpus": 0}, "gpus must be more than 0"),
        ({"gpus": 2, "usd_per_gpu_hour": "nan"}, "usd_per_gpu_hour must be a finite number, not 'nan'"),
        ({"gpus": 2, "requests_per_hour": -1}, "requests_per_hour must be at least 0, not -1"),
        ({"gpus": 2, "operations_usd_per_month": True}, "operations_usd_per_month must be a"),
        ({"gpus": 2, "requests_per_hour": "0.001"}, "a node must serve at least one request a month"),
    ],
)
def test_numbers_that_make_no_sense(arguments: dict[str, object], sentence: str) -> None:
    given = {"usd_per_gpu_hour": 3.5, "requests_per_hour": 800, **arguments}
    with pytest.raises(ConfigurationError, match=sentence):
        build_or_buy(API, SelfHosted(**given))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="a request must cost something"):
        ApiCost(input_usd_per_million=0, output_usd_per_million=0, input_tokens=1, output_tokens=1)

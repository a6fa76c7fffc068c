from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from llmthrift_core import Thrift, Usage
from llmthrift_core.attribution import Attribution
from llmthrift_core.ledger import CallRecord


@pytest.fixture
def thrift(any_url: str) -> Iterator[Thrift]:
    with Thrift(any_url, prices={"m": {"input_usd_per_million": 1, "output_usd_per_million": 2}}) as thrift:
        yield thrift


def _call(thrift: Thrift, number: int, **more: Any) -> None:
    record = CallRecord(request_id=f"r{number}", call_id=f"r{number}", at_us=number * 1_000_000, model="m")
    record.attribution = Attribution(call_site=f"site {number % 12}")
    record.cost_nano_usd, record.input_cost_nano_usd, record.output_cost_nano_usd = 10_000_000, 5_000_000, 5_000_000
    for name, value in more.items():
        setattr(record, name, value)
    thrift.ledger.append(record)


def test_each_lever_has_its_own_line(thrift: Thrift) -> None:
    for number in range(100):
        repeats = number >= 90  # word for word what one of the first ten asked
        similar = 80 <= number < 90
        _call(
            thrift,
            number,
            prompt_hash=f"h{number - 90 if repeats else number}",
            observed_cache_nano_usd=10_000_000 if repeats or similar else None,
            observed_routing_nano_usd=4_000_000 if number < 50 else -1_000_000 if number < 60 else None,
        )
    found = thrift.observed()
    assert (found.spent_usd, found.requests) == (1, 100)
    assert found.lever("exact caching").saved_usd == Decimal("0.1")
    assert found.lever("semantic caching").saved_usd == Decimal("0.1")
    routing = found.lever("routing")
    assert (routing.saved_usd, routing.calls) == (Decimal("0.19"), 60)
    assert routing.low_usd is not None
    assert routing.high_usd is not None
    assert routing.low_usd < Decimal("0.19") < routing.high_usd
    assert len(found.costliest_call_sites) == 10
    text = found.to_text()
    assert "$1.00 was spent on 100 requests." in text
    assert "10.0%" in text
    assert "routing: the router's policy chose" in text
    with pytest.raises(KeyError):
        found.lever("luck")


def test_what_nobody_set_up_is_not_known(thrift: Thrift) -> None:
    for _ in range(5):
        thrift.ledger.record("m", Usage(input_tokens=1_000))
    found = thrift.observed()
    assert {each.saved_usd for each in found.levers} == {None}
    assert "not known; ask through a ChatRouter or a RouterLLM in observe mode" in str(found)
    assert "not known" in found._repr_html_()


def test_repeated_words_are_known_without_a_cache(thrift: Thrift) -> None:
    for number in range(20):
        _call(thrift, number, prompt_hash=f"h{number % 15}", error="TimeoutError" if number == 19 else None)
    exact = thrift.observed().lever("exact caching")
    assert (exact.saved_usd, exact.calls) == (Decimal("0.04"), 4)
    assert "no cache is set up" in exact.assumed


def test_a_router_that_would_have_cost_more_says_so(thrift: Thrift) -> None:
    for number in range(20):
        _call(thrift, number, observed_routing_nano_usd=-1_000_000)
    routing = thrift.observed().lever("routing")
    assert routing.saved_usd == Decimal("-0.02")


def test_what_unpriced_calls_cost_is_not_said_to_be_nothing(thrift: Thrift) -> None:
    for _ in range(3):
        thrift.ledger.record("unheard-of", Usage(input_tokens=100))
    found = thrift.observed()
    for shown in (str(found), found._repr_html_()):
        assert "What 3 requests cost is not known: their models have no price." in shown
        assert "$0 " not in shown
    assert "\n|---|\n" not in thrift.review().to_markdown()  # no table without columns
    assert "no request has a price" in thrift.review().to_markdown()


def test_an_empty_ledger_and_unpriced_calls(thrift: Thrift) -> None:
    assert str(thrift.observed()).strip() == "No calls are recorded in this period."
    assert "<p>" in thrift.observed()._repr_html_()
    thrift.ledger.record("unheard-of", Usage(input_tokens=10))
    thrift.ledger.record("m", Usage(input_tokens=10), cache="exact")
    found = thrift.observed()
    assert found.notes == (
        "1 call has no price and is in no amount.",
        "1 request was answered from a cache: not all of this traffic was only observed.",
    )
    assert found.to_dicts()[0]["name"] == "exact caching"

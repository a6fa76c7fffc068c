from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert

from llmthrift_core import Thrift, Usage
from llmthrift_core.attribution import Attribution
from llmthrift_core.ledger import CallRecord
from llmthrift_core.moments import to_us
from llmthrift_core.reports.optimizations.opportunity import Opportunity, sum_of_sample
from llmthrift_core.reports.optimizations.report import KINDS
from llmthrift_core.storage.tables import cache_entries

NOW = "2026-03-11T12:00"
DAY = 86_400_000_000
PRICES: Any = {
    "cheap": {"input_usd_per_million": 1, "output_usd_per_million": 2, "tier": "economy"},
    "big": {
        "input_usd_per_million": 20,
        "output_usd_per_million": 60,
        "cache_read_usd_per_million": 2,
        "cache_write_usd_per_million": 25,
        "tier": "premium",
    },
}


@pytest.fixture
def thrift(any_url: str) -> Iterator[Thrift]:
    with Thrift(any_url, prices=PRICES, clock=lambda: to_us(NOW) / 1e6) as thrift:
        yield thrift


def _call(thrift: Thrift, number: int, *, model: str = "cheap", sent: int = 1_000, made: int = 100, days_ago: int = 0, **more: Any) -> None:
    parts = {name: more.pop(name, 0) for name in ("cache_read_tokens", "cache_write_tokens", "reasoning_tokens")}
    record = CallRecord(request_id=f"r{number}", call_id=f"r{number}", at_us=to_us("2026-03-11") - days_ago * DAY + number, model=model)
    record.attribution = Attribution(call_site=more.pop("site", "chat"))
    usage = Usage(input_tokens=sent, output_tokens=made, **parts)
    record.set_usage(usage)
    priced = thrift.prices.price(usage, model, None, record.at_us)
    if priced is not None:
        record.cost_nano_usd, record.input_cost_nano_usd, record.output_cost_nano_usd = priced[:3]
    for name, value in more.items():
        setattr(record, name, value)
    thrift.ledger.append(record)


def _found(thrift: Thrift) -> dict[str, Opportunity]:
    report = thrift.optimizations()
    amounts = [each.potential_savings_usd for each in report]
    assert amounts == sorted(amounts, reverse=True)
    for each in report:
        assert each.kind in KINDS
        assert 0 <= each.low_usd <= each.potential_savings_usd <= each.high_usd
        assert each.how
        assert each.description
    assert report.to_dicts() == [each.to_dict() for each in report]
    return {each.kind: each for each in report}


def test_the_rules_of_thumb_where_nothing_is_known(thrift: Thrift) -> None:
    for _ in range(100):
        thrift.ledger.record("big", Usage(input_tokens=100_000), at="2026-03-11")  # $2
        thrift.ledger.record("cheap", Usage(input_tokens=1_000_000), at="2026-03-11")  # $1
    found = _found(thrift)
    premium, hits = found["premium_models"], found["low_hit_rate"]
    assert (premium.potential_savings_usd, premium.basis) == (Decimal(60), "rule of thumb")  # 30% of $200
    assert (hits.potential_savings_usd, hits.basis) == (Decimal(60), "rule of thumb")  # 20% of $300
    assert "66.7% of the cost, $200.00" in premium.description
    assert len(premium.evidence) == 10
    assert "30% of the cost of premium models" in thrift.optimizations().to_text()


def test_half_of_the_cost_is_not_more_than_half(thrift: Thrift) -> None:
    for _ in range(20):
        thrift.ledger.record("big", Usage(input_tokens=100_000), at="2026-03-11")
        thrift.ledger.record("cheap", Usage(input_tokens=2_000_000), at="2026-03-11")
    assert "premium_models" not in _found(thrift)


def test_observe_mode_is_believed_rather_than_a_rule(thrift: Thrift) -> None:
    for number in range(100):
        would = {"observed_routing_nano_usd": 5_000_000} if number % 2 else {}
        hit = {"observed_cache_nano_usd": 26_000_000} if number % 10 == 0 else {}
        _call(thrift, number, model="big", **would, **hit)
    found = _found(thrift)
    premium, hits = found["premium_models"], found["low_hit_rate"]
    assert (premium.potential_savings_usd, premium.basis) == (Decimal("0.25"), "ledger")  # 50 x $0.005
    assert (hits.potential_savings_usd, hits.basis) == (Decimal("0.26"), "ledger")  # 10 x $0.026
    assert "10 of the newest 100 would have been" in hits.description
    assert premium.low_usd < Decimal("0.25") < premium.high_usd


def test_repeated_prompts_are_counted_where_they_are_known(thrift: Thrift) -> None:
    for number in range(60):
        _call(thrift, number, prompt_hash=f"h{number % 50}")
    _call(thrift, 60, prompt_hash="h0", model="big")  # another model: no repetition
    hits = _found(thrift)["low_hit_rate"]
    assert hits.potential_savings_usd == Decimal("0.012")  # ten at $0.0012
    assert hits.evidence == tuple(f"r{number}" for number in range(59, 49, -1))
    assert hits.basis == "ledger"


def test_prompts_that_never_repeat_promise_nothing(thrift: Thrift) -> None:
    for number in range(60):
        _call(thrift, number, prompt_hash=f"h{number}")
    hits = _found(thrift)["low_hit_rate"]
    assert (hits.potential_savings_usd, hits.basis) == (0, "ledger")
    assert hits.high_usd == Decimal("0.0144")  # by meaning, nobody knows: 20% of 60 x $0.0012


def test_enough_hits_are_no_finding(thrift: Thrift) -> None:
    for number in range(20):
        _call(thrift, number, **({"cache": "exact", "cost_nano_usd": 0} if number < 4 else {}))
    assert "low_hit_rate" not in _found(thrift)


def test_a_long_system_prompt_is_read_from_the_providers_cache_or_shortened(thrift: Thrift) -> None:
    for number in range(100):
        _call(thrift, number, model="big", site="long", sent=4_000, prompt_chars=10_000, system_chars=5_000 + number % 3)
        _call(thrift, 1_000 + number, site="short", sent=100, made=1, prompt_chars=400, system_chars=300)
    report = [each for each in thrift.optimizations() if each.kind == "system_prompt"]
    cached, shortened = report
    # 100 calls with half of 4,000 tokens at $18 a million less: about $3.60.
    assert float(cached.potential_savings_usd) == pytest.approx(3.6, rel=0.01)
    assert (cached.basis, shortened.basis) == ("ledger", "rule of thumb")
    assert shortened.potential_savings_usd == Decimal("0.00225")  # 30% of 75% of 100 x $0.0001
    assert "50.0% of what long sends" in cached.description


def test_tokens_beside_the_text_are_tool_schemas(thrift: Thrift) -> None:
    for number in range(100):
        chars = 400 + 40 * (number % 25)
        _call(thrift, number, sent=1_500 + chars // 4, prompt_chars=chars)  # four characters a token, and 1,500 tokens of tools
        _call(thrift, 1_000 + number, site="plain", sent=10 + chars // 2, prompt_chars=chars)  # another language: two a token
    schemas = _found(thrift)["tool_schemas"]
    assert "About 1,500 tokens of each call of chat" in schemas.description
    assert float(schemas.high_usd) == pytest.approx(100 * 1_500 * 1e-6, rel=0.01)
    assert float(schemas.potential_savings_usd) == pytest.approx(0.075, rel=0.01)
    assert sum(each.kind == "tool_schemas" for each in thrift.optimizations()) == 1


def test_a_few_very_long_answers_need_a_limit(thrift: Thrift) -> None:
    for number in range(100):
        _call(thrift, number, made=4_400 if number % 20 == 0 else 100)
    found = _found(thrift)["unbounded_output"]
    assert found.potential_savings_usd == Decimal("0.04")  # five answers, 4,000 tokens too long, at $2 a million
    assert "5 of 100 answers of chat are longer than 400 tokens" in found.description
    assert set(found.evidence) == {"r0", "r20", "r40", "r60", "r80"}
    assert "max_tokens=400" in found.how


def test_reasoning_that_left_no_room_for_an_answer(thrift: Thrift) -> None:
    for number in range(50):
        _call(thrift, number, made=500, reasoning_tokens=500 if number < 4 else 300)
    found = _found(thrift)["reasoning_without_answers"]
    assert found.potential_savings_usd == Decimal("0.008")  # four at $0.002
    assert set(found.evidence) == {"r0", "r1", "r2", "r3"}


def test_a_prompt_cache_that_is_written_and_not_read(thrift: Thrift) -> None:
    for number in range(50):
        _call(thrift, number, model="big", sent=2_000, cache_write_tokens=1_000, cache_read_tokens=100 if number < 5 else 0)
    found = _found(thrift)["broken_prefix_cache"]
    assert found.potential_savings_usd == Decimal("0.25")  # 50 x 1,000 tokens at $5 a million more than input
    assert "wrote 50,000 tokens to the provider's prompt cache and read 500" in found.description


@pytest.mark.parametrize(("rejected", "is_found"), [(30, False), (31, True)])
def test_more_than_three_of_ten_escalations(thrift: Thrift, rejected: int, is_found: bool) -> None:
    for number in range(100):
        _call(thrift, number, tier="economy", escalated=int(number < rejected))
    found = _found(thrift).get("escalations")
    assert (found is not None) == is_found
    if found is not None:
        assert found.potential_savings_usd == Decimal("0.0372")  # 31 x $0.0012
        assert found.low_usd == Decimal("0.0012")  # down to 30 of 100


@pytest.mark.parametrize("reason", ["retry", "fallback"])
def test_a_day_with_many_further_attempts_is_a_spike(thrift: Thrift, reason: str) -> None:
    for day in range(10):
        for number in range(100):
            again = number < (20 if day == 3 else 1)
            _call(thrift, day * 100 + number, days_ago=day, **({"attempt": 2, "attempt_reason": reason} if again else {}))
    found = _found(thrift)[f"{reason}_spike"]
    assert "20.0% of the attempts of 2026-03-08 were" in found.description
    assert found.potential_savings_usd == Decimal("0.024")  # 20 x $0.0012


def test_a_few_retries_every_day_are_no_spike_and_many_are_said(thrift: Thrift) -> None:
    for day in range(5):
        for number in range(100):
            _call(thrift, day * 100 + number, days_ago=day, **({"attempt": 2, "attempt_reason": "retry"} if number < 10 else {}))
    found = _found(thrift)["retry_spike"]
    assert found.description == "10.0% of all attempts are retries, every day."


def test_a_price_that_changed_says_what_is_cheapest_now(thrift: Thrift) -> None:
    for number in range(20):
        _call(thrift, number, sent=1_000_000, made=0)
        _call(thrift, 100 + number, model="big", sent=1_000, made=0)
    assert "model_retired_or_repriced" not in _found(thrift)
    thrift.prices.override("cheap", input_usd_per_million="0.5", output_usd_per_million=1)
    found = _found(thrift)["model_retired_or_repriced"]
    assert found.potential_savings_usd == Decimal(10)  # 20 x $0.50
    assert "cheap costs -50% today" in found.description
    assert "cheapest of the models in use" in found.description


def test_a_model_without_a_price_today_is_retired(thrift: Thrift) -> None:
    for number in range(20):
        _call(thrift, number, model="gone-model", cost_nano_usd=10**9, input_cost_nano_usd=10**9, output_cost_nano_usd=0)
    found = _found(thrift)["model_retired_or_repriced"]
    assert "gone-model has no price any more" in found.description
    assert found.potential_savings_usd == 0


def test_entries_of_the_cache_that_nobody_used(thrift: Thrift) -> None:
    _call(thrift, 1)
    thrift.flush()
    rows = [
        {
            "key": f"k{number}".encode(),
            "namespace": "n",
            "model": "m",
            "payload": b"",
            "usage": "{}",
            "size_bytes": 1,
            "created_us": to_us("2026-03-01"),
            "used_us": 0,
            "hits": int(number >= 90),
        }
        for number in range(100)
    ]
    with thrift.database.write() as connection:
        connection.execute(insert(cache_entries), rows)
    found = _found(thrift)["unused_cache_entries"]
    assert "90 of 100 answers in the cache 'n'" in found.description


def test_few_calls_none_and_unpriced_ones_are_said_without_inventing(thrift: Thrift) -> None:
    assert len(thrift.optimizations()) == 0
    assert str(thrift.optimizations()).strip() == "No calls are recorded in this period."
    thrift.ledger.record("unheard-of", Usage(input_tokens=10), at="2026-03-11")
    found = thrift.optimizations()
    assert (len(found), found.spent_usd, found.notes) == (0, 0, ("1 call has no price and is in no amount.",))
    for _ in range(30):
        thrift.ledger.record("unheard-of", Usage(input_tokens=10), at="2026-03-11")
    assert len(thrift.optimizations()) == 0
    assert "<p>" in thrift.optimizations()._repr_html_()


def test_names_are_escaped(thrift: Thrift) -> None:
    for number in range(60):
        _call(thrift, number, site="<script>\nx</script>", made=4_400 if number % 20 == 0 else 100)
    found = thrift.optimizations()
    assert "<script>" not in found._repr_html_()
    assert "<script> x</script>" in found.to_text()


@given(st.lists(st.floats(0, 1e12), max_size=50), st.integers(50, 1_000), st.integers(0, 10**6))
def test_a_sum_of_a_sample_lies_in_its_interval(values: list[float], sampled: int, more: int) -> None:
    found = sum_of_sample(values, sampled=sampled, of=sampled + more)
    assert found.low <= found.nano_usd <= found.high
    assert found.nano_usd == pytest.approx(sum(values) / sampled * (sampled + more))


def test_the_interval_holds_in_eight_of_ten_cases() -> None:
    """Two samples of one kind of traffic: what the first promises is compared with what the second would have saved."""
    generator, held = random.Random(7), 0
    for _ in range(400):
        first, second = ([generator.expovariate(1) for _ in range(200) if generator.random() < 0.3] for _ in range(2))
        found = sum_of_sample(first, sampled=200, of=200)
        held += found.low <= sum(second) <= found.high
    assert 0.75 <= held / 400 <= 0.85

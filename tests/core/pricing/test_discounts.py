"""The model costs $3 and $15 per million tokens, reads $0.30, writes $3.75, batches half."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmthrift_core import PriceCatalog, Thrift, Usage
from llmthrift_core.pricing.cost import Priced
from llmthrift_core.pricing.discounts import NO_DISCOUNTS, discounts_of

_MODEL = "my-model"
_CACHED = Usage(input_tokens=10_000, output_tokens=100, cache_read_tokens=8_000, cache_write_tokens=1_000)


@pytest.fixture
def thrift() -> Thrift:
    thrift = Thrift(":memory:")
    thrift.prices.override(
        _MODEL,
        input_usd_per_million=3,
        output_usd_per_million=15,
        cache_read_usd_per_million="0.3",
        cache_write_usd_per_million="3.75",
        batch_multiplier="0.5",
    )
    return thrift


@pytest.fixture(scope="module")
def prices() -> PriceCatalog:
    prices = PriceCatalog()
    prices.override(_MODEL, input_usd_per_million=3, output_usd_per_million=15, cache_read_usd_per_million="0.3", batch_multiplier="0.5")
    return prices


def _saved(thrift: Thrift) -> tuple[Decimal, ...]:
    found = thrift.savings()
    return found.spent_usd, found.prefix_saved_usd, found.batch_saved_usd, found.without_usd


def test_the_providers_cache_saves_what_its_reads_are_cheaper_less_its_writes(thrift: Thrift) -> None:
    thrift.ledger.record(_MODEL, _CACHED)
    # 1,000 x 3 + 8,000 x 0.3 + 1,000 x 3.75 + 100 x 15 = 10,650 millionths; plain 10,000 x 3 + 1,500 = 31,500.
    assert _saved(thrift) == (Decimal("0.01065"), Decimal("0.02085"), 0, Decimal("0.0315"))
    assert thrift.report().total["prefix_saved_usd"] == Decimal("0.02085")
    assert "saved by the provider's prompt cache" in str(thrift.savings())


def test_writes_that_nobody_reads_are_a_loss(thrift: Thrift) -> None:
    thrift.ledger.record(_MODEL, Usage(input_tokens=1_000, cache_write_tokens=1_000))
    assert _saved(thrift) == (Decimal("0.00375"), Decimal("-0.00075"), 0, Decimal("0.003"))


def test_batch_and_cache_add_up_to_the_plain_standard_price(thrift: Thrift) -> None:
    usage = Usage(input_tokens=10_000, output_tokens=100, cache_read_tokens=8_000, cache_write_tokens=1_000, service_tier="batch")
    thrift.ledger.record(_MODEL, usage)
    assert _saved(thrift) == (Decimal("0.005325"), Decimal("0.010425"), Decimal("0.01575"), Decimal("0.0315"))


def test_a_plain_call_has_no_discount(thrift: Thrift) -> None:
    thrift.ledger.record(_MODEL, Usage(input_tokens=10_000, output_tokens=100))
    (row,) = thrift.ledger.calls()
    assert (row.prefix_saved_nano_usd, row.batch_saved_nano_usd) == (None, None)
    assert "prompt cache" not in str(thrift.savings())


def test_what_has_no_price_without_the_discount_is_unknown() -> None:
    assert discounts_of(_CACHED, lambda usage: None) == NO_DISCOUNTS
    assert discounts_of(_CACHED, lambda usage: Priced(7, 4, 3, None, "v")) == NO_DISCOUNTS


@given(st.lists(st.integers(0, 50), min_size=12, max_size=12), st.sampled_from([None, "batch", "flex"]))
@pytest.mark.parametrize("model", [_MODEL, "gpt-4o-mini", "claude-sonnet-4-5", "gemini-2.5-flash", "gpt-realtime"])
def test_a_price_without_a_cache_is_that_of_such_a_usage(prices: PriceCatalog, model: str, parts: list[int], tier: str | None) -> None:
    sent, made, read, write, hour, reasoning, audio_in, audio_out, searches, audio_read, image_in, image_out = parts
    usage = Usage(
        input_tokens=sent + read + write + hour + audio_in + audio_read + image_in,
        output_tokens=made + reasoning + audio_out + image_out,
        cache_read_tokens=read + audio_read,
        cache_write_tokens=write + hour,
        cache_write_1h_tokens=hour,
        reasoning_tokens=reasoning,
        input_audio_tokens=audio_in + audio_read,
        output_audio_tokens=audio_out,
        web_searches=searches,
        cache_read_audio_tokens=audio_read,
        input_image_tokens=image_in,
        output_image_tokens=image_out,
        service_tier=tier,
    )
    now = 1_780_000_000_000_000
    plain = replace(usage, cache_read_tokens=0, cache_write_tokens=0, cache_write_1h_tokens=0, cache_read_audio_tokens=0)
    paid, expected = prices.price(usage, model, None, now), prices.price(plain, model, None, now)
    if paid is not None:
        assert paid.uncached_nano_usd == (None if expected is None else expected.nano_usd)
        assert expected is None or expected.uncached_nano_usd == expected.nano_usd

"""The model costs $3 and $15 per million tokens, reads $0.30, writes $3.75, batches half."""

from __future__ import annotations

from decimal import Decimal

import pytest

from llmthrift_core import Thrift, Usage
from llmthrift_core.pricing.discounts import NO_DISCOUNTS, discounts_of, without_cache

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


def test_the_same_tokens_without_a_cache() -> None:
    assert without_cache(_CACHED) == Usage(input_tokens=10_000, output_tokens=100)
    plain = Usage(input_tokens=1)
    assert without_cache(plain) is plain

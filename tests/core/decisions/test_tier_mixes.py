from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmthrift_core.decisions import tier_mix
from llmthrift_core.errors import ConfigurationError

_PUBLISHED = {"small": (0.70, 0.15), "medium": (0.25, 3), "large": (0.05, 5)}


def test_the_published_scenario_costs_what_its_prices_say() -> None:
    found = tier_mix(spent_usd=47_000, usd_per_million=5, tiers=_PUBLISHED, claimed_usd=8_200)
    # 9,400 million tokens: 6,580 * $0.15 + 2,350 * $3 + 470 * $5.
    assert [tier.usd for tier in found.tiers] == [Decimal(987), Decimal(7_050), Decimal(2_350)]
    assert (found.tokens, found.usd, found.saved_usd) == (9_400_000_000, Decimal(10_387), Decimal(36_613))
    assert found.is_claim_right is False
    assert "The claimed $8,200.00 does not follow from these shares and prices: they make $10,387.00." in str(found)
    assert "saves $36,613.00 (77.9%)" in str(found)
    assert "<table>" in found._repr_html_()


def test_a_claim_that_follows() -> None:
    assert tier_mix(spent_usd=47_000, usd_per_million=5, tiers=_PUBLISHED, claimed_usd="10387.40").is_claim_right is True
    assert tier_mix(spent_usd=1, usd_per_million=5, tiers={"one": (1, 5)}).is_claim_right is None


@given(st.integers(0, 100), st.integers(1, 10**6), st.integers(1, 10**4))
def test_a_mix_at_one_price_changes_nothing(percent: int, cents: int, price_cents: int) -> None:
    spent, price = Decimal(cents) / 100, Decimal(price_cents) / 100
    share = Decimal(percent) / 100
    assert tier_mix(spent_usd=spent, usd_per_million=price, tiers={"a": (share, price), "b": (1 - share, price)}).usd == spent


def test_what_is_no_mix() -> None:
    for arguments, sentence in (
        ({"tiers": {"a": (0.5, 1)}}, "the shares of a add up to 0.5, not to 1"),
        ({"tiers": {}}, "the shares of no tier add up to 0"),
        ({"tiers": {"a": 1}}, r"a tier is \(share, usd_per_million\)"),
        ({"tiers": {"a": (1, 1)}, "usd_per_million": 0}, "usd_per_million must be more than 0"),
        ({"tiers": {"a": (-1, 1), "b": (2, 1)}}, "share of a must be at least 0"),
    ):
        with pytest.raises(ConfigurationError, match=sentence):
            tier_mix(**{"spent_usd": 1, "usd_per_million": 1, **arguments})  # type: ignore[arg-type]

"""The user's own prices: what is refused, whose price wins, and when."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.usage import Usage

MILLION = Usage(input_tokens=1_000_000)
AT = datetime(2026, 11, 1, tzinfo=UTC)


def catalog_of(overrides: Any = None) -> PriceCatalog:
    return PriceCatalog(overrides=overrides, sources=["genai-prices"], clock=lambda: AT.timestamp())


def usd(catalog: PriceCatalog, model: str, **options: Any) -> Decimal:
    return catalog.cost(MILLION, model, **options).usd


FILE = """
["my-model"]
input_usd_per_million = 1.25
output_usd_per_million = 10
cache_read_usd_per_million = 0.1
tier = "standard"
max_output_tokens = 4096

[["gpt-4o"]]
valid_from = 2024-05-13
input_usd_per_million = 5
output_usd_per_million = 15
[["gpt-4o"]]
valid_from = 2024-08-06
input_usd_per_million = 2.6
output_usd_per_million = 10
"""


def test_a_toml_file(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(FILE)
    for overrides in (path, str(path)):
        catalog = catalog_of(overrides)
        assert usd(catalog, "my-model") == Decimal("1.25")
        assert usd(catalog, "gpt-4o", at="2024-06-01") == Decimal(5)
        assert usd(catalog, "gpt-4o", at="2025-06-01") == Decimal("2.6")
        assert usd(catalog, "gpt-4o", at="2024-05-12") == Decimal("2.5")  # before the first period the price list holds
        price = catalog.find("my-model")
        assert (price.source, price.tier, price.max_output_tokens) == ("override", "standard", 4096)
        period = catalog.find("gpt-4o", at="2024-06-01")
        assert (period.valid_from, period.valid_until) == (datetime(2024, 5, 13, tzinfo=UTC), datetime(2024, 8, 6, tzinfo=UTC))


def test_the_version_names_the_content() -> None:
    fields = {"input_usd_per_million": 1, "output_usd_per_million": 2}
    versions = [catalog_of({"m": changed}).find("m").price_version for changed in (fields, fields, fields | {"tier": "premium"})]
    assert versions[0] == versions[1] != versions[2]
    assert versions[0].startswith("override ")
    assert len(versions[0]) == len("override ") + 8


GOOD = {"input_usd_per_million": 1, "output_usd_per_million": 2}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({**GOOD, "input_usd_per_milion": 1}, "unknown key 'input_usd_per_milion' = 1; known are"),
        ({**GOOD, "input_usd_per_million": -1}, "input_usd_per_million = -1: expected a number of at least 0"),
        ({**GOOD, "input_usd_per_million": math.nan}, "input_usd_per_million = nan"),
        ({**GOOD, "output_usd_per_million": math.inf}, "output_usd_per_million = inf"),
        ({**GOOD, "output_usd_per_million": "ten"}, "output_usd_per_million = 'ten'"),
        ({**GOOD, "output_usd_per_million": True}, "output_usd_per_million = True"),
        ({**GOOD, "output_usd_per_million": [1]}, "output_usd_per_million = [1]"),
        ({**GOOD, "cache_read_usd_per_million": -0.1}, "cache_read_usd_per_million = -0.1"),
        ({**GOOD, "tier": "cheap"}, "tier = 'cheap': expected \"economy\""),
        ({**GOOD, "provider": 5}, "provider = 5"),
        ({**GOOD, "max_output_tokens": 0}, "max_output_tokens = 0: expected a positive integer"),
        ({**GOOD, "context_tokens": 1.5}, "context_tokens = 1.5"),
        ({**GOOD, "valid_from": "soon"}, "valid_from = 'soon': expected a date"),
        ({**GOOD, "valid_from": 2024}, "valid_from = 2024"),
        (
            {**GOOD, "valid_from": "2024-02-01", "valid_until": "2024-01-01"},
            "valid_until = '2024-01-01': expected a time after",
        ),
        ({"input_usd_per_million": 1}, "output_usd_per_million is missing"),
        ({}, "input_usd_per_million is missing"),
        ({"gpu_usd_per_hour": 3.5}, "takes gpu_usd_per_hour and a tokens_per_second"),
        ({"gpu_usd_per_hour": 3.5, "tokens_per_second": 0}, "takes gpu_usd_per_hour and a tokens_per_second"),
        ({**GOOD, "gpu_usd_per_hour": 3.5, "tokens_per_second": 9}, "takes gpu_usd_per_hour and a tokens_per_second"),
        (5, "expected a table of prices, not 5"),
        ("text", "expected a table of prices, not 'text'"),
    ],
)
def test_a_wrong_price_is_refused_with_its_key_and_value(fields: Any, named: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        catalog_of({"my-model": fields})
    assert named in str(caught.value)
    assert "'my-model'" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("[m\n", "not valid TOML"),
        ("m = 5\n", "'m': expected a table of prices, not 5"),
        ("[m]\ninput_usd_per_million = -1\noutput_usd_per_million = 1\n", "input_usd_per_million = "),
        ("[m]\ninput_usd_per_million = nan\noutput_usd_per_million = 1\n", "input_usd_per_million = "),
    ],
)
def test_a_broken_file_is_refused_with_its_name(tmp_path: Path, content: str, named: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        catalog_of(path)
    assert str(path) in str(caught.value)
    assert named in str(caught.value)


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml: the price overrides cannot be read"):
        catalog_of(tmp_path / "nowhere.toml")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        catalog_of(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        catalog_of(tmp_path / "binary.toml")


def test_overlapping_periods_are_refused() -> None:
    first = {**GOOD, "valid_from": "2024-01-01", "valid_until": "2024-06-01"}
    with pytest.raises(ConfigurationError, match="'m': periods overlap"):
        catalog_of({"m": [first, {**GOOD, "valid_from": "2024-05-31"}]})
    with pytest.raises(ConfigurationError, match="same valid_from"):
        catalog_of({"m": [GOOD, GOOD]})
    assert usd(catalog_of({"m": [first, {**GOOD, "valid_from": "2024-06-01"}]}), "m") == Decimal(1)
    catalog = catalog_of({"m": first})
    with pytest.raises(ConfigurationError, match="periods overlap"):
        catalog.override("m", input_usd_per_million=9, output_usd_per_million=9, valid_from="2024-05-31")
    assert usd(catalog, "m", at="2024-05-31") == Decimal(1)  # the refused price changed nothing


def test_a_gap_between_periods_falls_back_to_the_lists() -> None:
    catalog = catalog_of()
    catalog.override("gpt-4o", input_usd_per_million=7, output_usd_per_million=7, valid_from="2025-01-01", valid_until="2025-02-01")
    at = ["2024-12-31T23:59:59.999999", "2025-01-01", "2025-01-31T23:59:59.999999", "2025-02-01"]
    expected = [Decimal("2.5"), Decimal(7), Decimal(7), Decimal("2.5")]
    for order in (range(4), reversed(range(4)), (1, 0, 1, 3, 2, 0)):  # what was remembered for one period must not leak
        for index in order:
            assert usd(catalog, "gpt-4o", at=at[index]) == expected[index]


def test_the_same_start_replaces_the_price() -> None:
    catalog = catalog_of()
    for price in (1, 2, 3):
        catalog.override("m", input_usd_per_million=price, output_usd_per_million=price)
        assert usd(catalog, "m") == Decimal(price)


def test_an_override_holds_for_every_spelling_and_for_dated_snapshots() -> None:
    catalog = catalog_of()
    catalog.override("gpt-4o", input_usd_per_million=1, output_usd_per_million=1)
    for name in ("gpt-4o", "GPT-4o", "openai/gpt-4o", "openai:gpt-4o", "gpt-4o-2024-08-06", "azure/gpt-4o"):
        assert usd(catalog, name) == Decimal(1), name
    assert usd(catalog, "gpt-4o-mini") == Decimal("0.15")
    catalog.override("gpt-4o-2024-08-06", input_usd_per_million=2, output_usd_per_million=1)
    assert usd(catalog, "gpt-4o-2024-08-06") == Decimal(2)
    assert usd(catalog, "gpt-4o-2024-11-20") == Decimal(1)


def test_an_override_of_a_base_model_is_not_its_fine_tunes() -> None:
    catalog = catalog_of()
    catalog.override("gpt-4o-mini", input_usd_per_million=1, output_usd_per_million=1)
    assert usd(catalog, "ft:gpt-4o-mini-2024-07-18:org::id") == Decimal("0.3")
    catalog.override("ft:gpt-4o-mini-2024-07-18:org::id", input_usd_per_million=4, output_usd_per_million=4)
    assert usd(catalog, "ft:gpt-4o-mini-2024-07-18:org::id") == Decimal(4)


def test_an_override_for_a_provider() -> None:
    catalog = catalog_of()
    catalog.override("gpt-4o", provider="azure_openai", input_usd_per_million=1, output_usd_per_million=1)
    assert usd(catalog, "gpt-4o", provider="azure") == Decimal(1)
    assert usd(catalog, "azure/gpt-4o") == Decimal(1)
    assert usd(catalog, "gpt-4o", provider="openai") == Decimal("2.5")
    catalog.override("local-model", provider="my-gateway", input_usd_per_million=3, output_usd_per_million=3)
    assert usd(catalog, "local-model", provider="my-gateway") == Decimal(3)
    assert usd(catalog, "local-model") == Decimal(3)
    assert catalog.cost(MILLION, "local-model").provider == "my-gateway"
    assert catalog.price(MILLION, "local-model", "openai", 0) is None


def test_multipliers_of_service_tiers() -> None:
    catalog = catalog_of()
    catalog.override(
        "m",
        input_usd_per_million=2,
        output_usd_per_million=4,
        web_search_usd_per_thousand=10,
        batch_multiplier="0.5",
        priority_multiplier=2,
    )
    usage = {tier: Usage(1_000_000, 1_000_000, web_searches=1, service_tier=tier) for tier in (None, "batch", "flex", "priority")}
    costs = {tier: catalog.cost(counts, "m").usd for tier, counts in usage.items()}
    assert costs == {None: Decimal("6.01"), "batch": Decimal("3.01"), "flex": Decimal("6.01"), "priority": Decimal("12.01")}


def test_numbers_are_read_as_they_print() -> None:
    catalog = catalog_of({"m": {"input_usd_per_million": 0.1, "output_usd_per_million": "0.30"}})
    assert catalog.cost(Usage(3_000_000, 1_000_000), "m").usd == Decimal("0.6")
    assert catalog.find("m").input_usd_per_million == Decimal("0.1")

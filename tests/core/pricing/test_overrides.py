"""The user's own prices: what is refused, whose price wins, and when."""

from __future__ import annotations

import math
import re
import tomllib
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
input_usd_per_million = 4.5
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
        assert usd(catalog, "gpt-4o", at="2024-06-01") == Decimal("4.5")
        assert usd(catalog, "gpt-4o", at="2025-06-01") == Decimal("2.6")
        assert usd(catalog, "gpt-4o", at="2024-05-12") == Decimal(5)  # before the first period the price list holds
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


LONG = """
["m"]
input_usd_per_million = 3
output_usd_per_million = 15
cache_read_usd_per_million = 0.3
cache_write_usd_per_million = 3.75
cache_write_1h_usd_per_million = 6
long_context_tokens = 200_000
long_context_input_usd_per_million = 6
long_context_output_usd_per_million = 22.5
long_context_cache_read_usd_per_million = 0.6
batch_multiplier = 0.5
priority_input_usd_per_million = 4
priority_long_context_input_usd_per_million = 8
priority_output_usd_per_million = 20
priority_long_context_output_usd_per_million = 30
flex_cache_read_usd_per_million = 0.1
flex_long_context_cache_read_usd_per_million = 0.2
"""


@pytest.mark.parametrize("door", ["file", "mapping", "code"])
def test_long_contexts_and_service_tiers_from_every_door(tmp_path: Path, door: str) -> None:
    table = tomllib.loads(LONG)
    catalog = catalog_of(table if door == "mapping" else None)
    if door == "file":
        (tmp_path / "prices.toml").write_text(LONG)
        catalog = catalog_of(tmp_path / "prices.toml")
    elif door == "code":
        catalog.override("m", **table["m"])

    def usd(input_tokens: int, service_tier: str | None) -> Decimal:
        usage = Usage(input_tokens, 10_000, 100_000, 40_000, 10_000, service_tier=service_tier)
        return catalog.cost(usage, "m").usd

    # 60,000 input at 3; 100,000 read at 0.3; 30,000 written at 3.75, 10,000 for an hour at 6; 10,000 output at 15.
    assert usd(200_000, None) == Decimal("0.18") + Decimal("0.03") + Decimal("0.1125") + Decimal("0.06") + Decimal("0.15")
    # One token more: 60,001 at 6; reads at 0.6; writes as before; output at 22.5.
    assert usd(200_001, None) == Decimal("0.360006") + Decimal("0.06") + Decimal("0.1725") + Decimal("0.225")
    assert usd(200_001, "batch") == usd(200_001, None) / 2
    assert usd(200_000, "priority") == Decimal("0.24") + Decimal("0.03") + Decimal("0.1725") + Decimal("0.2")
    assert usd(200_001, "priority") == Decimal("0.480008") + Decimal("0.06") + Decimal("0.1725") + Decimal("0.3")
    assert usd(200_001, "flex") == usd(200_001, None) - Decimal("0.04")
    found = catalog.find("m")
    assert (found.long_context_tokens, found.long_context_output_usd_per_million) == (200_000, Decimal("22.5"))


@pytest.mark.parametrize(
    ("further", "message"),
    [
        ({"long_context_tokens": 200_000}, "long_context_tokens = 200000: expected the prices above it as well"),
        ({"long_context_input_usd_per_million": 6}, "long_context_input_usd_per_million = 6: expected long_context_tokens as well"),
        (
            {"long_context_tokens": 9, "long_context_cache_read_usd_per_million": 6},
            "long_context_cache_read_usd_per_million = 6: expected cache_read_usd_per_million as well",
        ),
        (
            {"long_context_tokens": 9, "long_context_input_usd_per_million": 6, "batch_input_usd_per_million": 1},
            "batch_input_usd_per_million = 1: expected batch_long_context_input_usd_per_million as well",
        ),
        ({"long_context_tokens": 0.5}, "long_context_tokens = 0.5: expected a positive integer"),
        ({"flex_output_usd_per_million": -1}, "flex_output_usd_per_million = -1: expected a number of at least 0"),
        ({"cheap_input_usd_per_million": 1}, "unknown key 'cheap_input_usd_per_million' = 1"),
        ({"batch_web_search_usd_per_thousand": 1}, "unknown key 'batch_web_search_usd_per_thousand' = 1"),
    ],
)
def test_what_does_not_make_a_price_is_refused_with_its_key_and_value(further: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        catalog_of().override("m", input_usd_per_million=1, output_usd_per_million=2, **further)


def test_cached_audio_and_reasoning_have_prices_of_their_own() -> None:
    catalog = catalog_of()
    prices = {"cache_read_usd_per_million": 1, "input_audio_usd_per_million": 20, "cache_read_audio_usd_per_million": 2}
    catalog.override("m", input_usd_per_million=10, output_usd_per_million=30, reasoning_usd_per_million=5, **prices)
    usage = Usage(100, 100, 40, reasoning_tokens=80, input_audio_tokens=50, cache_read_audio_tokens=30)
    # 40 text at 10, 10 cached text at 1, 20 audio at 20, 30 cached audio at 2; 20 output at 30, 80 reasoning at 5: 1,870 millionths.
    assert catalog.cost(usage, "m").usd == Decimal("0.00187")

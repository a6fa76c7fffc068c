"""To the nano-dollar what the installed genai-prices computes: for recorded payloads, and for random usage of random models."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from llmthrift_core.errors import UnknownModelError
from llmthrift_core.moments import to_us
from llmthrift_core.money import to_nano_usd
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.pricing.aliases import snapshot_of
from llmthrift_core.usage import UNIT_OF_FIELD, Usage
from llmthrift_core.usage.payloads import payload_model

DATA = Path(os.environ.get("LLMTHRIFT_BENCH_DATA") or Path(__file__).parents[4] / "shared" / "data")
PAYLOADS = DATA / "usage_payloads.jsonl.gz"
PROVIDERS = ("openai", "anthropic", "google")
TIMES = [datetime(2026, 11, 1, 12, tzinfo=UTC), datetime(2025, 3, 1, tzinfo=UTC)]
# Google's own API answers with "models/..."; genai-prices does not know the spelling, we do.
ONLY_OURS = {("google", "models/gemini-2.5-pro")}

Nano = tuple[int, int, int]


@pytest.fixture(scope="module")
def catalog() -> PriceCatalog:
    return PriceCatalog(sources=["genai-prices"])


def expected_nano(body: Any, provider: str, flavor: str, at: datetime) -> Nano | None:
    try:
        extracted = genai_prices.extract_usage(body, provider_id=provider, api_flavor=flavor)
        price = extracted.calc_price(genai_request_timestamp=at)
    except (LookupError, ValueError):
        return None
    return to_nano_usd(price.total_price), to_nano_usd(price.input_price), to_nano_usd(price.output_price)


@pytest.mark.skipif(not PAYLOADS.exists(), reason=f"the recorded payloads are not at {PAYLOADS}; set LLMTHRIFT_BENCH_DATA")
@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_recorded_payload(catalog: PriceCatalog, provider: str) -> None:
    seen: Counter[str] = Counter()
    refused: set[str] = set()
    with gzip.open(PAYLOADS, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    for row in rows:
        body = row["body"]
        for extracted in row["extracted"]:
            for extractor in extracted["extractors"]:
                if extractor["provider_id"] != provider:
                    continue
                flavor = extractor["api_flavor"]
                usage = Usage.from_payload(body, provider=provider, api_flavor=flavor)
                model = payload_model(body, provider=provider) or ""
                for at in TIMES:
                    expected = expected_nano(body, provider, flavor, at)
                    if expected is None and (provider, model) not in ONLY_OURS:
                        assert catalog.price(usage, model, provider, to_us(at)) is None, (body, flavor)
                        seen["unpriced"] += 1
                        if model not in refused:  # looking for similar names takes a while
                            refused.add(model)
                            with pytest.raises(UnknownModelError):
                                catalog.cost(usage, model, provider=provider, at=at)
                        break
                    if expected is not None:
                        sheet = catalog.find(model, provider=provider, at=at).sheet
                        if any(usage.count(unit) for unit in sheet.unpriced):  # genai-prices takes the price of text
                            assert catalog.price(usage, model, provider, to_us(at)) is None, (body, flavor)
                            seen["audio"] += 1
                            continue
                        cost = catalog.cost(usage, model, provider=provider, at=at)
                        assert (cost.nano_usd, cost.input_nano_usd, cost.output_nano_usd) == expected, (body, flavor)
                        assert cost.nano_usd > 0
                        seen["priced"] += 1
    assert seen["priced"] > 200
    assert seen["unpriced"] > 200


COUNT = st.integers(0, 400_000)
LISTED = [
    (provider.id, model.id)
    for provider in get_snapshot().providers
    if provider.id in ("openai", "anthropic", "google", "deepseek", "mistral", "x-ai", "openrouter", "perplexity", "azure")
    for model in provider.models
    if provider.find_model(model.id) is model
]
CONTEXTS: dict[str | None, dict[str, str] | None] = {
    None: None,
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
}


def lists_batch(provider: str, model: str, at: datetime) -> bool:
    """Whether genai-prices has batch prices of its own."""
    sellers = get_snapshot().providers
    info = next(seller for seller in sellers if seller.id == provider).find_model(model, all_providers=sellers)
    return info is not None and vars(info.get_prices(at, CONTEXTS["batch"])) != vars(info.get_prices(at, None))


@st.composite
def usages(draw: st.DrawFn) -> dict[str, int]:
    """Counts that may or may not add up."""
    sent, made = draw(COUNT), draw(COUNT)
    parts = {
        "cache_read_tokens": sent,
        "cache_write_tokens": sent,
        "input_audio_tokens": sent,
        "input_image_tokens": sent,
        "output_audio_tokens": made,
        "output_image_tokens": made,
        "reasoning_tokens": made,
    }
    counts = {"input_tokens": sent, "output_tokens": made, "web_searches": draw(st.integers(0, 5))}
    for field, total in parts.items():
        counts[field] = draw(st.integers(0, total // 2) | st.just(0))
    counts["cache_write_1h_tokens"] = draw(st.integers(0, counts["cache_write_tokens"]))
    counts["cache_read_audio_tokens"] = draw(st.integers(0, min(counts["cache_read_tokens"], counts["input_audio_tokens"])))
    return counts


@settings(max_examples=400)
@given(
    listed=st.sampled_from(LISTED),
    counts=usages(),
    service_tier=st.sampled_from(list(CONTEXTS)),
    days=st.floats(0, 1_500, allow_nan=False),
)
def test_random_usage_of_random_models(
    catalog: PriceCatalog, listed: tuple[str, str], counts: dict[str, int], service_tier: str | None, days: float
) -> None:
    provider, model = listed
    at = datetime(2023, 6, 1, tzinfo=UTC) + timedelta(days=days)
    usage = Usage(**counts, service_tier=service_tier)
    reported = {unit: counts.get(field, 0) for field, unit in UNIT_OF_FIELD.items()}
    # Every other count is reported as zero: a Usage made by hand leaves nothing open.
    reported |= dict.fromkeys(("cache_image_read_tokens", "cache_audio_write_tokens", "cache_image_write_tokens"), 0)
    sheet = catalog.find(model, provider=provider, at=at).sheet
    if any(usage.count(unit) for unit in sheet.unpriced):  # genai-prices would take the price of text
        assert catalog.price(usage, model, provider, to_us(at)) is None
        return
    if snapshot_of(provider, model, to_us(at))[0] != model:  # genai-prices would take the price of today's snapshot
        return
    if service_tier == "batch" and provider in ("openai", "anthropic", "google") and not lists_batch(provider, model, at):
        return  # genai-prices would take the standard price; test_batch_terms.py has what is taken here
    try:
        price = genai_prices.calc_price(
            genai_prices.Usage(**reported),
            model,
            provider_id=provider,
            genai_request_timestamp=at,
            price_context=CONTEXTS[service_tier],
        )
    except ValueError:
        assert catalog.price(usage, model, provider, to_us(at)) is None
        return
    cost = catalog.cost(usage, model, provider=provider, at=at)
    expected = tuple(map(to_nano_usd, (price.total_price, price.input_price, price.output_price)))
    assert (cost.nano_usd, cost.input_nano_usd, cost.output_nano_usd) == expected
    assert to_nano_usd(sum(cost.breakdown.values())) == cost.nano_usd

"""Batch prices: each provider's discount, and what it does to cached input."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llmthrift_core import PriceCatalog, Usage

# Of a million input tokens, 400,000 are read from the cache and 200,000 written to it, half of these for an hour.
CACHED = Usage(1_000_000, 1_000_000, cache_read_tokens=400_000, cache_write_tokens=200_000, cache_write_1h_tokens=100_000)


def nano(usage: Usage, model: str, provider: str) -> int:
    priced = PriceCatalog(sources=["genai-prices"]).price(usage, model, provider, 1_796_000_000_000_000)
    assert priced is not None
    return priced.nano_usd


def batched(usage: Usage) -> Usage:
    return replace(usage, service_tier="batch")


@pytest.mark.parametrize(
    "model", ["claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-1", "claude-sonnet-4-0", "claude-3-5-haiku-latest"]
)
def test_anthropics_discount_stacks(model: str) -> None:
    assert nano(batched(CACHED), model, "anthropic") * 2 == nano(CACHED, model, "anthropic")


def test_searches_have_no_discount() -> None:
    searched = Usage(1_000_000, web_searches=1_000)
    # Claude Opus 4.1: $15 per million input tokens, $10 per 1,000 searches.
    assert nano(searched, "claude-opus-4-1", "anthropic") == 25_000_000_000
    assert nano(batched(searched), "claude-opus-4-1", "anthropic") == 17_500_000_000


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-2.5-pro", "gemini-2.0-flash", "gemini-3-pro-preview"])
def test_geminis_do_not_stack(model: str) -> None:
    plain, read = Usage(100_000, 100_000), Usage(100_000, cache_read_tokens=100_000)
    assert nano(batched(plain), model, "google") * 2 == nano(plain, model, "google")
    assert nano(batched(read), model, "google") == nano(read, model, "google")


def test_openais_own_list_counts() -> None:
    # gpt-4o: cached input at $1.25 a million in a batch as well; gpt-5: $0.125, and $0.0625 in a batch.
    read = Usage(1_000_000, cache_read_tokens=1_000_000)
    assert nano(batched(read), "gpt-4o", "openai") == 1_250_000_000
    assert nano(batched(read), "gpt-5", "openai") == 62_500_000


def test_openais_unlisted_models_are_halved() -> None:
    # text-embedding-3-small: $0.02 per million.
    assert nano(batched(Usage(1_000_000)), "text-embedding-3-small", "openai") == 10_000_000


def test_models_that_google_sells_for_others_pay_what_is_listed() -> None:
    usage = Usage(1_000_000)
    assert nano(batched(usage), "claude-opus-4-5", "google") == nano(usage, "claude-opus-4-5", "google")

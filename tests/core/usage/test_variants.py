"""Usage blocks as providers and gateways write them, with counts of every kind: what is read of them, and what it costs by hand."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.usage import Usage
from llmthrift_core.usage.block import read_usage

HAIKU, SONNET, OPUS = "claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-5"


class Variant(NamedTuple):
    """A block, its model and provider, what it says, and the cost: tokens times US dollars per million; None is not compared."""

    block: dict[str, Any]
    model: str
    provider: str
    usage: Usage
    terms: tuple[tuple[float, str], ...] | None = None


def chat(sent: int, made: int, total: int | None = None, *, cached: int = 0, reasoning: int = 0, **more: Any) -> dict[str, Any]:
    block: dict[str, Any] = {"prompt_tokens": sent, "completion_tokens": made, "total_tokens": sent + made if total is None else total}
    if cached:
        block["prompt_tokens_details"] = {"cached_tokens": cached, "audio_tokens": 0}
    if reasoning:
        block["completion_tokens_details"] = {"reasoning_tokens": reasoning, "audio_tokens": 0, "accepted_prediction_tokens": 0}
    return block | more


def responses(sent: int, made: int, *, cached: int = 0, reasoning: int = 0, **more: Any) -> dict[str, Any]:
    details = {"input_tokens_details": {"cached_tokens": cached}, "output_tokens_details": {"reasoning_tokens": reasoning}}
    return {"input_tokens": sent, "output_tokens": made, "total_tokens": sent + made, **details, **more}


def claude(sent: int, made: int, *, read: int = 0, short: int = 0, long: int = 0, **more: Any) -> dict[str, Any]:
    kept = {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long}
    cache = {"cache_read_input_tokens": read, "cache_creation_input_tokens": short + long, "cache_creation": kept}
    return {"input_tokens": sent, "output_tokens": made, **cache, **more}


def proxied(sent: int, made: int, *, read: int = 0, short: int = 0, long: int = 0) -> dict[str, Any]:
    """As LiteLLM writes Anthropic's answer: the prompt includes the cache, and the lifetimes stand in the details of the prompt."""
    kept = {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long}
    details = {"cached_tokens": read, "cache_creation_tokens": short + long, "cache_creation_token_details": kept, "text_tokens": None}
    return chat(sent, made, cache_read_input_tokens=read, cache_creation_input_tokens=short + long, prompt_tokens_details=details)


def gemini(sent: int, made: int, *, thought: int = 0, cached: int = 0, total: int | None = None, **more: Any) -> dict[str, Any]:
    block = {"promptTokenCount": sent, "candidatesTokenCount": made, "totalTokenCount": sent + made + thought if total is None else total}
    if thought:
        block["thoughtsTokenCount"] = thought
    if cached:
        block["cachedContentTokenCount"] = cached
    return block | more


def converse(sent: int, made: int, *, read: int = 0, written: int = 0, **more: Any) -> dict[str, Any]:
    cache = {"cacheReadInputTokens": read, "cacheWriteInputTokens": written}
    return {"inputTokens": sent, "outputTokens": made, "totalTokens": sent + made + read + written, **cache, **more}


VARIANTS = {
    # --- OpenAI's chat ---
    "gpt-4o": Variant(chat(731, 97), "gpt-4o", "openai", Usage(731, 97), ((731, "2.5"), (97, "10"))),
    "gpt-4o, cached": Variant(
        chat(4_321, 55, cached=4_096), "gpt-4o", "openai", Usage(4_321, 55, 4_096), ((225, "2.5"), (4_096, "1.25"), (55, "10"))
    ),
    "gpt-4o-mini, all cached": Variant(
        chat(2_048, 1, cached=2_048), "gpt-4o-mini", "openai", Usage(2_048, 1, 2_048), ((2_048, "0.075"), (1, "0.6"))
    ),
    "gpt-5-mini, thinking": Variant(
        chat(900, 1_700, reasoning=1_600), "gpt-5-mini", "openai", Usage(900, 1_700, reasoning_tokens=1_600), ((900, "0.25"), (1_700, "2"))
    ),
    "gpt-5-mini, flex": Variant(
        chat(900, 700, service_tier="flex"), "gpt-5-mini", "openai", Usage(900, 700, service_tier="flex"), ((900, "0.125"), (700, "1"))
    ),
    "default is no tier": Variant(chat(9, 7, service_tier="default"), "gpt-4o", "openai", Usage(9, 7), ((9, "2.5"), (7, "10"))),
    "auto is no tier": Variant(chat(9, 7, service_tier="auto"), "gpt-4o", "openai", Usage(9, 7), ((9, "2.5"), (7, "10"))),
    "a picture": Variant(
        chat(1_200, 10) | {"prompt_tokens_details": {"image_tokens": 1_105, "cached_tokens": 0}}, "gpt-4o", "openai",
        Usage(1_200, 10, input_image_tokens=1_105), ((1_200, "2.5"), (10, "10")),
    ),
    "nothing was made": Variant(chat(50, 0), "gpt-4o", "openai", Usage(50, 0), ((50, "2.5"),)),
    "whole floats": Variant(chat(50, 5) | {"prompt_tokens": 50.0}, "gpt-4o", "openai", Usage(50, 5), ((50, "2.5"), (5, "10"))),
    "details that are null": Variant(
        chat(50, 5) | {"prompt_tokens_details": None, "completion_tokens_details": None}, "gpt-4o", "openai", Usage(50, 5)
    ),
    "an embedding": Variant({"prompt_tokens": 640, "total_tokens": 640}, "text-embedding-3-small", "openai", Usage(640, 0)),
    # --- OpenAI's responses ---
    "responses": Variant(
        responses(1_500, 900, cached=1_024, reasoning=640), "gpt-5", "openai", Usage(1_500, 900, 1_024, reasoning_tokens=640),
        ((476, "1.25"), (1_024, "0.125"), (900, "10")),
    ),
    "responses, priority": Variant(
        responses(1_000, 100, service_tier="priority"), "gpt-5-mini", "openai", Usage(1_000, 100, service_tier="priority"),
        ((1_000, "0.45"), (100, "3.6")),
    ),
    # --- Anthropic ---
    "haiku": Variant(claude(17, 230), HAIKU, "anthropic", Usage(17, 230), ((17, "1"), (230, "5"))),
    "sonnet, cache of five minutes": Variant(
        claude(21, 503, read=9_000, short=1_200), SONNET, "anthropic", Usage(10_221, 503, 9_000, 1_200),
        ((21, "3"), (9_000, "0.3"), (1_200, "3.75"), (503, "15")),
    ),
    "sonnet, cache of one hour": Variant(
        claude(21, 503, long=1_200), SONNET, "anthropic", Usage(1_221, 503, 0, 1_200, 1_200), ((21, "3"), (1_200, "6"), (503, "15"))
    ),
    "opus, both lifetimes": Variant(
        claude(5, 11, read=40, short=300, long=700), OPUS, "anthropic", Usage(1_045, 11, 40, 1_000, 700),
        ((5, "5"), (40, "0.5"), (300, "6.25"), (700, "10"), (11, "25")),
    ),
    "haiku, three searches": Variant(
        claude(800, 90, server_tool_use={"web_search_requests": 3, "web_fetch_requests": 1}), HAIKU, "anthropic",
        Usage(800, 90, web_searches=3), ((800, "1"), (90, "5"), (3, "10000")),
    ),
    "haiku, batch": Variant(
        claude(800, 90, service_tier="batch"), HAIKU, "anthropic", Usage(800, 90, service_tier="batch"), ((800, "0.5"), (90, "2.5"))
    ),
    "sonnet, standard, of a region": Variant(
        claude(8, 9, service_tier="standard", inference_geo="not_available"), SONNET, "anthropic", Usage(8, 9), ((8, "3"), (9, "15"))
    ),
    # --- Anthropic through LiteLLM ---
    "litellm, one hour": Variant(
        proxied(7_003, 211, long=6_500), SONNET, "anthropic", Usage(7_003, 211, 0, 6_500, 6_500), ((503, "3"), (6_500, "6"), (211, "15"))
    ),
    "litellm, both lifetimes and reads": Variant(
        proxied(10_000, 100, read=1_000, short=2_000, long=4_000), SONNET, "anthropic", Usage(10_000, 100, 1_000, 6_000, 4_000),
        ((3_000, "3"), (1_000, "0.3"), (2_000, "3.75"), (4_000, "6"), (100, "15")),
    ),
    "litellm, one hour, said to be openai": Variant(
        proxied(7_003, 211, long=6_500), HAIKU, "openai", Usage(7_003, 211, 0, 6_500, 6_500), ((503, "1"), (6_500, "2"), (211, "5"))
    ),
    "litellm, the whole prompt is written": Variant(
        proxied(6_500, 40, long=6_500), OPUS, "anthropic", Usage(6_500, 40, 0, 6_500, 6_500), ((6_500, "10"), (40, "25"))
    ),
    # --- Bedrock ---
    "bedrock": Variant(
        converse(33, 44, read=55, written=66), f"global.anthropic.{HAIKU}-20251001-v1:0", "aws", Usage(154, 44, 55, 66),
        ((33, "1"), (55, "0.1"), (66, "1.25"), (44, "5")),
    ),
    "bedrock, one hour": Variant(
        converse(33, 44, written=66, cacheDetails=[{"ttl": "1h", "inputTokens": 66}]), f"us.anthropic.{SONNET}-20250929-v1:0", "aws",
        Usage(99, 44, 0, 66, 66), ((33, "3.3"), (66, "6.6"), (44, "16.5")),  # a region costs a tenth more
    ),
    # --- Google ---
    "gemini": Variant(gemini(120, 34), "gemini-2.5-flash", "google", Usage(120, 34), ((120, "0.3"), (34, "2.5"))),
    "gemini, thinking": Variant(
        gemini(120, 34, thought=560), "gemini-2.5-flash", "google", Usage(120, 594, reasoning_tokens=560), ((120, "0.3"), (594, "2.5"))
    ),
    "gemini, long": Variant(
        gemini(250_000, 100), "gemini-2.5-pro", "google", Usage(250_000, 100), ((250_000, "2.5"), (100, "15"))
    ),
    "gemini, only thoughts": Variant(
        {"promptTokenCount": 9, "thoughtsTokenCount": 60, "totalTokenCount": 69}, "gemini-2.5-flash", "google",
        Usage(9, 60, reasoning_tokens=60), ((9, "0.3"), (60, "2.5")),
    ),
    # --- those who speak OpenAI's language ---
    "deepseek": Variant(
        chat(5_120, 64, prompt_cache_hit_tokens=4_992, prompt_cache_miss_tokens=128), "deepseek-chat", "deepseek", Usage(5_120, 64, 4_992)
    ),
    "deepseek, with OpenAI's words too": Variant(
        chat(5_120, 64, cached=4_992, prompt_cache_hit_tokens=4_992), "deepseek-chat", "deepseek", Usage(5_120, 64, 4_992)
    ),
    "deepseek, thinking": Variant(chat(40, 900, reasoning=850), "deepseek-reasoner", "deepseek", Usage(40, 900, reasoning_tokens=850)),
    "mistral": Variant(
        chat(3_000, 12, num_cached_tokens=2_000), "mistral-small-latest", "mistral", Usage(3_000, 12, 2_000),
        ((1_000, "0.15"), (2_000, "0.015"), (12, "0.6")),
    ),
    "grok, thinking beside": Variant(
        chat(60, 10, 370, reasoning=300), "grok-4", "x-ai", Usage(60, 310, reasoning_tokens=300), ((60, "3"), (310, "15"))
    ),
    "grok, no answer but thoughts": Variant(chat(60, 0, 360, reasoning=300), "grok-4", "x-ai", Usage(60, 300, reasoning_tokens=300)),
    "grok, thinking within": Variant(chat(60, 310, 370, reasoning=300), "grok-4", "x-ai", Usage(60, 310, reasoning_tokens=300)),
    "grok, a search": Variant(
        chat(60, 10, server_side_tool_usage_details={"web_search_calls": 2}), "grok-4", "x-ai", Usage(60, 10, web_searches=2)
    ),
    "groq": Variant(
        chat(500, 30, queue_time=0.1, prompt_time=0.2, total_time=0.3), "llama-3.3-70b-versatile", "groq", Usage(500, 30),
        ((500, "0.59"), (30, "0.79")),
    ),
    "openrouter": Variant(
        chat(500, 30, cached=200, cost=0.0042, is_byok=False), "anthropic/claude-sonnet-4.5", "openrouter", Usage(500, 30, 200)
    ),
    "openrouter, a cache that is written": Variant(
        chat(500, 30) | {"prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 400}}, "anthropic/claude-sonnet-4.5",
        "openrouter", Usage(500, 30, 0, 400),
    ),
    "perplexity": Variant(chat(20, 300, num_search_queries=2), "sonar", "perplexity", Usage(20, 300, web_searches=2)),
    "cohere": Variant(
        {"billed_units": {"input_tokens": 5, "output_tokens": 418}, "tokens": {"input_tokens": 71, "output_tokens": 418}}, "command-a",
        "cohere", Usage(5, 418),
    ),
    # --- what agrees with nothing ---
    "a total that is too small": Variant(chat(50, 5, 20), "gpt-4o", "openai", Usage(50, 5, estimated=True)),
    "more is cached than was sent, so it was left out": Variant(chat(50, 5, 55, cached=70), "gpt-4o", "openai", Usage(120, 5, 70)),
    "a negative count": Variant(chat(50, 5) | {"completion_tokens": -5, "total_tokens": 50}, "gpt-4o", "openai", Usage(50, 0)),
}  # fmt: skip


@pytest.fixture(scope="module")
def prices() -> PriceCatalog:
    return PriceCatalog()


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_read(name: str) -> None:
    variant = VARIANTS[name]
    assert read_usage(variant.block, provider=variant.provider) == variant.usage


@pytest.mark.parametrize("name", [name for name, variant in VARIANTS.items() if variant.terms is not None])
def test_a_variant_costs_what_its_parts_cost(name: str, prices: PriceCatalog) -> None:
    variant = VARIANTS[name]
    assert variant.terms is not None
    expected = sum((Decimal(count) * Decimal(price) / 1_000_000 for count, price in variant.terms), Decimal(0))
    seller = prices.seller(variant.model, variant.provider)
    assert prices.cost(variant.usage, variant.model, provider=seller).usd == expected

"""What pricing one call costs, warm, beside genai-prices' own calculation.

python -m benchmarks.pricing
"""

from __future__ import annotations

from datetime import UTC, datetime

import genai_prices

from benchmarks.measure import compare, table
from llmthrift_core import PriceCatalog, UnknownModelError, Usage
from llmthrift_core.moments import to_us

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
METADATA = {
    "input_tokens": 1_000,
    "output_tokens": 300,
    "total_tokens": 1_300,
    "input_token_details": {"audio": 0, "cache_read": 600},
    "output_token_details": {"audio": 0, "reasoning": 64},
}


def main() -> None:
    """Measure and print."""
    catalog = PriceCatalog()
    usage = Usage(1_000, 300, cache_read_tokens=600)
    theirs = genai_prices.Usage(input_tokens=1_000, output_tokens=300, cache_read_tokens=600)
    at_us = to_us(AT)
    peer = "genai_prices.calc_price(), gpt-4o"
    timings = compare(
        {
            peer: lambda _: genai_prices.calc_price(theirs, "gpt-4o", provider_id="openai", genai_request_timestamp=AT),
            "price(), gpt-4o": lambda _: catalog.price(usage, "gpt-4o", "openai", at_us),
            "price(), claude-sonnet-4-5 (long-context tiers)": lambda _: catalog.price(usage, "claude-sonnet-4-5", None, at_us),
            "cost(), gpt-4o": lambda _: catalog.cost(usage, "gpt-4o", provider="openai", at=AT),
            "price(), an unknown model": lambda _: catalog.price(usage, "gpt-4o-of-ours", "openai", at_us),
            "find(), an unknown model, message not read": lambda _: unknown(catalog, is_read=False),
            "Usage.from_langchain()": lambda _: Usage.from_langchain(METADATA),
        },
        calls=2_000,
    )
    base = timings[peer].p50
    rows = [
        (name, f"{t.p50:.1f} us", f"{t.p99:.1f} us", "" if name.startswith("Usage") else f"{base / t.p50:.0f}x")
        for name, t in timings.items()
    ]
    print(table("Pricing one call, warm", ("", "p50", "p99", "genai-prices / this"), rows))
    refused = compare({text: lambda _, read=read: unknown(catalog, is_read=read) for text, read in _READ.items()}, calls=10)
    slow = refused["read"].p50
    rows = [(name, f"{t.p50:,.1f} us", f"{t.p99:,.1f} us", f"{slow / t.p50:,.0f}x") for name, t in refused.items()]
    print(table("The error of an unknown model, with its message of closest names", ("message", "p50", "p99", "read / this"), rows))


_READ = {"read": True, "not read": False}


def unknown(catalog: PriceCatalog, *, is_read: bool) -> None:
    """Look for a model that nobody sells."""
    try:
        catalog.find("gpt-4o-of-ours", provider="openai", at=AT)
    except UnknownModelError as error:
        if is_read:
            str(error)


if __name__ == "__main__":
    main()

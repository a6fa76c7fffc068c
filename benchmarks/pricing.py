"""What pricing one call costs, warm, beside genai-prices' own calculation: `python benchmarks/pricing.py`."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median, quantiles

import genai_prices

from llmthrift_core import PriceCatalog, Usage
from llmthrift_core.pricing.validity import moment_us

CALLS = 20_000
AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
METADATA = {
    "input_tokens": 1_000,
    "output_tokens": 300,
    "total_tokens": 1_300,
    "input_token_details": {"audio": 0, "cache_read": 600},
    "output_token_details": {"audio": 0, "reasoning": 64},
}


def measured(call: Callable[[], object], calls: int = CALLS) -> tuple[float, float]:
    """p50 and p99 in microseconds of one call."""
    for _ in range(200):
        call()
    clock = time.perf_counter_ns
    spent: list[int] = []
    for _ in range(calls):
        start = clock()
        call()
        spent.append(clock() - start)
    return median(spent) / 1_000, quantiles(spent, n=100)[98] / 1_000


def main() -> None:
    catalog = PriceCatalog()
    usage = Usage(1_000, 300, cache_read_tokens=600)
    theirs = genai_prices.Usage(input_tokens=1_000, output_tokens=300, cache_read_tokens=600)
    at_us = moment_us(AT)
    rows: list[tuple[str, tuple[float, float]]] = [
        ("price(), gpt-4o", measured(lambda: catalog.price(usage, "gpt-4o", "openai", at_us))),
        (
            "price(), claude-sonnet-4-5 (long-context tiers)",
            measured(lambda: catalog.price(usage, "claude-sonnet-4-5", None, at_us)),
        ),
        ("cost(), gpt-4o", measured(lambda: catalog.cost(usage, "gpt-4o", provider="openai", at=AT))),
        ("Usage.from_langchain()", measured(lambda: Usage.from_langchain(METADATA))),
        (
            "genai_prices.calc_price(), gpt-4o",
            measured(lambda: genai_prices.calc_price(theirs, "gpt-4o", provider_id="openai", genai_request_timestamp=AT), CALLS // 10),
        ),
    ]
    baseline = rows[-1][1][0]
    print(f"{'':50}{'p50 us':>10}{'p99 us':>10}{'faster':>10}")
    for name, (p50, p99) in rows:
        ratio = f"{baseline / p50:.0f}x" if name.startswith(("price", "cost")) else ""
        print(f"{name:50}{p50:>10.2f}{p99:>10.2f}{ratio:>10}")


if __name__ == "__main__":
    main()

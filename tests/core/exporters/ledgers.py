"""Ledgers that every export must get right: adjustments, other costs, hits, gaps, names in any script."""

from __future__ import annotations

from llmthrift_core import Thrift, Usage
from llmthrift_core.ledger import CallRecord

EMOJI = 'chat\n"ü", 😀;\t=1+1'


def fill(thrift: Thrift) -> None:
    """Five months with a gap: every kind of row that there is."""
    record = thrift.ledger.record
    record("gpt-4o", Usage(input_tokens=1_000_003, output_tokens=1_001, cache_read_tokens=300_001), feature=EMOJI, at="2026-01-01T00:00")
    record("gpt-4o", Usage(input_tokens=17, output_tokens=3), feature=EMOJI, tags={"team": "søk"}, at="2026-01-01T23:59:59.999999")
    record("gpt-4o", Usage(input_tokens=11, output_tokens=1), cache="exact", feature="chat", at="2026-01-02T03:00")
    record(
        "claude-sonnet-4-5",
        Usage(
            input_tokens=9_000,
            output_tokens=700,
            cache_read_tokens=4_000,
            cache_write_tokens=3_000,
            cache_write_1h_tokens=1_000,
            reasoning_tokens=333,
            web_searches=3,
        ),
        provider="anthropic",
        user="ada",
        at="2026-01-31T12:00",
        latency_seconds=1.25,
    )
    record("gpt-4o", Usage(input_tokens=1_000, output_tokens=10, service_tier="batch"), at="2026-02-01")
    record("model-of-mine", Usage(input_tokens=2_000, output_tokens=500), feature="mail", at="2026-05-05T05:05")  # priced later
    record("nobody-knows", Usage(input_tokens=123), at="2026-05-05T06:00")  # never priced
    routed = CallRecord(request_id="routed", call_id="routed", at_us=1_777_946_400_000_000, model="gpt-4o-mini", provider="openai")
    routed.set_usage(Usage(input_tokens=1_000, output_tokens=100))
    routed.cost_nano_usd, routed.input_cost_nano_usd, routed.output_cost_nano_usd = 210_000, 150_000, 60_000
    routed.routing_saved_nano_usd, routed.baseline_model, routed.error = -1_234_567, "gpt-4o", "TimeoutError"
    thrift.ledger.append(routed)
    thrift.record_cost("vector store", "0.123456789", feature="chat", at="2026-01-02")
    thrift.record_cost("tool", "-0.5", at="2026-05-05")
    thrift.record_cost("tool", "0.25", at="2026-05-05")
    thrift.flush()
    thrift.prices.override("model-of-mine", input_usd_per_million=1, output_usd_per_million=2)
    assert thrift.ledger.reprice_unpriced() == 1

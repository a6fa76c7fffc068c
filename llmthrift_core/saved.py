"""What a call cost less than it would have, for its row in the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmthrift_core.ledger.record import CallRecord
from llmthrift_core.settings import is_observing
from llmthrift_core.usage import Usage

if TYPE_CHECKING:
    from llmthrift_core.pricing import PriceCatalog
    from llmthrift_core.request import RouteUse
    from llmthrift_core.routing import RouteDecision


def fill_hit(prices: PriceCatalog, usage_json: str, baseline: tuple[str, str | None] | None, record: CallRecord) -> None:
    """What a hit saved: the price of the answer when it was made, and against the (model, provider) that would have answered."""
    from llmthrift_core.cache.entry import usage_from_json  # loaded with the cache that gave the entry

    usage = usage_from_json(usage_json)
    record.saved_input_tokens = usage.input_tokens
    record.saved_output_tokens = usage.output_tokens
    priced = prices.price(usage, record.model, record.provider, record.at_us)
    if priced is not None:
        record.cache_saved_nano_usd = priced.nano_usd
        record.price_version = priced.price_version
        if baseline is not None:
            compare_with_baseline(record, prices, usage, *baseline)


def compare_routing(record: CallRecord, prices: PriceCatalog, usage: Usage, route: RouteUse, decision: RouteDecision | None) -> None:
    """What routing saved on an answer that was paid for; in observe mode, what the decision would have saved."""
    if not is_observing():
        compare_with_baseline(record, prices, usage, *route.models[route.baseline])
    elif decision is not None and record.cost_nano_usd is not None:
        model, provider = route.models[decision.tier]
        would = prices.price(usage, model, prices.seller(model, provider), record.at_us)
        if would is not None:
            record.observed_routing_nano_usd = record.cost_nano_usd - would.nano_usd


def compare_with_baseline(record: CallRecord, prices: PriceCatalog, usage: Usage, model: str, provider: str | None) -> None:
    """What routing saved: the baseline's price minus what the answering model cost, or had cost when it was cached."""
    record.baseline_model = model
    paid = record.cost_nano_usd if record.cache is None else record.cache_saved_nano_usd
    baseline = prices.price(usage, model, prices.seller(model, provider), record.at_us)
    if baseline is not None and paid is not None:
        record.routing_saved_nano_usd = baseline.nano_usd - paid


def count_as_lost(record: CallRecord, *, is_followed: bool) -> None:
    """What was paid for an answer that is not kept is lost, since that which is kept is compared with the baseline."""
    if record.routing_saved_nano_usd is not None and record.cost_nano_usd is not None:
        record.routing_saved_nano_usd = -record.cost_nano_usd if is_followed else 0

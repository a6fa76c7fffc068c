"""The row of an attempt: its usage and price, what it saved, and what a router decided; and who collects rows at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from llmthrift_core.attribution import Attribution
from llmthrift_core.ledger.record import CallRecord
from llmthrift_core.pricing.discounts import discounts_of, has_discounts
from llmthrift_core.pricing.served import price_of_answer, who_answered
from llmthrift_core.routing.failsafe import version_of
from llmthrift_core.settings import is_observing
from llmthrift_core.usage import Usage

if TYPE_CHECKING:
    from llmthrift_core.attachments import AccountHost
    from llmthrift_core.calls.request import Response, RouteUse
    from llmthrift_core.pricing import PriceCatalog
    from llmthrift_core.pricing.cost import Priced
    from llmthrift_core.routing import RouteDecision


_MOST_USD: Final = 1e6  # no call costs that
_rows: ContextVar[list[CallRecord] | None] = ContextVar("llmthrift_rows", default=None)


def explain(record: CallRecord, route: RouteUse, tier: str | None, decision: RouteDecision | None, confidence: float | None) -> None:
    """Note which tier was called, why, and what was expected of it; nothing where there was one model, such as that of `thrifty`.

    What a policy of the user's gets wrong, such as a quality above 1, is left unknown: it is not worth the row.

    Args:
        tier: of the attempt. Fallbacks, and the baseline in observe mode, are not what the decision expected anything of.
        confidence: of the policy in the attempt's answer, 0 to 1; None where it did not look.
    """
    if not route.is_choice:
        return
    if tier is not None:
        record.tier = tier
    if confidence is not None:
        record.confidence = _share(confidence)
    if decision is None:
        return
    record.route_reason = decision.reason
    if decision.rejected:
        record.passed_over = decision.rejected
    if decision.tier == tier:
        record.expected_quality = _share(decision.expected_quality)
        record.expected_cost_nano_usd = _nano_usd(decision.expected_cost_usd)


def with_configuration(attribution: Attribution, route: RouteUse) -> Attribution:
    """The attribution of a routed call: its configuration is the policy's version, where the user named none."""
    if attribution.config_version is not None:
        return attribution
    return _with_version(attribution, version_of(route.policy))


@lru_cache(maxsize=4096)
def _with_version(attribution: Attribution, version: str | None) -> Attribution:
    return attribution.over(Attribution(config_version=version))


def _share(given: float | None) -> float | None:
    try:
        share = None if given is None else float(given)
    except (TypeError, ValueError):
        return None
    return share if share is not None and 0 <= share <= 1 else None


def _nano_usd(usd: float | None) -> int | None:
    try:
        return None if usd is None else round(float(usd) * 1e9)
    except (TypeError, ValueError, OverflowError):  # no number, not a number, infinite
        return None


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
    if paid is None:
        return
    seller = prices.seller(model, provider)
    if record.cache is None and (model, seller) == (record.model, record.provider):  # the same price, as of one model alone
        record.routing_saved_nano_usd = 0
    elif (baseline := prices.price(usage, model, seller, record.at_us)) is not None:
        record.routing_saved_nano_usd = baseline.nano_usd - paid


def compare_discounts(record: CallRecord, usage: Usage, price: Callable[[Usage], Priced | None]) -> None:
    """What the provider's prompt cache and its batch rate saved.

    Args:
        price: of a usage of the model that would have answered, so that this adds up with what routing saved.
    """
    record.set_discounts(discounts_of(usage, price))


def count_as_lost(record: CallRecord, *, is_followed: bool) -> None:
    """What was paid for an answer that is not kept is lost, since that which is kept is compared with the baseline."""
    if record.routing_saved_nano_usd is not None and record.cost_nano_usd is not None:
        record.routing_saved_nano_usd = -record.cost_nano_usd if is_followed else 0
        if is_followed:  # then it is no part of what the same requests would have cost
            record.prefix_saved_nano_usd = record.batch_saved_nano_usd = record.shortening_saved_nano_usd = None


def taken(response: Response, prices: PriceCatalog, asked: tuple[str, str | None], at_us: int) -> Usage:
    """The usage of an answer, counted where its provider did not tell it. What a free model reports as nothing stays nothing.

    Args:
        asked: name and provider of the model that was called, for answers that do not say who gave them.
    """

    def is_free(of: Response) -> bool:
        usage = Usage(input_tokens=1_000_000, output_tokens=1_000_000)
        priced = prices.price(usage, *who_answered(prices, of.model, of.provider, asked), at_us)
        return priced is not None and priced.nano_usd == 0

    return response.taken(is_free)


def fill_answered(
    record: CallRecord, host: AccountHost, asked: tuple[str, str | None], usage: Usage, response: Response, served: tuple[str, str | None]
) -> Priced | None:
    """Let a row say what its answer took, and what that costs. None: the model has no price, which is warned of.

    Args:
        asked, served: name and provider of the model that was called, and of the one that answered.
    """
    prices = host.prices
    priced = price_of_answer(prices, usage, served, asked, record.at_us)
    record.provider = served[1]  # a row that waited was begun before the price lists were read
    tell(record, usage, response)
    if priced is None:
        host.ledger.note_unpriced(*served, prices.missing(usage, *served, record.at_us))
    else:
        bill(record, priced)
    return priced


def fill_told(host: AccountHost, asked: tuple[str, str | None], read: Callable[[], Response], record: CallRecord) -> None:
    """As `fill_answered`, of an answer that is read here: by the ledger's writer, for a row that nothing else depends on."""
    response = read()
    usage = taken(response, host.prices, asked, record.at_us)
    served = who_answered(host.prices, response.model, response.provider, asked)
    record.model = served[0] or "unknown"
    if fill_answered(record, host, asked, usage, response, served) is not None and has_discounts(usage):
        compare_discounts(record, usage, lambda other: price_of_answer(host.prices, other, served, asked, record.at_us))


def tell(record: CallRecord, usage: Usage, response: Response) -> None:
    """Let the row say what the call took, what its provider says that it costs, and by which names the answer is known."""
    record.set_usage(usage)
    if response.response_id is not None:
        record.response_id = response.response_id
    if response.message_id is not None and response.message_id not in (response.response_id, record.request_id, record.run_id):
        record.message_id = response.message_id
    told = response.provider_cost_usd
    if told is not None and 0 <= told < _MOST_USD:  # which "not a number" is not
        record.provider_cost_nano_usd = round(told * 1e9)


def bill(record: CallRecord, priced: Priced) -> None:
    """Let the row say what the call costs by our prices."""
    record.cost_nano_usd = priced.nano_usd
    record.input_cost_nano_usd = priced.input_nano_usd
    record.output_cost_nano_usd = priced.output_nano_usd
    record.price_version = priced.price_version


@contextmanager
def collect_rows() -> Iterator[list[CallRecord]]:
    """A list that fills with the rows of the calls made inside, also in threads and tasks that copy this context.

    A row whose price is read from files later may not have it yet.
    """
    rows: list[CallRecord] = []
    token = _rows.set(rows)
    try:
        yield rows
    finally:
        with suppress(ValueError):  # a generator that is closed by another task than it ran in
            _rows.reset(token)


def are_collected() -> bool:
    """Whether somebody collects the rows of the calls made here."""
    return _rows.get() is not None


def note_row(record: CallRecord) -> None:
    """Add a row for who collects them."""
    if (rows := _rows.get()) is not None:
        rows.append(record)

"""The usage of an answer and its price, as the row of its call has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llmthrift_core.pricing.served import who_answered
from llmthrift_core.usage import Usage

if TYPE_CHECKING:
    from llmthrift_core.ledger.record import CallRecord
    from llmthrift_core.pricing import PriceCatalog
    from llmthrift_core.pricing.cost import Priced
    from llmthrift_core.request import Response

_MOST_USD: Final = 1e6  # no call costs that


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


def tell(record: CallRecord, usage: Usage, response: Response) -> None:
    """Let the row say what the call took, and what its provider says that it costs."""
    record.set_usage(usage)
    told = response.provider_cost_usd
    if told is not None and 0 <= told < _MOST_USD:  # which "not a number" is not
        record.provider_cost_nano_usd = round(told * 1e9)


def bill(record: CallRecord, priced: Priced) -> None:
    """Let the row say what the call costs by our prices."""
    record.cost_nano_usd = priced.nano_usd
    record.input_cost_nano_usd = priced.input_nano_usd
    record.output_cost_nano_usd = priced.output_nano_usd
    record.price_version = priced.price_version

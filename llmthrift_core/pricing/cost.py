"""Answers of the catalog: `Priced` in the hot path, `Cost` for people, `ModelPrice` for a look at the prices themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Literal, NamedTuple

from llmthrift_core.money import to_usd
from llmthrift_core.pricing.compiled import CompiledPrice
from llmthrift_core.pricing.sheet import PriceSheet
from llmthrift_core.usage import Usage

Tier = Literal["economy", "standard", "premium"]
TIERS: tuple[Tier, ...] = ("economy", "standard", "premium")

# Three input tokens to one output token: the ratio by which Artificial Analysis blends prices, near that of chat and retrieval.
_INPUT_SHARE, _OUTPUT_SHARE = Decimal("0.75"), Decimal("0.25")
ECONOMY_UP_TO_USD_PER_MILLION = Decimal(2)
STANDARD_UP_TO_USD_PER_MILLION = Decimal(8)


class Priced(NamedTuple):
    """The price of one call in integer nano-USD. `nano_usd` also holds what is billed beside the tokens, such as web
    searches.

    Attributes:
        uncached_nano_usd: what it would be, had nothing been read from a provider's cache and nothing been written to it; None where that
            has no price.
    """

    nano_usd: int
    input_nano_usd: int
    output_nano_usd: int
    uncached_nano_usd: int | None
    price_version: str


@dataclass(frozen=True)
class Cost:
    """What a call costs.

    Attributes:
        nano_usd: everything, in integer nano-USD, rounded half to even once.
        input_nano_usd: what was sent, rounded by itself.
        output_nano_usd: what was generated, rounded by itself.
        price_version: the price list, such as "genai-prices 0.2.3" or "override 1f3a9c0e".
        model: the name under which the price list knows the model.
        provider: whose price it is.
    """

    nano_usd: int
    input_nano_usd: int
    output_nano_usd: int
    price_version: str
    model: str
    provider: str | None
    _compiled: CompiledPrice = field(repr=False, compare=False)
    _usage: Usage = field(repr=False, compare=False)

    @property
    def usd(self) -> Decimal:
        """Everything, in US dollars."""
        return to_usd(self.nano_usd)

    @cached_property
    def breakdown(self) -> dict[str, Decimal]:
        """US dollars by what was used, such as {"cache_read_tokens": ..., "input_tokens": ...}: disjoint parts, not rounded."""
        return self._compiled.breakdown(self._usage)


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """The prices of a model at one time. A price of None means that the unit is paid as part of what contains it.

    Attributes:
        model: the name under which the price list knows the model.
        provider: whose price it is.
        source: "genai-prices", "litellm" or "override".
        price_version: the price list and its version.
        tier: "economy", "standard" or "premium"; None without token prices.
        input_usd_per_million, ...: US dollars for a million tokens, before any long-context tier.
        long_context_tokens: a call with more input tokens pays the long-context prices for all its tokens.
        valid_from, valid_until: the period of these prices in UTC; None where it is open.
        sheet: every price, by unit.
    """

    model: str
    provider: str | None
    source: str
    price_version: str
    tier: Tier | None
    input_usd_per_million: Decimal | None
    output_usd_per_million: Decimal | None
    cache_read_usd_per_million: Decimal | None
    cache_write_usd_per_million: Decimal | None
    cache_write_1h_usd_per_million: Decimal | None
    input_audio_usd_per_million: Decimal | None
    output_audio_usd_per_million: Decimal | None
    input_image_usd_per_million: Decimal | None
    output_image_usd_per_million: Decimal | None
    web_search_usd_per_thousand: Decimal | None
    long_context_tokens: int | None
    long_context_input_usd_per_million: Decimal | None
    long_context_output_usd_per_million: Decimal | None
    max_output_tokens: int | None
    context_tokens: int | None
    valid_from: datetime | None
    valid_until: datetime | None
    sheet: PriceSheet = field(repr=False, compare=False)


def tier_of(sheet: PriceSheet) -> Tier | None:
    """The tier by price: three parts of the input price and one of the output price, in US dollars per million tokens; up to
    2 is economy, up to 8 is standard, above is premium. A price list without token prices has no tier.
    """
    sent, made = sheet.usd_per("input_tokens", 1_000_000), sheet.usd_per("output_tokens", 1_000_000)
    if sent is None:
        return None
    blended = sent * _INPUT_SHARE + (made if made is not None else sent) * _OUTPUT_SHARE
    if blended <= ECONOMY_UP_TO_USD_PER_MILLION:
        return "economy"
    return "standard" if blended <= STANDARD_UP_TO_USD_PER_MILLION else "premium"

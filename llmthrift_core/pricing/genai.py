"""genai-prices as a price list: its names, dates, tiers and request variants, compiled instead of calculated per call."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cached_property

import genai_prices
from genai_prices.data_snapshot import DataSnapshot, get_snapshot
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from llmthrift_core.moments import to_us
from llmthrift_core.pricing.batch_terms import BATCH, batch_rates
from llmthrift_core.pricing.sheet import PriceSheet, Rate, unpriced_units
from llmthrift_core.pricing.source import ALWAYS_FROM_US, ALWAYS_UNTIL_US, Listing, moment_of
from llmthrift_core.usage.units import all_units

# How a service tier is named in genai-prices' request context.
_CONTEXTS: dict[str, dict[str, str]] = {
    "batch": {"processing": "batch"},
    "fast": {"service_tier": "fast", "speed": "fast"},
}
# "Minimum billed length of 10 seconds": https://groq.com/pricing, and genai_prices.types.ModelInfo.calc_price.
_GROQ_MINIMUM_SECONDS = 10
_GROQ_TRANSCRIBERS = frozenset({"whisper-large-v3", "whisper-large-v3-turbo"})


class GenaiPrices:
    """The price list in the installed genai-prices.

    A model that is listed without any price is free there. A service tier without a price of its own at the time pays the
    standard price, an upper bound for flex; a batch pays it with its provider's discount.
    """

    name = "genai-prices"

    def __init__(self, snapshot: DataSnapshot | None = None) -> None:
        self._snapshot = snapshot or get_snapshot()
        self._providers = {provider.id: provider for provider in self._snapshot.providers}
        self._price_units = {unit.price_key: unit for unit in all_units().values()}

    @property
    def version(self) -> str:
        return f"{self.name} {genai_prices.__version__}"

    def has_provider(self, provider: str) -> bool:
        return provider in self._providers

    def newest_price_date(self, before: datetime) -> date | None:
        """The start of the newest price that the list holds: the list is at least as recent."""
        starts = (
            constraint.start_date
            for provider in self._snapshot.providers
            for model in provider.models
            for constraint in _constraints(model)
            if isinstance(constraint, StartDateConstraint)
        )
        return max((start for start in starts if start <= before.date()), default=None)

    def models(self) -> Iterator[tuple[str, ModelInfo]]:
        """Every model, with its provider."""
        for provider in self._snapshot.providers:
            for model in provider.models:
                yield provider.id, model

    def find(self, provider: str | None, model: str, service_tier: str | None, at_us: int) -> Listing | None:
        found = self._find(provider, model)
        if found is None:
            return None
        seller, info = found
        at = moment_of(at_us)
        context = _CONTEXTS.get(service_tier, {"service_tier": service_tier}) if service_tier is not None else None
        if context is not None and not any(info is own for own in seller.models):
            context = None  # as ModelInfo.calc_price: variants are those of the model's own provider
        prices = info.get_prices(at, context)
        from_us, until_us = _interval(info, at, at_us)
        rates = self._rates(prices)
        if service_tier == BATCH and rates == (standard := self._rates(info.get_prices(at, None))):
            rates = batch_rates(standard, seller.id, info.id)
        transcriber = seller.id == "groq" and info.id in _GROQ_TRANSCRIBERS
        return Listing(
            model=info.id,
            provider=seller.id,
            source=self.name,
            version=self.version,
            sheet=PriceSheet(rates, _GROQ_MINIMUM_SECONDS if transcriber else 0, unpriced_units(rates, seller.id, info.id)),
            from_us=from_us,
            until_us=until_us,
            context_tokens=info.context_window,
        )

    def sellers(self, name: str) -> Collection[str]:
        return self._sellers.get(name, ())

    @cached_property
    def _sellers(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for seller, model in self.models():
            found.setdefault(model.id.lower(), set()).add(seller)
        return found

    def maker(self, name: str) -> str | None:
        try:
            return self._snapshot.find_provider(name, None, None).id
        except LookupError:
            return None

    def names(self, provider: str | None) -> Iterable[str]:
        return [model.id for seller, model in self.models() if provider is None or seller == provider]

    def _find(self, provider: str | None, model: str) -> tuple[Provider, ModelInfo] | None:
        try:
            seller = self._providers.get(provider) if provider is not None else self._snapshot.find_provider(model.lower(), None, None)
        except LookupError:
            return None
        info = seller.find_model(model, all_providers=self._snapshot.providers) if seller is not None else None
        return None if seller is None or info is None else (seller, info)

    def _rates(self, prices: ModelPrice) -> dict[str, Rate]:
        rates: dict[str, Rate] = {}
        for price_key, price in vars(prices).items():
            unit = self._price_units.get(price_key)
            if unit is not None and price is not None:
                rates[unit.key] = _rate(price, unit.per)
        return rates


def _rate(price: Decimal | TieredPrices, per: int) -> Rate:
    if isinstance(price, TieredPrices):
        return Rate(Fraction(price.base) / per, tuple((tier.start, Fraction(tier.price) / per) for tier in price.tiers))
    return Rate(Fraction(price) / per)


def _constraints(model: ModelInfo) -> Iterator[StartDateConstraint | TimeOfDateConstraint]:
    conditional: list[ConditionalPrice] = [] if isinstance(model.prices, ModelPrice) else model.prices
    for price in (*conditional, *(model.price_variants or ())):
        if price.constraint is not None:
            yield price.constraint


def _interval(model: ModelInfo, at: datetime, at_us: int) -> tuple[int, int]:
    """The largest interval around `at` in which no constraint of the model changes."""
    changes: list[int] = []
    for constraint in _constraints(model):
        if isinstance(constraint, StartDateConstraint):
            changes.append(to_us(constraint.start_date))
        else:
            changes += [_at_time(at, days, clock) for days in (-1, 0, 1) for clock in (constraint.start_time, constraint.end_time)]
    from_us = max((change for change in changes if change <= at_us), default=ALWAYS_FROM_US)
    until_us = min((change for change in changes if change > at_us), default=ALWAYS_UNTIL_US)
    return from_us, until_us


def _at_time(at: datetime, days: int, clock: time) -> int:
    return to_us(datetime.combine(at.date(), clock)) + days * (timedelta(days=1) // timedelta(microseconds=1))

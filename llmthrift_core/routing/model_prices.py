"""What the models of a router cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmthrift_core.errors import ConfigurationError, UnknownModelError

if TYPE_CHECKING:
    from llmthrift_core.pricing import PriceCatalog

_CHARS_PER_TOKEN: Final = 4
"""Of English text. Counting tokens would take longer than the decision, and models are compared on the same text."""


def tokens_of(chars: int) -> float:
    """About how many tokens a text of so many characters has."""
    return chars / _CHARS_PER_TOKEN


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """Names of models and their prices in US dollars per million tokens, (input, output), in the order given."""

    usd_per_million: Mapping[str, tuple[float, float]]

    @classmethod
    def of(cls, models: Mapping[str, float | str], catalog: PriceCatalog | None) -> ModelPrices:
        """Prices as the user gives them: a number for all tokens, or the name under which the price lists know the model.

        Raises:
            ConfigurationError: no models, or a price that is none.
        """
        if not isinstance(models, Mapping) or not models:
            raise ConfigurationError('models must map names to prices, such as {"weak": 0.6, "strong": 12.0} US dollars per million tokens')
        return cls({_name(name): _price(name, given, catalog) for name, given in models.items()})

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.usd_per_million)

    def blended(self, name: str) -> float:
        """One figure to order models by: three parts of the input price and one of the output price, as for price tiers."""
        sent, made = self.usd_per_million[name]
        return 0.75 * sent + 0.25 * made

    def usd(self, name: str, input_tokens: float, output_tokens: float) -> float:
        """The price of a call in US dollars."""
        sent, made = self.usd_per_million[name]
        return (sent * input_tokens + made * output_tokens) / 1e6


def _name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"a model's name must be text, not {name!r}")
    return name


def _price(name: str, given: object, catalog: PriceCatalog | None) -> tuple[float, float]:
    if isinstance(given, str):
        return _listed(name, given, catalog)
    try:
        usd = float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        usd = math.nan
    if not 0 <= usd < math.inf or isinstance(given, bool):
        raise ConfigurationError(
            f"the price of {name!r} must be US dollars per million tokens, or a model's name that the price lists know, not {given!r}"
        )
    return usd, usd


def _listed(name: str, model: str, catalog: PriceCatalog | None) -> tuple[float, float]:
    if catalog is None:
        from llmthrift_core.pricing import PriceCatalog

        catalog = PriceCatalog()
    try:
        price = catalog.find(model)
    except UnknownModelError as error:
        raise ConfigurationError(f"{name!r} has no price: {error}, or give the price as a number") from None
    sent, made = price.input_usd_per_million, price.output_usd_per_million
    if sent is None:
        raise ConfigurationError(f"{name!r} has no price: the price lists know {model!r}, but not what its tokens cost")
    return float(sent), float(made if made is not None else sent)

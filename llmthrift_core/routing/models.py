"""The models behind a router: what they cost, and under which names the ledger has them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.errors import ConfigurationError, UnknownModelError
from llmthrift_core.money import MOST
from llmthrift_core.texts import as_texts

if TYPE_CHECKING:
    from llmthrift_core.pricing import PriceCatalog

_CHARS_PER_TOKEN: Final = 4
"""Of English text. Counting tokens would take longer than the decision, and models are compared on the same text."""
_RELEASE: Final = re.compile(r"[-@](?:\d{4}-?\d{2}-?\d{2}|\d{3,4}|latest)$")
"""What providers add to a model's name when they answer: "gpt-4o-2024-08-06", "claude-3-5-haiku@20241022", "gpt-4-0613"."""


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
    if not 0 <= usd <= MOST or isinstance(given, bool):
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


def checked_names(models: Mapping[str, str]) -> dict[str, str]:
    """By tier, the name of its model.

    Raises:
        ConfigurationError: something else was given.
    """
    if not isinstance(models, Mapping) or not models or not all(isinstance(text, str) and text for text in models.values()):
        raise ConfigurationError(f'models must map tiers to names of models, such as {{"small": "gpt-4o-mini"}}, not {models!r:.200}')
    return dict(models)


def names_of_calls(models: Mapping[str, float | str] | Sequence[str] | None) -> Callable[[Mapping[str, Any]], Sequence[str]]:
    """A function from a call of the ledger (its columns `model` and `tier`) to the names under which `models` has what answered it: none,
    one, or several of one model. Without `models`, the tier or, where nothing was routed, the model.

    A name's own text, or the model's name that is given as its price, stands for that model and its dated releases; the tier tells names of
    one model apart, and alone tells which calls are meant by a name with a number as its price.

    >>> names_of = names_of_calls({"small": "gpt-4o-mini"})
    >>> names_of({"model": "gpt-4o-mini-2024-07-18", "tier": None}), names_of({"model": "gpt-4o", "tier": "large"})
    (['small'], [])
    """
    if models is None:
        return lambda call: [call["tier"] or call["model"]]
    if not isinstance(models, Mapping):
        models = {name: name for name in as_texts("models", models)}
    names: dict[str, list[str]] = {}
    for name, given in models.items():
        names.setdefault(given if isinstance(given, str) else name, []).append(name)

    def names_of(call: Mapping[str, Any]) -> Sequence[str]:
        model, tier = call["model"], call["tier"]
        found = names.get(model) or names.get(_RELEASE.sub("", model), [])
        if tier in found or (tier in models and not isinstance(models[tier], str)):
            return [tier]
        return found

    return names_of

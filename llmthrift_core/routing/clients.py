"""The models of a router: the clients behind their names, of one model's sellers the cheapest, and their order."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from llmthrift_core.display import usd
from llmthrift_core.errors import ConfigurationError, UnknownModelError

if TYPE_CHECKING:
    from llmthrift_core.pricing import PriceCatalog


Missing = Literal["raise", "skip"]
Order = Literal["given", "price"]
Client = TypeVar("Client")
Model = TypeVar("Model")


def clients_of(
    models: Mapping[str, Any],
    make: Callable[[Any], Client],
    named: Callable[[Client], tuple[str, str | None]],
    prices: PriceCatalog,
    *,
    missing: Missing,
) -> dict[str, Client]:
    """By tier, its client. Of a list of clients of one model, from several sellers, the cheapest one.

    Args:
        make: a client of what the user gave, which fails where an integration or a key is missing.
        named: the names of a client's model and seller.
        missing: "skip" leaves out what cannot be made, with a warning, as long as something is left.

    Raises:
        ConfigurationError: an option that cannot be used, an empty list, or nothing can be made.
        Exception: what `make` raises, where it is not to be skipped.
    """
    if missing not in get_args(Missing):
        raise ConfigurationError(f'missing must be "raise" or "skip", not {missing!r}')
    found: dict[str, Client] = {}
    failures: list[str] = []
    for tier, given in models.items():
        sellers = list(given) if isinstance(given, list | tuple) else [given]
        if not sellers:
            raise ConfigurationError(f"tier {tier!r} is an empty list; give one client, or one for each seller of its model")
        made: list[Client] = []
        for each in sellers:
            try:
                made.append(make(each))
            except Exception as error:
                if missing == "raise" or not isinstance(each, str):
                    raise
                failures.append(f"{tier} ({each if isinstance(each, str) else type(each).__name__}): {type(error).__name__}")
        if made:
            found[tier] = made[0] if len(made) == 1 else _cheapest(made, named, prices)
    if failures and not found:
        raise ConfigurationError(f"none of the router's models can be used: {'; '.join(failures)}")
    if failures:
        warnings.warn(f"a router goes without {'; '.join(failures)}", stacklevel=5)
    return found


def _cheapest(made: list[Client], named: Callable[[Client], tuple[str, str | None]], prices: PriceCatalog) -> Client:
    """The client of the lowest price; those without a price come last, and of equals the first."""

    def price_of(client: Client) -> tuple[bool, float]:
        model, seller = named(client)
        try:
            price = prices.find(model, provider=prices.seller(model, seller))
        except UnknownModelError:
            return True, 0.0
        sent, received = price.input_usd_per_million, price.output_usd_per_million
        return (True, 0.0) if sent is None or received is None else (False, float(3 * sent + received))

    return min(made, key=price_of)


def require_tiers(models: object) -> None:
    """Refuse what names no tiers, and say what was meant.

    Raises:
        ConfigurationError: no mapping, or an empty one.
    """
    meant = 'cheapest first: models={"simple": cheap, "complex": strong}'
    if not isinstance(models, Mapping):
        raise ConfigurationError(f"models must be a mapping of tiers to models, {meant}, not {type(models).__name__}")
    if not models:
        raise ConfigurationError(f"models is empty; give at least one, {meant}")


def in_order(
    models: Mapping[str, Model], named: Mapping[str, tuple[str, str | None]], prices: PriceCatalog, *, order: Order
) -> dict[str, Model]:
    """The models of a router in the order in which it takes them. A given order that is not cheapest first warns.

    Reads the price lists, so it is called when a router is made, and not when it is asked.

    Args:
        models: by tier.
        named: by tier, the names of the model and its provider.
        order: "given" leaves the order as it is; "price" sorts by three parts of the input price and one of the output price.

    Raises:
        ConfigurationError: `order="price"`, and a model without a price.
    """
    if len(models) < 2:
        return dict(models)
    known = {tier: price for tier, (model, provider) in named.items() if (price := _blended(prices, model, provider)) is not None}
    if order == "price":
        if unpriced := [f"{tier!r} ({named[tier][0]})" for tier in models if tier not in known]:
            raise ConfigurationError(
                f'order="price" needs a price of every model; none is known of {", ".join(unpriced)}. '
                "Set one with thrift.prices.override(...), or give the models cheapest first"
            )
        return {tier: models[tier] for tier in sorted(models, key=known.__getitem__)}
    figures = [known[tier] for tier in models if tier in known]
    if any(later < earlier for earlier, later in pairwise(figures)):
        each = ", ".join(f"{tier} ({named[tier][0]}) {usd(known[tier])}" for tier in models if tier in known)
        warnings.warn(
            f"the models of a router are not cheapest first: {each} per million tokens, three of them sent to one received. Policies take "
            'a later model for a better one; sort with order="price", or give them in the order of their prices',
            stacklevel=4,  # in the program that makes the router
        )
    return dict(models)


def _blended(prices: PriceCatalog, model: str, provider: str | None) -> Decimal | None:
    try:
        price = prices.find(model, provider=prices.seller(model, provider))
    except UnknownModelError:
        return None
    sent, received = price.input_usd_per_million, price.output_usd_per_million
    return None if sent is None or received is None else (3 * sent + received) / 4

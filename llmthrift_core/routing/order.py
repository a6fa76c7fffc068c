"""The order of a router's models, which should be cheapest first: policies and limits go by it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, TypeVar

from llmthrift_core.display import usd
from llmthrift_core.errors import ConfigurationError, UnknownModelError

if TYPE_CHECKING:
    from llmthrift_core.pricing import PriceCatalog

Order = Literal["given", "price"]
Model = TypeVar("Model")


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

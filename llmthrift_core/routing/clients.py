"""The clients behind the names of a router's models: those that are there, and of one model's sellers the cheapest."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from llmthrift_core.errors import ConfigurationError, UnknownModelError

if TYPE_CHECKING:
    from llmthrift_core.pricing import PriceCatalog

Missing = Literal["raise", "skip"]
Client = TypeVar("Client")


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

"""The model whose price an answer has: the one that answered, which is not always the one that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmthrift_core.pricing.names import without_date

if TYPE_CHECKING:
    from llmthrift_core.pricing.catalog import PriceCatalog
    from llmthrift_core.pricing.cost import Priced
    from llmthrift_core.usage import Usage

Model = tuple[str, str | None]
"""A model's name and its provider."""


def who_answered(prices: PriceCatalog, model: str | None, provider: str | None, asked: Model) -> Model:
    """The model that answered, as far as the answer says, and whose price it has."""
    name = model or asked[0]
    return name, prices.seller(name, provider or asked[1])


def price_of_answer(prices: PriceCatalog, usage: Usage, served: Model, asked: Model, at_us: int) -> Priced | None:
    """The price of the model that answered; None where it has none.

    The price of the model that was asked for holds where the provider answers with another spelling of it, or with a name that no price
    list knows, such as a deployment's or a file's. The name of another model never costs what was asked for, nor does a new model of
    another maker.
    """
    priced = prices.price(usage, *served, at_us)
    if priced is not None or not asked[0] or served[0] == asked[0]:
        return priced
    if is_same_model(served[0], asked[0]) or not (prices.knows(served[0]) or _is_of_another_maker(prices, served[0], asked[0])):
        return prices.price(usage, asked[0], prices.seller(*asked), at_us)
    return None


def _is_of_another_maker(prices: PriceCatalog, served: str, asked: str) -> bool:
    one, other = prices.maker(served), prices.maker(asked)
    return one is not None and other is not None and one != other


def is_same_model(served: str, asked: str) -> bool:
    """Whether two names differ only in dates, versions and what stands before them.

    >>> is_same_model("claude-sonnet-4-5-20250929", "us.anthropic.claude-sonnet-4-5-20250929-v1:0")
    True
    >>> is_same_model("gpt-4o", "gpt-4o-mini"), is_same_model("claude-opus-4-1", "gpt-4o-mini")
    (False, False)
    """
    one, other = sorted((without_date(served.strip().lower()), without_date(asked.strip().lower())), key=len)
    return other.endswith(one) and (len(one) == len(other) or other[-len(one) - 1] in "/.:")

"""What a provider's own discounts took off a call: its prompt cache, and its batch rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from llmthrift_core.pricing.cost import Priced
    from llmthrift_core.usage import Usage

_BATCH = "batch"


class Discounts(NamedTuple):
    """What was saved, in nano-USD. None: there was no such discount, or the price without it is not known.

    Attributes:
        prefix: the price with all input at its plain rate, minus the price that was paid; negative where writing to the cache cost more
            than reading from it saved.
        batch: the same at the standard rate, minus that at the batch rate.
    """

    prefix: int | None = None
    batch: int | None = None


NO_DISCOUNTS = Discounts()


def has_discounts(usage: Usage) -> bool:
    """Whether a provider's cache or batch rate had a part in the bill."""
    return bool(usage.cache_read_tokens or usage.cache_write_tokens) or usage.service_tier == _BATCH


def discounts_of(usage: Usage, price: Callable[[Usage], Priced | None], *, paid: Priced | None = None) -> Discounts:
    """What the provider's discounts took off a call with this usage.

    The two add up: first the cache is taken away, then the batch rate, so that `price + prefix + batch` is the plain, standard price.

    Args:
        price: of any usage of the call's model, at the call's time.
        paid: what it says of this usage, where that is known.
    """
    if not has_discounts(usage) or (paid := paid or price(usage)) is None:
        return NO_DISCOUNTS
    prefix, batch, at_rate = None, None, paid.nano_usd
    uncached = paid.uncached_nano_usd
    if (usage.cache_read_tokens or usage.cache_write_tokens) and uncached is not None:
        prefix, at_rate = uncached - at_rate, uncached
    if usage.service_tier == _BATCH and (standard := price(replace(usage, service_tier=None))) is not None:
        at_standard_rate = standard.nano_usd if prefix is None else standard.uncached_nano_usd
        batch = None if at_standard_rate is None else at_standard_rate - at_rate
    return Discounts(prefix, batch)

"""The order of the models, cheapest first, and the caller's upper limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llmthrift_core.errors import ConfigurationError

_PRICE_TIERS = ("economy", "standard", "premium")


@dataclass(frozen=True, slots=True)
class Tiers:
    """Ordered names of tiers, cheapest first.

    Attributes:
        names: in the order that the user gave.
        price_tier: tells a tier's price class, "economy", "standard" or "premium", or None if its model has no price.
    """

    names: tuple[str, ...]
    price_tier: Callable[[str], str | None] | None = None

    def within(self, own: str | None, asked: str | None) -> Tiers:
        """The tiers that both limits allow, such as a router's own and that of a call: neither lifts the other.

        Raises:
            ConfigurationError: no such tier, or none is left.
        """
        allowed = self.at_most(own)
        if asked is None:
            return allowed
        names = tuple(name for name in self.at_most(asked).names if name in allowed.names)
        if not names:
            raise ConfigurationError(f"max_tier={asked!r} leaves none of the tiers that the router allows: {', '.join(allowed.names)}")
        return Tiers(names, self.price_tier)

    def at_most(self, max_tier: str | None) -> Tiers:
        """The tiers that a caller with this limit may use. Never empty, and never more than before.

        Args:
            max_tier: a tier's name, or one of the price classes economy, standard, premium; None is no limit. A tier whose model has
                no price belongs to no price class, so a price class excludes it.

        Raises:
            ConfigurationError: no such tier, or no tier is as cheap as that.
        """
        if max_tier is None:
            return self
        if max_tier in self.names:
            return Tiers(self.names[: self.names.index(max_tier) + 1], self.price_tier)
        if max_tier in _PRICE_TIERS and self.price_tier is not None:
            limit = _PRICE_TIERS.index(max_tier)
            allowed = tuple(name for name in self.names if (tier := self.price_tier(name)) and _PRICE_TIERS.index(tier) <= limit)
            if allowed:
                return Tiers(allowed, self.price_tier)
            raise ConfigurationError(f"max_tier={max_tier!r} allows none of the tiers {', '.join(self.names)}")
        raise ConfigurationError(
            f"max_tier={max_tier!r} is neither a tier ({', '.join(self.names)}) nor a price class ({', '.join(_PRICE_TIERS)})"
        )

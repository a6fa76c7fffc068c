"""The protocol of a price list."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from llmthrift_core.pricing.cost import Tier
from llmthrift_core.pricing.sheet import PriceSheet

ALWAYS_FROM_US = -(2**62)
ALWAYS_UNTIL_US = 2**62
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Listing:
    """One model in one price list, at one time.

    Attributes:
        model: the name under which the list knows it.
        provider: whose price it is.
        source: the list.
        version: the list and its version.
        sheet: the prices.
        from_us, until_us: an interval around the time that was asked for in which the answer is the same.
        context_tokens, max_output_tokens: limits of the model, where the list knows them.
        tier: the tier, where the list states it.
    """

    model: str
    provider: str | None
    source: str
    version: str
    sheet: PriceSheet
    from_us: int = ALWAYS_FROM_US
    until_us: int = ALWAYS_UNTIL_US
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    tier: Tier | None = None


class Source(Protocol):
    """A price list."""

    name: str

    @property
    def version(self) -> str | None:
        """Name and version; None where the list is not installed."""

    def has_provider(self, provider: str) -> bool:
        """Does the list know this identifier?"""

    def find(self, provider: str | None, model: str, service_tier: str | None, at_us: int) -> Listing | None:
        """The model's prices, or None. With no provider: those of the model's maker."""

    def sellers(self, name: str) -> Collection[str]:
        """Who sells a model of exactly this name, in lower case."""

    def maker(self, name: str) -> str | None:
        """Whose names begin like this one, in lower case; None where the list cannot tell."""

    def names(self, provider: str | None) -> Iterable[str]:
        """The names that the list knows, of one provider or of all."""


def moment_of(at_us: int) -> datetime:
    """The UTC time; beyond what datetime can hold, its first or last."""
    try:
        return _EPOCH + timedelta(microseconds=at_us)
    except OverflowError:
        return _LAST if at_us > 0 else _FIRST


def bound(at_us: int) -> datetime | None:
    """The end of an interval as a UTC time; None where it is open."""
    return None if at_us in (ALWAYS_FROM_US, ALWAYS_UNTIL_US) else moment_of(at_us)

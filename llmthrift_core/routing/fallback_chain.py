"""`FallbackChain`: which models are tried after one failed, in an order of the user's own, and what such a try may cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.errors import ConfigurationError, UnknownModelError
from llmthrift_core.money import to_nano_usd, to_usd
from llmthrift_core.routing.fallbacks import fallback_order, fallback_reason
from llmthrift_core.routing.models import tokens_of
from llmthrift_core.routing.types import Tiers
from llmthrift_core.texts import as_texts

if TYPE_CHECKING:
    from llmthrift_core.pricing import PriceCatalog

_ANSWER_TOKENS: Final = 500


@dataclass(frozen=True)
class FallbackChain:
    """Which tiers are tried after one failed with a rate limit, an outage, a timeout, or a prompt that is too long for it.

    Attributes:
        order: names of tiers, the first to try first; None: the stronger ones upwards, then the cheaper ones downwards. After a tier of the
            chain, those behind it are tried; after one that is not in it, all of it.
        max_usd: a tier whose call is expected to cost more is passed over, and one without a price; None is any.
        answer_tokens: how long an answer is assumed to be, at four characters a token.

    Raises:
        ConfigurationError: an option that cannot be used.

    >>> from llmthrift_core.routing import FallbackChain, Tiers
    >>> list(FallbackChain(["medium", "small"]).after("large", Tiers(("small", "medium", "large"))))
    ['medium', 'small']
    """

    order: Sequence[str] | None = None
    max_usd: Decimal | float | str | None = None
    answer_tokens: int = _ANSWER_TOKENS

    def __post_init__(self) -> None:
        if self.order is not None:
            order = as_texts("order", self.order)
            if len(set(order)) < len(order):
                raise ConfigurationError(f"a tier is tried once: {', '.join(order)}")
            object.__setattr__(self, "order", tuple(order))
        if self.max_usd is not None:
            nano = to_nano_usd(self.max_usd)
            if nano <= 0:
                raise ConfigurationError(f"max_usd must be a positive number of US dollars, not {self.max_usd!r}")
            object.__setattr__(self, "max_usd", to_usd(nano))
        if self.answer_tokens < 0:
            raise ConfigurationError(f"answer_tokens must be 0 or more, not {self.answer_tokens!r}")

    def check(self, tiers: Sequence[str]) -> None:
        """Raise ConfigurationError where the chain names what is no tier of a router."""
        if unknown := [name for name in self.order or () if name not in tiers]:
            raise ConfigurationError(f"fallbacks name {', '.join(unknown)}, which is no tier of this router: {', '.join(tiers)}")

    def after(self, failed: str, tiers: Tiers) -> Iterator[str]:
        """The allowed tiers to try after one failed, in order."""
        order = self.order
        if order is None:
            yield from fallback_order(tiers, failed)
            return
        behind = order[list(order).index(failed) + 1 :] if failed in order else order
        yield from (name for name in behind if name in tiers.names)

    def next(
        self,
        error: BaseException,
        failed: str | None,
        tiers: Tiers,
        *,
        tried: Sequence[str],
        input_chars: int,
        named: dict[str, tuple[str, str | None]],
        prices: PriceCatalog,
    ) -> str | None:
        """The tier to try after one failed with an error; None where no other would do better, or none is left.

        Args:
            tried: tiers that were asked already.
            input_chars: of all messages.
            named: by tier, the names of its model and provider.
        """
        if failed is None or fallback_reason(error) is None:
            return None
        for name in self.after(failed, tiers):
            if name != failed and name not in tried and self._fits(name, input_chars, named, prices):
                return name
        return None

    def _fits(self, name: str, input_chars: int, named: dict[str, tuple[str, str | None]], prices: PriceCatalog) -> bool:
        most = self.max_usd
        if most is None:
            return True
        model, provider = named[name]
        try:
            price = prices.find(model, provider=prices.seller(model, provider))
        except UnknownModelError:
            return False
        sent, made = price.input_usd_per_million, price.output_usd_per_million
        if sent is None or made is None:
            return False
        usd = (sent * Decimal(tokens_of(input_chars)) + made * self.answer_tokens) / 1_000_000
        return usd <= Decimal(most)


def chain_of(fallbacks: Any, tiers: Sequence[str]) -> FallbackChain | None:
    """What a router's `fallbacks=` means: True is the usual order, False none, a list of tiers or a FallbackChain another one.

    Raises:
        ConfigurationError: something else, or what is no tier.
    """
    if fallbacks is True or fallbacks is False or fallbacks is None:
        return FallbackChain() if fallbacks else None
    chain = fallbacks if isinstance(fallbacks, FallbackChain) else FallbackChain(fallbacks)
    chain.check(tiers)
    return chain

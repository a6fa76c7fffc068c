"""The bill of prompts on a provider's cache that is replayed in the order of time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from llmthrift_core.prompts.counting import as_json, tokens_of_message, tokens_of_reply
from llmthrift_core.usage import Usage

if TYPE_CHECKING:
    from llmthrift_core.pricing import PriceCatalog
    from llmthrift_core.prompt_caching.terms import CacheTerms


class Billed(NamedTuple):
    """One prompt's tokens, those of them that were read from the cache, and its price; None: no price is known."""

    tokens: int
    read: int
    nano_usd: int | None


class Sent(Protocol):
    """What is known of a prompt beside its messages."""

    @property
    def model(self) -> str: ...
    @property
    def provider(self) -> str | None: ...
    @property
    def at(self) -> float: ...
    @property
    def caches(self) -> bool | None: ...


class PrefixBills:
    """Bills prompts one after the other. A prefix is kept by whole messages, for as long as the provider's terms say after each use.

    Args:
        prices: of plain, read and written input.
        terms: of a model and a provider; None where prefixes are not kept.
    """

    def __init__(self, prices: PriceCatalog, terms: Callable[[str, str | None], CacheTerms | None]) -> None:
        self._prices, self._terms = prices, terms
        self._kept: dict[tuple[str, str | None, bytes], float] = {}

    def bill(self, messages: Sequence[Any], sent: Sent) -> Billed:
        """The next prompt's tokens and price. Prompts come in the order of time."""
        sizes = [tokens_of_message(message, sent.model) for message in messages]
        total = sum(sizes) + tokens_of_reply(sent.model)
        terms = self._terms(sent.model, sent.provider)
        usage = Usage(input_tokens=total)
        read = 0
        if terms is not None and (sent.caches or (sent.caches is None and terms.automatic)):
            reached, keys = 0, []
            rolling = blake2b(digest_size=16)
            for message, size in zip(messages, sizes, strict=True):
                rolling.update(as_json(message).encode("utf-8", "surrogatepass"))
                reached += size
                key = (sent.model, sent.provider, rolling.digest())
                keys.append(key)
                if reached >= terms.min_tokens and self._kept.get(key, float("-inf")) >= sent.at:
                    read = reached
            if reached >= terms.min_tokens:
                self._kept.update(dict.fromkeys(keys, sent.at + terms.ttl_seconds))
                written = reached - read if terms.write != 1 else 0
                usage = Usage(input_tokens=total, cache_read_tokens=read, cache_write_tokens=written)
        priced = self._prices.price(usage, sent.model, sent.provider, round(sent.at * 1e6))
        return Billed(total, read, None if priced is None else priced.nano_usd)

"""`PriceCatalog`: the price of a call, from the user's overrides, genai-prices and litellm's price map, in this order.

A provider that a price list knows is binding: a model that it does not sell has no price, since another seller's price would
be worse than none. Where no provider is named, or one that no list knows (a gateway, a proxy), the name of the model decides:
its prefix, or its maker. `Cost.provider` says whose price was used. Providers that run models locally, such as Ollama, have
no price but an override.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from llmthrift_core.background.forks import ForkedLock
from llmthrift_core.errors import ConfigurationError, UnknownModelError, UsageError
from llmthrift_core.moments import Moment, to_us
from llmthrift_core.pricing.aliases import snapshot_of
from llmthrift_core.pricing.compiled import CompiledPrice
from llmthrift_core.pricing.cost import Cost, ModelPrice, Priced, Tier, tier_of
from llmthrift_core.pricing.litellm import Conflict, conflicts_between
from llmthrift_core.pricing.names import Reading, is_fine_tune, is_variant, readings, resold
from llmthrift_core.pricing.overrides import OverrideBook, Price, When, load_overrides, parse_override
from llmthrift_core.pricing.sheet import decimal_of
from llmthrift_core.pricing.source import ALWAYS_FROM_US, ALWAYS_UNTIL_US, Listing, Source, bound
from llmthrift_core.usage import Usage
from llmthrift_core.usage.payloads import LOCAL_PROVIDERS, OPEN_APIS, provider_id

SourceName = Literal["genai-prices", "litellm"]
_REMEMBERED = 4096


class _Answer:
    """What is remembered for one model, provider and service tier: the same for every call from from_us until until_us."""

    __slots__ = ("compiled", "from_us", "listing", "until_us", "version")

    def __init__(self, listing: Listing | None, from_us: int, until_us: int) -> None:
        self.listing = listing
        self.compiled = CompiledPrice(listing.sheet) if listing is not None else None
        self.version = listing.version if listing is not None else ""
        self.from_us = from_us
        self.until_us = until_us


class _State:
    """The overrides and every answer that was derived from them: replaced as a whole, so that readers need no lock."""

    __slots__ = ("answers", "book")

    def __init__(self, book: OverrideBook) -> None:
        self.book = book
        self.answers: dict[tuple[str, str | None, str | None], _Answer] = {}


class PriceCatalog:
    """Prices of models, in force at a date. Safe to share between threads.

    Args:
        overrides: a TOML file, or a mapping of the same shape (see pricing/overrides.py).
        clock: seconds since the epoch; for tests.
        sources: the price lists to ask, in order. litellm counts only where it is installed.

    Raises:
        ConfigurationError: the overrides cannot be used.

    >>> from llmthrift_core import PriceCatalog, Usage
    >>> catalog = PriceCatalog()
    >>> catalog.override("my-model", input_usd_per_million=5, output_usd_per_million=15)
    >>> catalog.cost(Usage(input_tokens=100_000, output_tokens=10_000), "my-model").usd
    Decimal('0.650000000')
    """

    def __init__(
        self,
        *,
        overrides: Mapping[str, Any] | str | Path | None = None,
        clock: Callable[[], float] | None = None,
        sources: Sequence[SourceName] = ("genai-prices", "litellm"),
    ) -> None:
        unknown = [name for name in sources if name not in ("genai-prices", "litellm")]
        if unknown:
            raise ConfigurationError(f'sources may hold "genai-prices" and "litellm", not {unknown[0]!r}')
        self._clock = clock or time.time
        self._source_names = tuple(sources)
        self._lock = ForkedLock()
        self._overrides = load_overrides(overrides) if overrides is not None else []
        self._state = _State(OverrideBook(self._overrides))

    # --- prices of calls ---

    def price(self, usage: Usage, model: str, provider: str | None, at_us: int) -> Priced | None:
        """The price of a call at a time, in microseconds since the epoch. For the hot path: None where `cost` would raise."""
        state = self._state
        try:
            answer = state.answers[model, provider, usage.service_tier]
            if not answer.from_us <= at_us < answer.until_us:
                answer = self._answer(state, model, provider, usage.service_tier, at_us)
        except KeyError:
            answer = self._answer(state, model, provider, usage.service_tier, at_us)
        except TypeError:  # a name that cannot be a key
            return None
        compiled = answer.compiled
        nano_usd = compiled.nano_usd(usage) if compiled is not None else None
        return Priced(*nano_usd, answer.version) if nano_usd is not None else None

    def is_at_hand(self, model: str, provider: str | None, service_tier: str | None = None) -> bool:
        """Whether `price` finds this model without looking into the price lists, which are files when they are first asked."""
        return (model, provider, service_tier) in self._state.answers

    def cost(self, usage: Usage, model: str, *, provider: str | None = None, at: Moment | None = None) -> Cost:
        """The price of a call, with its parts.

        Args:
            usage: what was used.
            model: the model's name, as the provider or a framework spells it.
            provider: who served it; None reads it off the name.
            at: when, in UTC unless it says otherwise; None is now. The price in force then counts.

        Raises:
            UnknownModelError: no price list knows the model at this provider.
            UsageError: the usage contradicts itself, leaves open a count that decides the price, or has a part without a price.
        """
        listing, compiled, _ = self._known(model, provider, usage.service_tier, self._us(at))
        nano_usd = compiled.nano_usd(usage)
        if nano_usd is None:
            if missing := compiled.unpriced_units(usage):
                raise UsageError(
                    f"{listing.version} has no price for the {' and the '.join(missing)} of {model!r}, and they do not cost what text "
                    f"costs: state it with thrift.prices.override({model!r}, ..., input_audio_usd_per_million=...)"
                )
            raise UsageError(f"{usage!r} cannot be priced: parts exceed their total, or a count that decides the price is None")
        return Cost(*nano_usd[:3], listing.version, listing.model, listing.provider, compiled, usage)

    def seller(self, model: str, client: str | None) -> str | None:
        """Whose price a model has that was called through a client of this provider, as `provider` of `price`.

        The clients of OpenAI and Anthropic also speak to other sellers' servers. A name that such a client's own provider does not sell,
        and that has a price by itself (`deepseek-chat`, `anthropic/claude-...`), is priced by itself: None.
        """
        if not isinstance(client, str) or provider_id(client) not in OPEN_APIS:
            return client
        state, now_us = self._state, self._us(None)
        if self._answer(state, model, client, None, now_us).listing is not None:
            return client
        return None if self._answer(state, model, None, None, now_us).listing is not None else client

    def knows(self, model: str) -> bool:
        """Is this the name of a model that has a price, whoever sells it? A file or a deployment has none."""
        if self._answer(self._state, model, None, None, self._us(None)).listing is not None:
            return True
        name = model.strip().lower()
        return is_fine_tune(name) or any(source.sellers(name) for source in self._sources)

    def maker(self, model: str) -> str | None:
        """Who makes a model, by the way its name begins, also where it has no price yet: `claude-opus-9` is Anthropic's."""
        name = model.strip().lower().rpartition("/")[2]
        return next((maker for source in self._sources if (maker := source.maker(name)) is not None), None)

    def missing(self, usage: Usage, model: str, provider: str | None, at_us: int) -> list[str]:
        """The units of a usage that have no price, where the model has one; empty for a model without any."""
        compiled = self._answer(self._state, model, provider, usage.service_tier, at_us).compiled
        return [] if compiled is None else compiled.unpriced_units(usage)

    # --- the prices themselves ---

    def find(self, model: str, *, provider: str | None = None, at: Moment | None = None) -> ModelPrice:
        """The prices of a model.

        Raises:
            UnknownModelError: no price list knows the model at this provider.
        """
        at_us = self._us(at)
        listing, _, answer = self._known(model, provider, None, at_us)
        context_tokens, max_output_tokens = listing.context_tokens, listing.max_output_tokens
        if max_output_tokens is None or context_tokens is None:
            for _, other in self._listings(self._names(model, provider), None, at_us):
                context_tokens = context_tokens or other.context_tokens
                max_output_tokens = max_output_tokens or other.max_output_tokens
        sheet = listing.sheet
        rate_in, rate_out = sheet.rates.get("input_tokens"), sheet.rates.get("output_tokens")
        long_context = rate_in.tiers[0][0] if rate_in is not None and rate_in.tiers else None

        def above(rate: Any) -> Any:
            return decimal_of(rate.at(long_context + 1) * 1_000_000) if rate is not None and long_context is not None else None

        return ModelPrice(
            model=listing.model,
            provider=listing.provider,
            source=listing.source,
            price_version=listing.version,
            tier=listing.tier or tier_of(sheet),
            input_usd_per_million=sheet.usd_per("input_tokens", 1_000_000),
            output_usd_per_million=sheet.usd_per("output_tokens", 1_000_000),
            cache_read_usd_per_million=sheet.usd_per("cache_read_tokens", 1_000_000),
            cache_write_usd_per_million=sheet.usd_per("cache_write_tokens", 1_000_000),
            cache_write_1h_usd_per_million=sheet.usd_per("cache_write_1h_tokens", 1_000_000),
            input_audio_usd_per_million=sheet.usd_per("input_audio_tokens", 1_000_000),
            output_audio_usd_per_million=sheet.usd_per("output_audio_tokens", 1_000_000),
            input_image_usd_per_million=sheet.usd_per("input_image_tokens", 1_000_000),
            output_image_usd_per_million=sheet.usd_per("output_image_tokens", 1_000_000),
            web_search_usd_per_thousand=sheet.usd_per("web_searches", 1_000),
            long_context_tokens=long_context,
            long_context_input_usd_per_million=above(rate_in),
            long_context_output_usd_per_million=above(rate_out),
            max_output_tokens=max_output_tokens,
            context_tokens=context_tokens,
            valid_from=bound(answer.from_us),
            valid_until=bound(answer.until_us),
            sheet=sheet,
        )

    def tier(self, model: str, provider: str | None = None) -> Tier | None:
        """ "economy", "standard" or "premium" by today's price (see `tier_of`) or as an override states; None for an unknown
        model. A provider is that of the client, as for `seller`.
        """
        answer = self._answer(self._state, model, self.seller(model, provider), None, self._us(None))
        return None if answer.listing is None else answer.listing.tier or tier_of(answer.listing.sheet)

    def override(
        self,
        model: str,
        *,
        input_usd_per_million: Price | None = None,
        output_usd_per_million: Price | None = None,
        cache_read_usd_per_million: Price | None = None,
        cache_write_usd_per_million: Price | None = None,
        cache_write_1h_usd_per_million: Price | None = None,
        input_audio_usd_per_million: Price | None = None,
        output_audio_usd_per_million: Price | None = None,
        input_image_usd_per_million: Price | None = None,
        output_image_usd_per_million: Price | None = None,
        web_search_usd_per_thousand: Price | None = None,
        gpu_usd_per_hour: Price | None = None,
        tokens_per_second: Price | None = None,
        batch_multiplier: Price | None = None,
        flex_multiplier: Price | None = None,
        priority_multiplier: Price | None = None,
        provider: str | None = None,
        tier: Tier | None = None,
        valid_from: When | None = None,
        valid_until: When | None = None,
        max_output_tokens: int | None = None,
        context_tokens: int | None = None,
        long_context_tokens: int | None = None,
        **further: Price | None,
    ) -> None:
        """Set the user's own price of a model.

        Give the input and output price, or for a local model `gpu_usd_per_hour` (of all its GPUs) and `tokens_per_second`
        (the tokens that they read and write in all, at the usual load): then every token costs gpu_usd_per_hour / 3600 /
        tokens_per_second. Cache reads and writes without a price cost the input price, one-hour writes the price of writes,
        audio and images the price of text. A call at the batch, flex or priority tier pays its token prices times the
        multiplier, 1 where none is given.

        With `long_context_tokens`, a call of more input tokens pays the prices named long_context_..., such as
        `long_context_input_usd_per_million`, for all its tokens. Prices named batch_..., flex_... or priority_..., such as
        `batch_output_usd_per_million` or `flex_long_context_input_usd_per_million`, are those of a service tier, where it is not a
        multiple of the standard price. Cached audio and reasoning have prices as well: `cache_read_audio_usd_per_million`,
        `reasoning_usd_per_million`.

        A price of `gpt-4o` also holds for its dated snapshots. A later `valid_from` ends an earlier period that states no
        end; the same `valid_from` replaces the price; before the first one the price lists hold.

        Raises:
            ConfigurationError: naming the field and the value.
        """
        given = {name: value for name, value in locals().items() if name not in ("self", "model", "further")}
        added = parse_override(model, given | further)
        with self._lock:
            kept = [old for old in self._overrides if (old.key, old.from_us) != (added.key, added.from_us)]
            book = OverrideBook([*kept, added])
            self._overrides = [*kept, added]
            self._state = _State(book)

    def conflicts(self) -> list[Conflict]:
        """Where genai-prices and litellm disagree today; empty where one of them is not installed or not asked. Takes a
        second.
        """
        from llmthrift_core.pricing.genai import GenaiPrices
        from llmthrift_core.pricing.litellm import LitellmPrices

        genai = next((source for source in self._sources if isinstance(source, GenaiPrices)), None)
        litellm = next((source for source in self._sources if isinstance(source, LitellmPrices)), None)
        return conflicts_between(genai, litellm, self._us(None)) if genai is not None and litellm is not None else []

    def versions(self) -> dict[str, str]:
        """The version of each price list in use, such as {"genai-prices": "genai-prices 0.2.3"}."""
        versions = {source.name: source.version for source in self._sources} | {"override": self._state.book.version}
        return {name: version for name, version in versions.items() if version is not None}

    def age_days(self) -> int | None:
        """Days since the newest price change that genai-prices holds: the list is at most this old. None where that is not
        known.
        """
        from llmthrift_core.pricing.genai import GenaiPrices

        today = datetime.fromtimestamp(self._clock(), UTC)
        for source in self._sources:
            if isinstance(source, GenaiPrices) and (newest := source.newest_price_date(today)) is not None:
                return (today.date() - newest).days
        return None

    # --- how it is found ---

    @cached_property
    def _sources(self) -> tuple[Source, ...]:
        # Only now: genai-prices takes 40 ms to import.
        from llmthrift_core.pricing.genai import GenaiPrices
        from llmthrift_core.pricing.litellm import LitellmPrices

        lists: dict[str, Callable[[], Source]] = {GenaiPrices.name: GenaiPrices, LitellmPrices.name: LitellmPrices}
        return tuple(lists[name]() for name in self._source_names)

    def _us(self, at: Moment | None) -> int:
        if at is None:
            return int(self._clock() * 1_000_000)
        try:
            return to_us(at)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"at={at!r}: {error}") from None

    def _known(self, model: str, provider: str | None, service_tier: str | None, at_us: int) -> tuple[Listing, CompiledPrice, _Answer]:
        answer = self._answer(self._state, model, provider, service_tier, at_us)
        if answer.listing is None or answer.compiled is None:
            raise UnknownModelError(model, provider=provider, closest=partial(self._closest, str(model), provider))
        return answer.listing, answer.compiled, answer

    def _answer(self, state: _State, model: str, provider: str | None, service_tier: str | None, at_us: int) -> _Answer:
        if not isinstance(model, str) or not isinstance(provider, str | None) or not model.strip():
            return _Answer(None, at_us, at_us)
        key = (model, provider, service_tier)
        answer = state.answers.get(key)
        if answer is None or not answer.from_us <= at_us < answer.until_us:
            answer = self._resolved(state, model, provider, service_tier, at_us)
            if len(state.answers) >= _REMEMBERED:
                state.answers.clear()
            state.answers[key] = answer
        return answer

    def _resolved(self, state: _State, model: str, provider: str | None, service_tier: str | None, at_us: int) -> _Answer:
        names = self._names(model, provider)
        listing, from_us, until_us = state.book.find(names, service_tier, at_us)
        if listing is None:
            for _, found in chain(self._listings(names, service_tier, at_us), self._resold(model, provider, service_tier, at_us)):
                listing = found
                from_us, until_us = max(from_us, found.from_us), min(until_us, found.until_us)
                break
        if listing is None and provider is None and (seller := self._only_seller(model)) is not None:
            return self._resolved(state, model, seller, service_tier, at_us)
        return _Answer(listing, from_us, until_us)

    def _only_seller(self, model: str) -> str | None:
        """The one seller of a name, by the first list that has it; None of a name with its maker, under which anybody may serve it."""
        name = model.strip().lower()
        sellers = () if "/" in name else next((found for source in self._sources if (found := source.sellers(name))), ())
        return next(iter(sellers)) if len(sellers) == 1 else None

    def _listings(self, names: Sequence[Reading], service_tier: str | None, at_us: int) -> Iterable[tuple[Source, Listing]]:
        for source in self._sources:
            for provider, name in names:
                listing = _dated(source, provider, name, service_tier, at_us)
                # The base model's price is not the price of what was trained from it.
                if listing is not None and (not is_fine_tune(name) or is_fine_tune(listing.model)):
                    yield source, listing

    def _names(self, model: str, provider: str | None) -> list[Reading]:
        if provider is None or not provider.strip():
            reading = resold(model) if is_variant(model) else None
            return [*([reading] if reading is not None else []), *readings(model, None, self._is_provider)]
        identifier = provider_id(provider)
        if self._is_provider(identifier):
            return readings(model, identifier, self._is_provider)
        return [(identifier, model.strip()), *self._names(model, None)]

    def _resold(self, model: str, provider: str | None, service_tier: str | None, at_us: int) -> Iterator[tuple[Source, Listing]]:
        """OpenRouter's price of a name that no maker has a price for, where no other provider is known to have served it."""
        reading = resold(model)
        if reading is not None and not (provider and provider.strip() and self._is_provider(provider_id(provider))):
            yield from self._listings([reading], service_tier, at_us)

    def _is_provider(self, identifier: str) -> bool:
        return identifier in LOCAL_PROVIDERS or any(source.has_provider(identifier) for source in self._sources)

    def _closest(self, model: str, provider: str | None) -> list[str]:
        from difflib import get_close_matches

        reading = self._names(model, provider)[0]
        for seller in dict.fromkeys((reading[0], None)):
            names = {override.model for override in self._state.book.all}
            for source in self._sources:
                names.update(source.names(seller))
            by_lowered = {name.lower(): name for name in sorted(names)}
            if close := get_close_matches(reading[1].lower()[:100], by_lowered, n=3, cutoff=0.6):
                return [by_lowered[name] for name in close]
        return []


def _dated(source: Source, provider: str | None, name: str, service_tier: str | None, at_us: int) -> Listing | None:
    """A listing at a time: of the snapshot that the name stood for then, where the list knows only what it stands for today."""
    snapshot, from_us, until_us = snapshot_of(provider, name, at_us)
    listing = source.find(provider, snapshot, service_tier, at_us)
    if listing is None and snapshot != name:
        listing = source.find(provider, name, service_tier, at_us)
    if listing is None or (from_us, until_us) == (ALWAYS_FROM_US, ALWAYS_UNTIL_US):
        return listing
    return replace(listing, from_us=max(listing.from_us, from_us), until_us=min(listing.until_us, until_us))

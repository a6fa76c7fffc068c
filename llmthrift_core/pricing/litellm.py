"""litellm's price map as a second price list, read from the installed package without importing it (the import takes seconds).

Its keys compose: what is priced, then `_above_1hr` (a cache lifetime), then `_above_200k_tokens` (a long-context tier), then
`_batches`, `_flex` or `_priority` (a service tier). They are parsed by that grammar. Prices have no dates, and a zero also
stands for "not known", so a model whose token prices are all zero has no price here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmthrift_core.pricing.batch_terms import BATCH, batch_rates
from llmthrift_core.pricing.sheet import PriceSheet, Rate, completed, unpriced_units
from llmthrift_core.pricing.source import Listing
from llmthrift_core.usage.payloads import provider_id

if TYPE_CHECKING:
    from llmthrift_core.pricing.genai import GenaiPrices

_FILE = "model_prices_and_context_window_backup.json"
_SERVICE_TIERS = {"batches": "batch", "flex": "flex", "priority": "priority"}
_UNITS = {
    "input_cost_per_token": "input_tokens",
    "output_cost_per_token": "output_tokens",
    "cache_read_input_token_cost": "cache_read_tokens",
    "cache_creation_input_token_cost": "cache_write_tokens",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h_tokens",
    "input_cost_per_audio_token": "input_audio_tokens",
    "output_cost_per_audio_token": "output_audio_tokens",
    "input_cost_per_image_token": "input_image_tokens",
    "output_cost_per_image_token": "output_image_tokens",
    "input_cost_per_video_token": "input_video_tokens",
    "output_cost_per_video_token": "output_video_tokens",
    "cache_read_input_audio_token_cost": "cache_audio_read_tokens",
    "cache_read_input_image_token_cost": "cache_image_read_tokens",
    "cache_creation_input_audio_token_cost": "cache_audio_write_tokens",
    "output_cost_per_reasoning_token": "output_reasoning_tokens",
    "input_cost_per_character": "input_characters",
    "input_cost_per_second": "audio_seconds",
    "ocr_cost_per_page": "input_document_pages",
    "input_cost_per_request": "requests",
}
_KEY = re.compile(
    rf"(?P<what>{'|'.join(sorted(_UNITS, key=len, reverse=True))})(?:_above_(?P<thousands>\d+)k_tokens)?"
    rf"(?:_(?P<tier>{'|'.join(_SERVICE_TIERS)}))?"
)
_Entry = Mapping[str, Any]
_COMPARED = {
    "input_usd_per_million": "input_tokens",
    "output_usd_per_million": "output_tokens",
    "cache_read_usd_per_million": "cache_read_tokens",
}


class LitellmPrices:
    """The price map in the installed litellm; without litellm, a list that knows nothing."""

    name = "litellm"

    @cached_property
    def version(self) -> str | None:
        try:
            return f"{self.name} {version('litellm')}" if self._path is not None else None
        except PackageNotFoundError:
            return self.name

    def has_provider(self, provider: str) -> bool:
        return provider in self._map.sellers

    def find(self, provider: str | None, model: str, service_tier: str | None, at_us: int) -> Listing | None:
        lowered = model.lower()
        key = self._map.makers.get(lowered) if provider is None else self._map.by_provider.get((provider, lowered))
        return None if key is None else self.listing(key, service_tier)

    def listing(self, key: str, service_tier: str | None = None) -> Listing | None:
        """The prices under one key of the map; None if it has no token prices."""
        entry = self._map.entries[key]
        rates = entry_rates(entry, service_tier)
        if not any(rate.usd for rate in rates.values()):
            return None
        provider, complete = _provider_of(entry), completed(rates)
        return Listing(
            model=key,
            provider=provider,
            source=self.name,
            version=self.version or self.name,
            sheet=PriceSheet(complete, unpriced=unpriced_units(complete, provider, key)),
            context_tokens=_count(entry.get("max_input_tokens")),
            max_output_tokens=_count(entry.get("max_output_tokens")),
        )

    def sellers(self, name: str) -> Collection[str]:
        return self._map.sellers_of.get(name, ())

    def maker(self, name: str) -> str | None:
        return None

    def names(self, provider: str | None) -> Iterable[str]:
        return [name for seller, name in self._map.by_provider if provider is None or seller == provider]

    def models(self) -> Iterable[tuple[str, str, str]]:
        """(provider, name at the provider, key of the map) of every model."""
        return [(provider, name, key) for (provider, name), key in self._map.by_provider.items()]

    @cached_property
    def _path(self) -> Path | None:
        spec = find_spec("litellm")
        for folder in spec.submodule_search_locations or () if spec is not None else ():
            if (path := Path(folder) / _FILE).is_file():
                return path
        return None

    @cached_property
    def _map(self) -> _PriceMap:
        return _PriceMap(None) if self._path is None else _price_map(self._path, self._path.stat().st_mtime_ns)


class _PriceMap:
    """What is in the file, and where it is found."""

    def __init__(self, path: Path | None) -> None:
        read: dict[str, Any] = {} if path is None else json.loads(path.read_bytes(), parse_float=Decimal)
        sold = {key: entry for key, entry in read.items() if isinstance(entry, dict) and _provider_of(entry) is not None}
        self.entries: Mapping[str, _Entry] = sold
        # Names without a prefix: those of the model's maker, or of a host whose names nobody else uses.
        self.makers = {key.lower(): key for key in sold if "/" not in key}
        self.by_provider: dict[tuple[str, str], str] = {}
        for key, entry in sold.items():
            provider = _provider_of(entry)
            head, separator, rest = key.partition("/")
            own = separator and provider_id(head) == provider
            self.by_provider.setdefault((provider or "", (rest if own else key).lower()), key)
        self.sellers = frozenset(provider for provider, _ in self.by_provider)
        self.sellers_of: dict[str, set[str]] = {}
        for seller, name in self.by_provider:
            self.sellers_of.setdefault(name, set()).add(seller)


@lru_cache(maxsize=1)
def _price_map(path: Path, written_ns: int) -> _PriceMap:
    """The map in a file, read once for all catalogs of the process: that takes a tenth of a second."""
    return _PriceMap(path)


def entry_rates(entry: _Entry, service_tier: str | None) -> dict[str, Rate]:
    """The rates of one entry, by unit. What the service tier does not price costs the standard price, and in a batch that of the
    provider's terms, unless the map prices some of it: then OpenAI's and Google's discounts are what it says.
    """
    standard, special = _tiered(entry, None), {}
    if service_tier is not None:
        special = _tiered(entry, service_tier)
    rates = {**standard, **special}
    provider = _provider_of(entry)
    if service_tier == BATCH and (not special or provider == "anthropic"):
        rates = batch_rates(standard, provider, "", listed=special)
    search = entry.get("search_context_cost_per_query")
    if isinstance(search, dict) and (usd := _usd(search.get("search_context_size_medium"))) is not None:
        rates["web_searches"] = Rate(usd)
    return rates


def _tiered(entry: _Entry, service_tier: str | None) -> dict[str, Rate]:
    base: dict[str, Fraction] = {}
    above: dict[str, dict[int, Fraction]] = {}
    for key, value in entry.items():
        match = _KEY.fullmatch(key)
        if match is None or _SERVICE_TIERS.get(match["tier"]) != service_tier or (usd := _usd(value)) is None:
            continue
        unit = _UNITS[match["what"]]
        if match["thousands"] is None:
            base[unit] = usd
        else:
            above.setdefault(unit, {})[int(match["thousands"]) * 1000] = usd
    for band in entry.get("tiered_pricing") or () if service_tier is None else ():
        start = int(band["range"][0]) if isinstance(band, dict) and isinstance(band.get("range"), list) else None
        for key, value in band.items() if start is not None else ():
            if key in _UNITS and (usd := _usd(value)) is not None:
                if start:
                    above.setdefault(_UNITS[key], {})[start] = usd
                else:
                    base[_UNITS[key]] = usd
    return {unit: Rate(usd, tuple(sorted(above.get(unit, {}).items()))) for unit, usd in base.items()}


def _provider_of(entry: _Entry) -> str | None:
    provider = entry.get("litellm_provider")
    if not isinstance(provider, str) or provider.startswith("one of "):
        return None
    whole = provider_id(provider)
    return provider_id(provider.partition("-")[0]) if provider.startswith(("vertex_ai-", "fireworks_ai-")) else whole


def _usd(value: object) -> Fraction | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not value >= 0:
        return None
    return Fraction(value)


def _count(value: object) -> int | None:
    return value if type(value) is int and value > 0 else None


@dataclass(frozen=True, slots=True)
class Conflict:
    """One price on which the lists disagree. genai-prices' is the one that counts.

    Attributes:
        model: the name in genai-prices.
        provider: whose price it is.
        litellm_model: the key in litellm's map.
        field: "input_usd_per_million", "output_usd_per_million" or "cache_read_usd_per_million".
        genai_usd, litellm_usd: US dollars.
    """

    model: str
    provider: str
    litellm_model: str
    field: str
    genai_usd: Decimal
    litellm_usd: Decimal


def conflicts_between(genai: GenaiPrices, litellm: LitellmPrices, at_us: int) -> list[Conflict]:
    """Every disagreement at a time, by provider and model; prices that only one of the lists has are none."""
    found: list[Conflict] = []
    for provider, name, key in litellm.models():
        ours = genai.find(provider, name, None, at_us) if genai.has_provider(provider) else None
        theirs = litellm.listing(key) if ours is not None else None
        if ours is None or theirs is None:
            continue
        for field, unit in _COMPARED.items():
            a, b = ours.sheet.usd_per(unit, 1_000_000), theirs.sheet.usd_per(unit, 1_000_000)
            if a is not None and b is not None and a != b:
                found.append(Conflict(ours.model, provider, key, field, a, b))
    return sorted(found, key=lambda conflict: (conflict.provider, conflict.model, conflict.litellm_model, conflict.field))

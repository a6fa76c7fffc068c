"""The user's own prices, from code, a mapping or a TOML file. They win over every price list.

["my-model"]
input_usd_per_million = 1.25
output_usd_per_million = 10

[["gpt-4o"]]                       # several periods: the later start ends the earlier period
valid_from = 2024-05-13
input_usd_per_million = 5
output_usd_per_million = 15
[["gpt-4o"]]
valid_from = 2024-08-06
input_usd_per_million = 2.5
output_usd_per_million = 10

["long-model"]                     # a call of more input tokens than long_context_tokens pays the long-context prices for all its tokens
input_usd_per_million = 3
output_usd_per_million = 15
cache_read_usd_per_million = 0.3
long_context_tokens = 200_000
long_context_input_usd_per_million = 6
long_context_output_usd_per_million = 22.5
batch_multiplier = 0.5             # a service tier: a part of the standard prices, or prices of its own
priority_input_usd_per_million = 6
priority_long_context_input_usd_per_million = 12

["llama-3-70b"]                    # a local model: what the GPUs cost, and how many tokens they process in all
provider = "vllm"
gpu_usd_per_hour = 3.5
tokens_per_second = 1200
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.moments import to_us
from llmthrift_core.pricing.cost import Tier
from llmthrift_core.pricing.names import without_date
from llmthrift_core.pricing.sheet import PriceSheet, Rate, completed
from llmthrift_core.pricing.source import ALWAYS_FROM_US, ALWAYS_UNTIL_US, Listing
from llmthrift_core.usage.payloads import provider_id

# Field -> (unit, units that the price is for).
PRICE_FIELDS: dict[str, tuple[str, int]] = {
    "input_usd_per_million": ("input_tokens", 1_000_000),
    "output_usd_per_million": ("output_tokens", 1_000_000),
    "cache_read_usd_per_million": ("cache_read_tokens", 1_000_000),
    "cache_write_usd_per_million": ("cache_write_tokens", 1_000_000),
    "cache_write_1h_usd_per_million": ("cache_write_1h_tokens", 1_000_000),
    "input_audio_usd_per_million": ("input_audio_tokens", 1_000_000),
    "output_audio_usd_per_million": ("output_audio_tokens", 1_000_000),
    "input_image_usd_per_million": ("input_image_tokens", 1_000_000),
    "output_image_usd_per_million": ("output_image_tokens", 1_000_000),
    "cache_read_audio_usd_per_million": ("cache_audio_read_tokens", 1_000_000),
    "reasoning_usd_per_million": ("output_reasoning_tokens", 1_000_000),
    "web_search_usd_per_thousand": ("web_searches", 1_000),
}
_SERVICE_TIERS = ("batch", "flex", "priority")
_TOKEN_PRICES = [name for name in PRICE_FIELDS if name.endswith("_usd_per_million")]
# Prices of long contexts and of service tiers: what stands before the name of a token price.
_FURTHER = {
    f"{tier}{length}{name}"
    for tier in ("", *(f"{tier}_" for tier in _SERVICE_TIERS))
    for length in ("", "long_context_")
    for name in _TOKEN_PRICES
} - PRICE_FIELDS.keys()
_NUMBERS = {*PRICE_FIELDS, *_FURTHER, "gpu_usd_per_hour", "tokens_per_second", *(f"{tier}_multiplier" for tier in _SERVICE_TIERS)}
_COUNTS = {"max_output_tokens", "context_tokens", "long_context_tokens"}
_FIELDS = {*_NUMBERS, *_COUNTS, "provider", "tier", "valid_from", "valid_until"}


@dataclass(frozen=True, slots=True)
class Override:
    """One price of the user for one period."""

    model: str
    provider: str | None
    rates: Mapping[str, Rate]
    rates_by_tier: Mapping[str, Mapping[str, Rate]]  # of the service tiers whose prices differ
    tier: Tier | None
    max_output_tokens: int | None
    context_tokens: int | None
    from_us: int
    until_us: int
    version: str

    @property
    def key(self) -> tuple[str, str | None]:
        return self.model.lower(), self.provider


def parse_override(model: str, fields: Mapping[str, Any], *, where: str = "price override") -> Override:
    """Check one price.

    Raises:
        ConfigurationError: naming `where`, the field and the value.
    """

    def wrong(name: str, expected: str) -> ConfigurationError:
        return ConfigurationError(f"{where}: {model!r}: {name} = {fields[name]!r}: expected {expected}")

    if not isinstance(model, str) or not model.strip():
        raise ConfigurationError(f"{where}: a model's name must be text, not {model!r}")
    if not isinstance(fields, Mapping):
        raise ConfigurationError(f"{where}: {model!r}: expected a table of prices, not {fields!r}")
    given = {name: value for name, value in fields.items() if value is not None}
    numbers: dict[str, Fraction] = {}
    for name, value in given.items():
        if name not in _FIELDS:
            known = ", ".join(sorted(_FIELDS - _FURTHER))
            raise ConfigurationError(
                f"{where}: {model!r}: unknown key {name!r} = {value!r}; known are {known}; and token prices "
                "after long_context_, batch_, flex_ or priority_, such as batch_input_usd_per_million"
            )
        if name in _NUMBERS:
            number = _number(value)
            if number is None or number < 0:
                raise wrong(name, "a number of at least 0")
            numbers[name] = number
        if name in _COUNTS and (type(value) is not int or value <= 0):
            raise wrong(name, "a positive integer")
    threshold = given.get("long_context_tokens")
    _check_long_context(numbers, threshold, wrong)
    provider, tier = given.get("provider"), given.get("tier")
    if provider is not None and not (isinstance(provider, str) and provider.strip()):
        raise wrong("provider", "a provider's name")
    if tier is not None and tier not in get_args(Tier):
        raise wrong("tier", '"economy", "standard" or "premium"')
    bounds: list[int] = []
    for name, default in (("valid_from", ALWAYS_FROM_US), ("valid_until", ALWAYS_UNTIL_US)):
        try:
            bounds.append(to_us(given[name]) if name in given else default)
        except (TypeError, ValueError):
            raise wrong(name, "a date, a time, or ISO 8601 text") from None
    if bounds[0] >= bounds[1]:
        raise wrong("valid_until", "a time after valid_from")
    content = json.dumps([model, {name: str(value) for name, value in sorted(given.items())}])
    base = _base_rates(model, numbers, where)
    return Override(
        model=model.strip(),
        provider=provider_id(provider) if provider is not None else None,
        rates=completed({**base, **_stated(numbers, "", threshold)}),
        rates_by_tier={
            name: completed(_tier_rates(base, numbers, name, threshold))
            for name in _SERVICE_TIERS
            if any(number.startswith(f"{name}_") for number in numbers)
        },
        tier=tier,
        max_output_tokens=given.get("max_output_tokens"),
        context_tokens=given.get("context_tokens"),
        from_us=bounds[0],
        until_us=bounds[1],
        version=f"override {hashlib.sha256(content.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}",
    )


def load_overrides(source: Mapping[str, Any] | str | Path) -> list[Override]:
    """Read a TOML file, or a mapping of the same shape: each model's name to its fields, or to a list of periods.

    Raises:
        ConfigurationError: the file cannot be read, or a price in it is wrong.
    """
    import tomllib

    where, tables = "price overrides", source
    if not isinstance(tables, Mapping):
        where = str(tables)
        try:
            tables = tomllib.loads(Path(where).read_text(encoding="utf-8"), parse_float=Decimal)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{where}: the price overrides cannot be read: {error}") from None
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"{where}: not valid TOML: {error}") from None
    parsed: list[Override] = []
    for model, table in tables.items():
        periods = table if isinstance(table, Sequence) and not isinstance(table, str) else [table]
        parsed += [parse_override(model, period, where=where) for period in periods]
    starts: set[tuple[object, ...]] = set()
    for override in parsed:
        if (start := (*override.key, override.from_us)) in starts:
            raise ConfigurationError(f"{where}: {override.model!r}: two periods with the same valid_from overlap")
        starts.add(start)
    OverrideBook(parsed, where=where)
    return parsed


class OverrideBook:
    """The user's prices by model and provider, each with its periods in order. Immutable.

    Raises:
        ConfigurationError: a period that states its end overlaps with the next.
    """

    def __init__(self, overrides: Iterable[Override] = (), *, where: str = "price override") -> None:
        latest: dict[tuple[str, str | None], dict[int, Override]] = {}
        for override in overrides:
            latest.setdefault(override.key, {})[override.from_us] = override
        self._periods: dict[tuple[str, str | None], list[Override]] = {}
        for key, by_start in latest.items():
            periods = [by_start[start] for start in sorted(by_start)]
            for index, (earlier, later) in enumerate(pairwise(periods)):
                if earlier.until_us == ALWAYS_UNTIL_US:
                    periods[index] = replace(earlier, until_us=later.from_us)
                elif earlier.until_us > later.from_us:
                    raise ConfigurationError(f"{where}: {earlier.model!r}: periods overlap: one ends after the next one's valid_from")
            self._periods[key] = periods

    def __bool__(self) -> bool:
        return bool(self._periods)

    @property
    def all(self) -> list[Override]:
        """Every price, by model and start."""
        return [override for periods in self._periods.values() for override in periods]

    @property
    def version(self) -> str | None:
        """A short hash of everything; None without overrides."""
        if not self._periods:
            return None
        content = "".join(sorted(override.version for override in self.all))
        return f"override {hashlib.sha256(content.encode()).hexdigest()[:8]}"

    def find(self, names: Sequence[tuple[str | None, str]], service_tier: str | None, at_us: int) -> tuple[Listing | None, int, int]:
        """The price for the first of the names that has one at the time, and the interval in which the answer is the same.

        A price without a provider holds at every provider; one for a provider also holds where the call names none. A price of
        `gpt-4o` also holds for its dated snapshots, unless they have one of their own.
        """
        from_us, until_us = ALWAYS_FROM_US, ALWAYS_UNTIL_US
        for provider, periods in self._matching(names):
            for override in periods:
                if override.from_us <= at_us < override.until_us:
                    until_us = min(until_us, override.until_us)
                    return _listing(override, provider, service_tier), max(from_us, override.from_us), until_us
                if override.from_us > at_us:
                    until_us = min(until_us, override.from_us)
                else:
                    from_us = max(from_us, override.until_us)
        return None, from_us, until_us

    def _matching(self, names: Sequence[tuple[str | None, str]]) -> Iterable[tuple[str | None, list[Override]]]:
        spelled = [(provider, name.lower()) for provider, name in names]
        for provider, name in dict.fromkeys([*spelled, *((provider, without_date(name)) for provider, name in spelled)]):
            for key, periods in self._periods.items():
                if key[0] == name and key[1] is not None and provider in (None, key[1]):
                    yield key[1], periods
            if (name, None) in self._periods:
                yield provider, self._periods[name, None]


def _listing(override: Override, provider: str | None, service_tier: str | None) -> Listing:
    return Listing(
        model=override.model,
        provider=override.provider or provider,
        source="override",
        version=override.version,
        sheet=PriceSheet(override.rates_by_tier.get(service_tier or "", override.rates)),
        from_us=override.from_us,
        until_us=override.until_us,
        context_tokens=override.context_tokens,
        max_output_tokens=override.max_output_tokens,
        tier=override.tier,
    )


def _check_long_context(numbers: Mapping[str, Fraction], threshold: int | None, wrong: Callable[[str, str], ConfigurationError]) -> None:
    stated = [name for name in numbers if "long_context_" in name]
    if threshold is not None and not stated:
        raise wrong("long_context_tokens", "the prices above it as well, such as long_context_input_usd_per_million")
    for name in stated:
        if threshold is None:
            raise wrong(name, "long_context_tokens as well: a call of more input tokens pays it")
        if (below := name.replace("long_context_", "")) not in numbers:
            raise wrong(name, f"{below} as well, the price up to {threshold:,} input tokens")
    for name in numbers:
        for tier in _SERVICE_TIERS:
            field = name.removeprefix(f"{tier}_")
            if field != name and f"long_context_{field}" in numbers and f"{tier}_long_context_{field}" not in numbers:
                raise wrong(name, f"{tier}_long_context_{field} as well, the price above {threshold:,} input tokens")


def _stated(numbers: Mapping[str, Fraction], prefix: str, threshold: int | None) -> dict[str, Rate]:
    """The prices that are stated with a prefix, each with what it is in a long context."""
    rates: dict[str, Rate] = {}
    for name, (unit, per) in PRICE_FIELDS.items():
        if (usd := numbers.get(f"{prefix}{name}")) is not None:
            above = numbers.get(f"{prefix}long_context_{name}")
            rates[unit] = Rate(usd / per, ((threshold, above / per),) if above is not None and threshold is not None else ())
    return rates


def _tier_rates(base: Mapping[str, Rate], numbers: Mapping[str, Fraction], tier: str, threshold: int | None) -> dict[str, Rate]:
    """The rates of a service tier: its own prices, then the multiple of the standard ones."""
    factor = numbers.get(f"{tier}_multiplier", Fraction(1))
    standard = {**base, **_stated(numbers, "", threshold)}
    scaled = {unit: rate.times(factor) if unit.endswith("_tokens") else rate for unit, rate in standard.items()}
    return {**scaled, **_stated(numbers, f"{tier}_", threshold)}


def _base_rates(model: str, numbers: Mapping[str, Fraction], where: str) -> dict[str, Rate]:
    """The standard rates, before those of long contexts."""
    rates = {unit: Rate(numbers[name] / per) for name, (unit, per) in PRICE_FIELDS.items() if name in numbers}
    by_gpu = [name for name in ("gpu_usd_per_hour", "tokens_per_second") if name in numbers]
    if by_gpu:
        if len(by_gpu) == 1 or "input_tokens" in rates or "output_tokens" in rates or not numbers["tokens_per_second"]:
            raise ConfigurationError(
                f"{where}: {model!r}: a price per GPU hour takes gpu_usd_per_hour and a tokens_per_second above 0, "
                "and neither input_usd_per_million nor output_usd_per_million"
            )
        # Every token, read or written, holds the GPUs for 1 / tokens_per_second.
        rates["input_tokens"] = rates["output_tokens"] = Rate(numbers["gpu_usd_per_hour"] / 3600 / numbers["tokens_per_second"])
    for name in ("input_usd_per_million", "output_usd_per_million"):
        if PRICE_FIELDS[name][0] not in rates:
            raise ConfigurationError(f"{where}: {model!r}: {name} is missing")
    return rates


def _number(value: object) -> Fraction | None:
    """A float is read as it prints: 0.1 is one tenth."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return Fraction(number) if number.is_finite() else None


Price = Decimal | int | float | str
When = date | datetime | str

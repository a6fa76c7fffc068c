"""The terms of a provider's prompt cache: what a write and a read cost, how long a prefix is kept, from how many tokens."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.pricing.names import readings, without_date
from llmthrift_core.usage.payloads import provider_id

# Bedrock: `us.anthropic.claude-sonnet-4-5-20250929-v1:0`, `amazon.nova-lite-v1:0`; other makers: `-latest`.
_BEDROCK_BEFORE: Final = re.compile(r"^(?:[a-z]{2,8}(?:-gov)?\.)?(?:anthropic|amazon)\.")
_BEHIND: Final = re.compile(r"(?:-latest|-v\d+(?::\d+)?)$")
_AN_HOUR: Final = 3_600


@dataclass(frozen=True, slots=True)
class CacheTerms:
    """The terms of one provider's prompt cache, in multiples of the model's price per input token.

    Attributes:
        write: the price of a token that is written to the cache: 1.25 is a quarter more than an ordinary one.
        read: the price of a token that is read from the cache.
        ttl_seconds: how long a prefix is kept after it was last written or read.
        min_tokens: prefixes below this are skipped by the provider, without an error.
        max_marks: how many places one request may mark; 0 where the provider marks by itself alone.
        automatic: does the provider cache without being asked?
        storage_per_hour: the price of keeping a token for an hour, on top.
        model, provider: whose terms they are; None for terms made by hand.
        source, as_of: where they are documented, and the day on which that was read.
    """

    write: float = 1.25
    read: float = 0.1
    ttl_seconds: float = 300.0
    min_tokens: int = 1024
    max_marks: int = 4
    automatic: bool = False
    storage_per_hour: float = 0.0
    model: str | None = None
    provider: str | None = None
    source: str | None = None
    as_of: date | None = None

    def __post_init__(self) -> None:
        for name in ("write", "read", "ttl_seconds", "storage_per_hour"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                raise ConfigurationError(f"CacheTerms({name}={value!r}): give a number of at least 0")
        if self.ttl_seconds == 0:
            raise ConfigurationError("CacheTerms(ttl_seconds=0) keeps nothing: give the seconds that a prefix is kept")
        for name in ("min_tokens", "max_marks"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ConfigurationError(f"CacheTerms({name}={value!r}): give a whole number of at least 0")

    @property
    def lifetime(self) -> Literal["5m", "1h"]:
        """The life as requests ask for it."""
        return "1h" if self.ttl_seconds >= _AN_HOUR else "5m"

    @property
    def premium(self) -> float:
        """What a written token costs above an ordinary one, its storage for one life included. Below zero: writing is cheaper."""
        return self.write - 1.0 + self.storage_per_hour * self.ttl_seconds / 3600

    @property
    def reads_to_break_even(self) -> float:
        """How many reads within the life pay for a write; infinite where a read saves nothing.

        >>> round(CacheTerms(write=1.25, read=0.1).reads_to_break_even, 3), round(CacheTerms(write=2.0, read=0.1).reads_to_break_even, 3)
        (0.278, 1.111)
        """
        if self.premium <= 0:
            return 0.0
        return self.premium / (1 - self.read) if self.read < 1 else math.inf


def terms_of(model: str, provider: str | None = None, *, overrides: Iterable[CacheTerms] = ()) -> CacheTerms | None:
    """The terms on which a model's prompts are cached unless something else is asked for; None for a model whose terms are not known.

    Args:
        model: its name, as the application or the provider writes it.
        provider: who serves it; None reads it off the name.
        overrides: terms with a `model`, which win over the table.

    >>> terms_of("claude-sonnet-4-5-20250929").min_tokens, terms_of("gpt-5.6-sol").ttl_seconds, terms_of("a-model-of-ours")
    (1024, 1800.0, None)
    """
    known = choices_of(model, provider, overrides=overrides)
    return known[0] if known else None


def choices_of(model: str, provider: str | None = None, *, overrides: Iterable[CacheTerms] = ()) -> tuple[CacheTerms, ...]:
    """All terms among which a request to a model may choose, the provider's default first; empty for a model whose terms are not known.

    >>> [terms.ttl_seconds for terms in choices_of("claude-opus-5")]
    [300.0, 3600.0]
    """
    if not isinstance(model, str):
        raise ConfigurationError(f"terms_of({model!r}): give the model's name, a text")
    table = _table()
    seller = None if provider is None else provider_id(provider)
    names = [(maker, _base(name)) for maker, name in readings(model, seller, _providers().__contains__)]
    own = tuple(terms for terms in overrides if _is_for(terms, names))
    if own:
        return own
    for maker, name in names:
        for who in (maker,) if maker is not None else _makers_of(name):
            if (who, name) in table:
                return table[who, name]
    return ()


def known_terms() -> dict[tuple[str, str], tuple[CacheTerms, ...]]:
    """The table: by provider and model."""
    return dict(_table())


def _base(name: str) -> str:
    name = _BEDROCK_BEFORE.sub("", name.strip().lower())
    return without_date(_BEHIND.sub("", name))


def _is_for(terms: CacheTerms, names: list[tuple[str | None, str]]) -> bool:
    if terms.model is None:
        raise ConfigurationError(f"An override of cache terms needs the model that it is for: {terms!r}")
    wanted = _base(terms.model)
    return any(name == wanted and terms.provider in (None, maker, None if maker else terms.provider) for maker, name in names)


def _makers_of(name: str) -> tuple[str, ...]:
    """Who makes a model, for a name without a provider: the first of its row."""
    return tuple(dict.fromkeys(row["providers"][0] for row in _rows() if name in row["models"] and row["providers"][0] != "aws"))


@cache
def _rows() -> tuple[dict[str, Any], ...]:
    text = files("llmthrift_core.prompt_caching").joinpath("data/terms.toml").read_text(encoding="utf-8")
    return tuple(tomllib.loads(text)["terms"])


@cache
def _providers() -> frozenset[str]:
    return frozenset(provider for row in _rows() for provider in row["providers"])


@cache
def _table() -> Mapping[tuple[str, str], tuple[CacheTerms, ...]]:
    found: dict[tuple[str, str], tuple[CacheTerms, ...]] = {}
    for row in _rows():
        for provider in row["providers"]:
            for model in row["models"]:
                found[provider, model] = found.get((provider, model), ()) + tuple(
                    _terms(row, life, provider, model) for life in row["lives"]
                )
    return found


def _terms(row: Mapping[str, Any], life: Mapping[str, Any], provider: str, model: str) -> CacheTerms:
    return CacheTerms(
        write=float(life["write"]),
        read=float(row["read"]),
        ttl_seconds=float(life["ttl_seconds"]),
        min_tokens=row["min_tokens"],
        max_marks=row.get("max_marks", 4),
        automatic=row.get("automatic", False),
        storage_per_hour=float(row.get("storage_per_hour", 0.0)),
        model=model,
        provider=provider,
        source=row["source"],
        as_of=row["as_of"],
    )

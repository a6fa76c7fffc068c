"""One TOML file for a service: models, routing, cache, budgets, shorter prompts. Keys of providers come from the environment only."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmthrift_core.budgets import Budget
from llmthrift_core.errors import ConfigurationError

_SECRETS = ("api_key", "key", "token", "secret", "password")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class TierConfig(_Section):
    """A tier: a model by its name, such as "openai:gpt-4o-mini", and its parameters."""

    model: str
    base_url: str | None = None
    temperature: float | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    timeout: float | None = Field(default=None, gt=0)


class EmbeddingsConfig(_Section):
    """The model of `/v1/embeddings` by its name, such as "openai:text-embedding-3-small"."""

    model: str
    base_url: str | None = None
    dimensions: int | None = Field(default=None, ge=1)


class CacheConfig(_Section):
    """The cache of answers. `semantic` is True, False or the similarity from which an answer serves another question."""

    enabled: bool = True
    semantic: bool | float = False
    ttl_seconds: float | None = Field(default=3600, gt=0)


class RoutingConfig(_Section):
    """How a model is chosen where "auto" is asked for."""

    max_tier: str | None = None
    baseline: str | None = None
    fallbacks: bool = True


class ServiceConfig(_Section):
    """Where the service listens, and what it takes."""

    host: str = "127.0.0.1"
    port: int = Field(default=8484, ge=0, le=65_535)
    on_budget: Literal["refuse", "answer"] = "refuse"
    max_concurrency: int = Field(default=1_000, ge=1)
    max_body_bytes: int = Field(default=10_000_000, ge=1_000)


class ShortenConfig(_Section):
    """Shorter prompts: "lossless" or "off"."""

    steps: Literal["lossless", "off"] = "off"
    max_input_tokens: int | None = Field(default=None, ge=1)


class Configuration(_Section):
    """The whole file.

    Attributes:
        database: a path or SQLAlchemy URL; None for $LLMTHRIFT_URL, else ./llmthrift.db.
        tuning: the name of a configuration whose active version says some of this otherwise; see `thrift.configurations`.
        durability: "batched": rows are committed within 200 ms; "sync": before the answer is sent.
        tiers: by name, cheapest first.
        embeddings: the model of `/v1/embeddings`; None: it is not served.
        budgets: arguments of `Budget` each.
    """

    database: str | None = None
    durability: Literal["batched", "sync"] = "batched"
    tuning: str | None = None
    tiers: dict[str, TierConfig] = Field(min_length=1)
    embeddings: EmbeddingsConfig | None = None
    service: ServiceConfig = Field(default_factory=ServiceConfig)
    cache: CacheConfig = Field(default_factory=CacheConfig)
    routing: RoutingConfig = Field(default_factory=RoutingConfig)
    shorten: ShortenConfig = Field(default_factory=ShortenConfig)
    budgets: list[dict[str, Any]] = Field(default_factory=list)

    def made_budgets(self) -> list[Budget]:
        """The budgets of the file.

        Raises:
            ConfigurationError: one of them cannot be.
        """
        made = []
        for place, given in enumerate(self.budgets, 1):
            try:
                made.append(Budget(**given))
            except (TypeError, ConfigurationError) as error:
                raise ConfigurationError(f"budgets, number {place}: {error}") from None
        return made

    def options(self) -> dict[str, Any]:
        """The options of the framework's router."""
        cache: Any = False
        if self.cache.enabled:
            cache = {"ttl_seconds": self.cache.ttl_seconds, "semantic": self.cache.semantic}
        options: dict[str, Any] = {"cache": cache, "tuning": self.tuning, **self.routing.model_dump()}
        if self.embeddings is not None:
            options["embeddings"] = self.embeddings.model, self.embeddings.model_dump(exclude={"model"}, exclude_none=True)
        if self.shorten.steps == "lossless":
            from llmthrift_core.prompts import Shorten

            options["shorten"] = Shorten.lossless()
        return options


def load_configuration(path: str | Path) -> Configuration:
    """Read and check a file.

    Raises:
        ConfigurationError: it cannot be read, or a value cannot be; names the line and the value.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is no TOML: {error}") from None
    if secret := _secret_in(parsed):
        line = _line_of(text, secret[-1], secret[:-1])
        raise ConfigurationError(f"{path}, line {line}: keys of providers belong in the environment, not in a file: {secret[-1]}")
    try:
        return Configuration.model_validate(parsed)
    except ValidationError as error:
        raise ConfigurationError(_told(str(path), text, error)) from None


def _told(path: str, text: str, error: ValidationError) -> str:
    lines = []
    for each in error.errors():
        place = [str(part) for part in each["loc"]]
        known = f"{'.'.join(place)}: {each['msg']}"
        given = "" if isinstance(each["input"], dict) or each["type"] == "missing" else f", not {each['input']!r}"
        lines.append(f"{path}, line {_line_of(text, place[-1] if place else '', place[:-1])}: {known}{given}")
    return "\n".join(lines)


def _line_of(text: str, name: str, above: list[str] | None = None) -> int:
    """The line of a name; of its section, where it has none."""
    section = ".".join(above or [])
    inside, found = not section, 1
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("["):
            inside = stripped.strip("[] ") == section
            found = number if inside else found
        elif inside and stripped.partition("=")[0].strip().strip("\"'") == name:
            return number
    return found


def _secret_in(parsed: Any) -> list[str]:
    """Where a key of a provider stands; an empty list: nowhere."""
    if isinstance(parsed, dict):
        for name, value in parsed.items():
            if isinstance(value, str) and str(name).lower() in _SECRETS:
                return [str(name)]
            if found := _secret_in(value):
                return [str(name), *found]
    return []

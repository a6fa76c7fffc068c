"""`CachePolicy`: who may share a cached answer, for how long it answers, and how many answers are kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from llmthrift_core.attribution import EMPTY, Attribution
from llmthrift_core.cache.keys import UncacheableError, canonical_json, digest
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.texts import as_texts, is_storable

Eviction = Literal["lru", "lfu"]
Share = Literal["namespace", "feature", "user", "global"]

MIB: Final = 1024 * 1024
_KEPT_APART: Final = ("namespace", "share", "prompt_version", "require", "metadata", "tags", "sources")
_LONGEST_SECONDS: Final = 100 * 365.25 * 86_400


@dataclass(frozen=True)
class CachePolicy:
    """How one door uses the cache. Limits count over a namespace.

    Attributes:
        namespace: entries of one namespace are never seen by another. Use one per tenant.
        ttl_seconds: how long an entry that is stored now answers; None is for ever.
        max_age_seconds: entries older than this do not answer here, whatever their own lifetime; None is no limit.
        max_entries: entries of the namespace; None is no limit.
        max_bytes: bytes of the namespace's answers, their usage and metadata; None is no limit.
        eviction: which entries go first when a limit is reached: "lru" the longest unused, "lfu" the least often used.
        tags, sources: labels of entries that are stored now, for `ExactCache.invalidate(tag=..., source=...)`.
        metadata: stored with each entry.
        require: metadata that an entry must carry, with these values, to answer.
        prompt_version: part of the key: entries of another version never answer.
        share: who may share an entry: everyone in the "namespace", the same "feature", or the same "user". With the first two, a question
            that may be about its asker stays with its user, where the user is known: one in the first person, or in a language that the
            guard does not read (see `first_person.is_personal`). "global" shares these too, with everyone in the namespace. By "user" and
            by "feature" nothing is stored or found for a request that names none.

    Raises:
        ConfigurationError: a value that cannot be used.
    """

    namespace: str = "default"
    ttl_seconds: float | None = 3600.0
    max_age_seconds: float | None = None
    max_entries: int | None = 100_000
    max_bytes: int | None = 256 * MIB
    eviction: Eviction = "lru"
    tags: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    require: Mapping[str, str] = field(default_factory=dict)
    prompt_version: str | None = None
    share: Share = "namespace"

    def __post_init__(self) -> None:
        _check_text("namespace", self.namespace)
        if self.prompt_version is not None:
            _check_text("prompt_version", self.prompt_version)
        for name in ("ttl_seconds", "max_age_seconds"):
            _check_seconds(name, getattr(self, name))
        for name in ("max_entries", "max_bytes"):
            _check_limit(name, getattr(self, name))
        for name, choices in (("eviction", get_args(Eviction)), ("share", get_args(Share))):
            if getattr(self, name) not in choices:
                raise ConfigurationError(f"{name} must be {' or '.join(map(repr, choices))}, not {getattr(self, name)!r}")
        for name in ("tags", "sources"):
            object.__setattr__(self, name, _labels(name, getattr(self, name)))
        for name in ("metadata", "require"):
            object.__setattr__(self, name, _pairs(name, getattr(self, name)))

    def check_agrees(self, other: CachePolicy) -> None:
        """That both say the same of whose answers may be given, and of how they are labelled and removed. Lifetimes and sizes may differ.

        Raises:
            ConfigurationError: they do not, so that one would give what the other keeps apart.
        """
        differing = [name for name in _KEPT_APART if getattr(self, name) != getattr(other, name)]
        if differing:
            here, there = (", ".join(f"{name}={getattr(each, name)!r}" for name in differing) for each in (self, other))
            raise ConfigurationError(
                f"the cache has {here}, and the SemanticCache that it was given has {there}; give both the same: "
                f"SemanticCache(..., limits=CachePolicy({here}))"
            )

    def owner(self, asked: Callable[[], Iterable[str]], who: Attribution) -> str | None:
        """The user whose own answers alone may be given; None: answers are shared as `share` says.

        Args:
            asked: gives what the user wrote.
            who: asks.
        """
        if who.user is None or self.share in ("user", "global"):
            return None
        from llmthrift_core.cache.first_person import is_personal  # with tables of words, which a cache without users never needs

        return who.user if any(map(is_personal, asked())) else None

    def sharer(self, who: Attribution) -> str | None:
        """The user or the feature that shares an entry with nobody else; None: the namespace shares it.

        Raises:
            UncacheableError: the policy shares by user or feature, and the request names none.
        """
        if self.share not in ("user", "feature"):
            return None
        name = who.user if self.share == "user" else who.feature
        if name is None:
            raise UncacheableError(
                f"share={self.share!r} needs a {self.share}: wrap the call in attribute({self.share}=...), or give it as metadata"
            )
        return name

    def key(self, *parts: bytes, attribution: Attribution = EMPTY, asked: Callable[[], Iterable[str]] = tuple) -> bytes:
        """The key of a request: of this policy's namespace, prompt version and sharing, and of `parts` in their order.

        Args:
            parts: everything that decides the answer, in canonical form (`canonical_json`) or as digests.
            attribution: who asks.
            asked: gives what the user wrote, for questions that may be about their asker.

        Raises:
            UncacheableError: the policy shares by user or feature, and the request names none.
        """
        who = self.sharer(attribution)
        scope = b"" if who is None else f"{self.share}={who}".encode("utf-8", "surrogatepass")
        if (owner := self.owner(asked, attribution)) is not None:
            scope = canonical_json([scope.hex(), owner])
        version = b"" if self.prompt_version is None else b"=" + self.prompt_version.encode("utf-8", "surrogatepass")
        return digest(self.namespace, scope, version, *parts)

    def variant(self, key: bytes) -> bytes:
        """The key of the answer to a request among those that differ in what is required of them, so that several versions live at once."""
        return digest("variant", key, canonical_json(self.require)) if self.require else key


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{name} must be a text that is not empty, not {value!r}")
    if not is_storable(value):
        raise ConfigurationError(f"{name} holds characters that no database stores: {value!r}")


def _check_seconds(name: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise ConfigurationError(f"{name} must be more than 0 seconds, or None, not {value!r}")
    if value > _LONGEST_SECONDS:
        raise ConfigurationError(f"{name} must be at most 100 years, or None, not {value!r}")


def _check_limit(name: str, value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ConfigurationError(f"{name} must be an integer of at least 1, or None for no limit, not {value!r}")


def checked_key(key: Any) -> str:
    """A key of the user's own. Raises ConfigurationError: it is none."""
    _check_text("key", key)
    return str(key)


def _labels(name: str, values: Any) -> tuple[str, ...]:
    values = as_texts(name, values)
    for value in values:
        _check_text(f"a label in {name}", value)
    return tuple(dict.fromkeys(values))


def _pairs(name: str, values: Any) -> dict[str, str]:
    if not isinstance(values, Mapping):
        raise ConfigurationError(f"{name} must be a mapping of texts to texts, not {type(values).__name__}")
    for key, value in values.items():
        _check_text(f"a name in {name}", key)
        if not isinstance(value, str) or not is_storable(value):
            raise ConfigurationError(f"{name}[{key!r}] must be a text, not {value!r}")
    return dict(values)

"""`cache_rules`: which answers of the cache are good enough, and how a new one is kept, for a block of code or for one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Literal, Protocol, TypeVar

from llmthrift_core.cache.keys import canonical_json, digest
from llmthrift_core.cache.policy import CachePolicy, checked_key
from llmthrift_core.errors import ConfigurationError

_SHORTEST: Final = ("ttl_seconds", "max_age_seconds")
CacheMode = Literal["on", "off", "refresh"]
_cache_mode: ContextVar[CacheMode] = ContextVar("llmthrift_cache_mode", default="on")


class CacheUsing(Protocol):
    """A use of the cache by one request."""

    policy: CachePolicy
    semantic: Any  # the use of a SemanticCache, or None


Use = TypeVar("Use", bound=CacheUsing)


@dataclass(frozen=True, slots=True)
class CacheRules:
    """What one call asks of the cache beside its policy. None and nothing leave it to the policy.

    Attributes:
        mode: "on", "off" or "refresh".
        require: metadata that an answer must carry; one that is stored now carries it. Answers of several versions live beside each other.
        max_age_seconds: an older answer does not serve.
        ttl_seconds: how long an answer that is stored now serves.
        key: stands for the messages: calls with the same one, of the same model with the same parameters, share an answer.
        metadata, tags, sources: of an answer that is stored now, beside those of the policy.

    Raises:
        ConfigurationError: a value that cannot be used.
    """

    mode: CacheMode | None = None
    require: Mapping[str, str] = field(default_factory=dict)
    max_age_seconds: float | None = None
    ttl_seconds: float | None = None
    key: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checked = CachePolicy(
            ttl_seconds=self.ttl_seconds,
            max_age_seconds=self.max_age_seconds,
            require=self.require,
            metadata=self.metadata,
            tags=self.tags,
            sources=self.sources,
        )
        for name in ("require", "metadata", "tags", "sources"):
            object.__setattr__(self, name, getattr(checked, name))
        if self.key is not None:
            checked_key(self.key)
        if self.mode is not None:
            try:
                object.__setattr__(self, "mode", checked_cache_mode(self.mode))
            except ValueError as error:
                raise ConfigurationError(str(error)) from None

    def over(self, other: CacheRules) -> CacheRules:
        """These, and where they say nothing the other ones. Metadata and labels of both count."""
        if other is NO_RULES:
            return self
        if self is NO_RULES:
            return other
        return CacheRules(
            mode=self.mode or other.mode,
            require={**other.require, **self.require},
            max_age_seconds=other.max_age_seconds if self.max_age_seconds is None else self.max_age_seconds,
            ttl_seconds=other.ttl_seconds if self.ttl_seconds is None else self.ttl_seconds,
            key=other.key if self.key is None else self.key,
            metadata={**other.metadata, **self.metadata},
            tags=(*other.tags, *self.tags),
            sources=(*other.sources, *self.sources),
        )

    def policy(self, given: CachePolicy) -> CachePolicy:
        """A policy under these rules."""
        changes: dict[str, Any] = {name: value for name in _SHORTEST if (value := getattr(self, name)) is not None}
        for name in ("tags", "sources"):
            if added := getattr(self, name):
                changes[name] = (*getattr(given, name), *added)
        if self.require:
            changes["require"] = {**given.require, **self.require}
        if self.require or self.metadata:
            changes["metadata"] = {**given.metadata, **self.require, **self.metadata}
        return replace(given, **changes) if changes else given

    def conversation(self, given: bytes) -> bytes:
        """What stands for the messages in a key."""
        return given if self.key is None else digest("own key", self.key.encode("utf-8", "surrogatepass"))

    def ruled(self, use: Use) -> Use:
        """The use of the cache by a request, under these rules."""
        if self is NO_RULES:
            return use
        use.policy = self.policy(use.policy)
        semantic = use.semantic
        if self.key is not None:
            use.semantic = None  # whoever names what he asks has said what means the same
        elif semantic is not None:
            semantic.limits = self.policy(semantic.cache.limits)
            semantic.scope = self.version_of(semantic.scope)
        return use

    def version_of(self, scope: bytes) -> bytes:
        """A scope in which every answer carries what these rules require."""
        return digest("semantic version", scope, canonical_json(self.require)) if self.require else scope


NO_RULES: Final = CacheRules()
_NAMES: Final = frozenset(each.name for each in fields(CacheRules))
_current: ContextVar[CacheRules] = ContextVar("llmthrift_cache_rules", default=NO_RULES)


@contextmanager
def cache_rules(
    *,
    require: Mapping[str, str] | None = None,
    max_age_seconds: float | None = None,
    ttl_seconds: float | None = None,
    key: str | None = None,
    metadata: Mapping[str, str] | None = None,
    tags: Any = (),
    sources: Any = (),
) -> Iterator[None]:
    """For every call inside the block: which cached answers are good enough, and how new ones are kept. Nests by merging.

    Args:
        require: metadata that an answer must carry; one that is stored now carries it. Answers of several versions live beside each other.
        max_age_seconds: an older answer does not serve here.
        ttl_seconds: how long an answer that is stored now serves.
        key: stands for the messages: calls with the same one, of the same model with the same parameters, share an answer.
        metadata, tags, sources: of an answer that is stored now, beside those of the policy.

    Raises:
        ConfigurationError: a value that cannot be used.

    >>> from llmthrift_core import cache_rules
    >>> with cache_rules(require={"pricing_version": "2026-02-27"}, max_age_seconds=600):
    ...     pass
    """
    given = rules_of({
        "require": require or {},
        "max_age_seconds": max_age_seconds,
        "ttl_seconds": ttl_seconds,
        "key": key,
        "metadata": metadata or {},
        "tags": tags,
        "sources": sources,
    })  # fmt: skip
    token = _current.set(given.over(_current.get()))
    try:
        yield
    finally:
        _current.reset(token)


def rules_of(given: Any) -> CacheRules:
    """What a call's own `cache=` says: None, a mode, a mapping of the fields of `CacheRules`, or such rules.

    Raises:
        ConfigurationError: none of these, or a value that cannot be used.

    >>> rules_of("refresh").mode, rules_of({"ttl_seconds": 60}).ttl_seconds
    ('refresh', 60)
    """
    if given is None:
        return NO_RULES
    if isinstance(given, CacheRules):
        return given
    if not isinstance(given, Mapping):
        return CacheRules(mode=given)
    if unknown := [name for name in given if name not in _NAMES]:
        raise ConfigurationError(f"unknown cache rule {unknown[0]!r}; rules are {', '.join(sorted(_NAMES))}")
    return CacheRules(**given)


def rules_in_force(own: CacheRules) -> CacheRules:
    """A call's own rules over those of the blocks around it, `cache_mode(...)` among them."""
    found = own.over(_current.get())
    if found.mode is None and (mode := current_cache_mode()) != "on":
        return replace(found, mode=mode)
    return found


def ruled(scope: str | bytes, limits: CachePolicy) -> tuple[str | bytes, CachePolicy | None]:
    """A scope and the limits of its answers under the rules of the blocks around; None where there are none."""
    rules = rules_in_force(NO_RULES)
    if rules is NO_RULES:
        return scope, None
    return rules.version_of(scope if isinstance(scope, bytes) else scope.encode("utf-8", "surrogatepass")), rules.policy(limits)


@contextmanager
def cache_mode(mode: CacheMode) -> Iterator[None]:
    """Decide for every call inside the block whether the cache is used.

    "off" neither reads nor writes; "refresh" asks the model and replaces what was stored; "on" is the default.

    >>> from llmthrift_core import cache_mode
    >>> with cache_mode("off"):
    ...     pass
    """
    token = _cache_mode.set(checked_cache_mode(mode))
    try:
        yield
    finally:
        _cache_mode.reset(token)


def current_cache_mode() -> CacheMode:
    """The mode of the surrounding `cache_mode(...)` block, or "on"."""
    return _cache_mode.get()


def checked_cache_mode(mode: Any) -> CacheMode:
    """Return `mode`; False means "off" and True "on".

    Raises:
        ValueError: not "on", "off" or "refresh".
    """
    if isinstance(mode, bool):
        return "on" if mode else "off"
    if mode not in ("on", "off", "refresh"):
        raise ValueError(f'cache must be "on", "off" or "refresh", not {mode!r}')
    return mode  # type: ignore[no-any-return]

"""One cached answer: as it is served, as it is listed, and how a stored row becomes either."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Final

from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.errors import UsageError
from llmthrift_core.usage import Usage

_USAGE_FIELDS: Final = tuple(field.name for field in fields(Usage))
_NOT_COUNTED: Final = (("service_tier", None), ("estimated", False), ("other", ()))
_KNOWN_COUNTS: Final = frozenset(_USAGE_FIELDS) - {name for name, _ in _NOT_COUNTED}
_NOTHING: Final = Usage()
_LARGEST: Final = 2**63 - 1  # what a ledger row can hold
_to_json = json.JSONEncoder(separators=(",", ":")).encode

# The columns of a view, in the order of its fields.
VIEW_COLUMNS: Final = (
    "key", "namespace", "model", "provider", "user", "feature", "prompt_version", "metadata",
    "size_bytes", "created_us", "expires_us", "used_us", "hits",
)  # fmt: skip


@dataclass(slots=True, eq=False)
class Entry:
    """A stored answer, as a reader gets it. Shared by all readers: not to be changed.

    Attributes:
        payload: the adapter's bytes.
        usage_json: what the answer consumed when it was made; read by `usage`.
        metadata: what a reader may require.
        created_us, expires_us: microseconds since the epoch; None does not expire.
    """

    key: bytes
    namespace: str
    model: str
    provider: str | None
    metadata: Mapping[str, str]
    payload: bytes
    usage_json: str
    created_us: int
    expires_us: int | None

    @property
    def usage(self) -> Usage:
        """What the answer consumed. Parsed when it is asked for, which is after the answer was served.

        Raises:
            ValueError: the row holds something else.
        """
        return usage_from_json(self.usage_json)

    def is_live(self, now_us: int) -> bool:
        """Whether the entry has not expired."""
        return self.expires_us is None or now_us < self.expires_us

    def answers(self, policy: CachePolicy, now_us: int) -> bool:
        """Whether a live entry may answer under a policy: same namespace, young enough, with the metadata that it requires."""
        if self.namespace != policy.namespace:
            return False
        if policy.max_age_seconds is not None and now_us - self.created_us > policy.max_age_seconds * 1e6:
            return False
        return not policy.require or all(self.metadata.get(name) == value for name, value in policy.require.items())


@dataclass(frozen=True, slots=True)
class EntryView:
    """An entry without its answer, for listings and predicates. Times are microseconds since the epoch."""

    key: str
    namespace: str
    model: str
    provider: str | None
    user: str | None
    feature: str | None
    prompt_version: str | None
    metadata: Mapping[str, str]
    size_bytes: int
    created_us: int
    expires_us: int | None
    used_us: int
    hits: int


def entry_of_row(key: bytes, row: Sequence[Any]) -> Entry:
    """The entry in a row of GET_ENTRY. SQLite stores any type in any column, so that every type is checked.

    Raises:
        ValueError: a row that this library did not write.
    """
    namespace, model, provider, metadata, payload, usage, created_us, expires_us, _ = row
    if (
        type(payload) is not bytes
        or type(namespace) is not str
        or type(model) is not str
        or type(usage) is not str
        or type(created_us) is not int
        or (provider is not None and type(provider) is not str)
        or (expires_us is not None and type(expires_us) is not int)
    ):
        raise ValueError("a column holds a value of another type")
    return Entry(
        key,
        namespace,
        model,
        provider,
        {} if metadata is None else metadata_from_json(metadata),
        payload,
        usage,
        created_us,
        expires_us,
    )


def view_of_row(row: Sequence[Any]) -> EntryView | None:
    """The view of a row of VIEW_COLUMNS; None for a row that this library did not write."""
    key, namespace, model, provider, user, feature, version, metadata, *numbers = row
    texts = (provider, user, feature, version)
    size_bytes, created_us, expires_us, used_us, hits = numbers
    if (
        type(key) is not bytes
        or type(namespace) is not str
        or type(model) is not str
        or not all(text is None or type(text) is str for text in texts)
        or not all(type(number) is int for number in (size_bytes, created_us, used_us, hits))
        or (expires_us is not None and type(expires_us) is not int)
    ):
        return None
    try:
        pairs = {} if metadata is None else metadata_from_json(metadata)
    except ValueError:
        return None
    return EntryView(key.hex(), namespace, model, *texts, pairs, *numbers)


def usage_to_json(usage: Usage) -> str:
    """The counts that are not zero.

    >>> usage_to_json(Usage(input_tokens=12, output_tokens=3))
    '{"input_tokens":12,"output_tokens":3}'
    """
    given = {name: value for name in _USAGE_FIELDS if (value := getattr(usage, name))}
    return _to_json(given)


@lru_cache(maxsize=4096)
def usage_from_json(text: Any) -> Usage:
    """The usage that `usage_to_json` wrote.

    Raises:
        ValueError: anything else.
    """
    if text == "{}":
        return _NOTHING
    values = _object_in(text)
    tier, estimated, other = (values.pop(name, default) for name, default in _NOT_COUNTED)
    if (
        not _KNOWN_COUNTS.issuperset(values)
        or not all(type(count) is int and 0 <= count <= _LARGEST for count in values.values())
        or type(estimated) is not bool
        or (tier is not None and type(tier) is not str)
        or (other and max((pair[1] or 0 for pair in Usage(other=other).other), default=0) > _LARGEST)
    ):
        raise ValueError("not a usage")
    try:
        return Usage(**values, service_tier=tier, estimated=estimated, other=other)
    except UsageError:  # a provider's own contradiction was stored as it was
        return Usage.clamped(**values, service_tier=tier)


def metadata_to_json(metadata: Mapping[str, str]) -> str | None:
    """A JSON object, keys sorted; None where there is nothing."""
    return _to_json(dict(sorted(metadata.items()))) if metadata else None


def metadata_from_json(text: Any) -> dict[str, str]:
    """The mapping that `metadata_to_json` wrote.

    Raises:
        ValueError: anything else.
    """
    pairs = _object_in(text)
    if not all(type(value) is str for value in pairs.values()):
        raise ValueError("not a mapping of texts")
    return pairs


def _object_in(text: Any) -> dict[str, Any]:
    if type(text) is not str:
        raise ValueError("not a text")
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if type(found) is not dict:
        raise ValueError("not an object")
    return found

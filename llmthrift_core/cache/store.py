"""The protocol of a store of exact entries."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, NamedTuple, Protocol

from llmthrift_core.cache.entry import Entry, EntryView
from llmthrift_core.cache.leases import LeaseStore
from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.cache.uses import UseStore
from llmthrift_core.errors import ConfigurationError, LLMThriftError

SCOPES: Final = ("namespace", "model", "provider", "user", "feature", "prompt_version")


class NewEntry(NamedTuple):
    """An entry to be stored: what `Entry` and `EntryView` say of it. Times are microseconds since the epoch."""

    key: bytes
    namespace: str
    model: str
    provider: str | None
    user: str | None
    feature: str | None
    prompt_version: str | None
    metadata: str | None
    payload: bytes
    usage: str
    size_bytes: int
    created_us: int
    expires_us: int | None
    used_us: int


class Removed(NamedTuple):
    """An entry that was removed to make room."""

    key: bytes
    namespace: str
    size_bytes: int
    was_used: bool


class Freed(NamedTuple):
    """What one step of making room removed.

    Attributes:
        expired: entries past their time. evicted: live ones.
        epoch: after it; None where nothing was removed, or no memory tier needs to know.
        is_all: the namespace is within its limits now, or there is nothing left to remove.
    """

    expired: Sequence[Removed]
    evicted: Sequence[Removed]
    epoch: int | None
    is_all: bool


class Totals(NamedTuple):
    """What is stored. `expires_us` is the average over entries that are live and expire."""

    entries: int
    size_bytes: int
    hits: int
    expires_us: float | None


def totals_of_row(entries: Any, size_bytes: Any, hits: Any, expires_us: Any) -> Totals:
    """The totals that a database has added up, whatever stood in a row."""
    sums = [int(each) if math.isfinite(each) else 0 for each in (entries, size_bytes, hits)]
    return Totals(sums[0], sums[1], sums[2], None if expires_us is None or not math.isfinite(expires_us) else float(expires_us))


@dataclass(frozen=True, slots=True)
class Criteria:
    """What an entry must fulfil to be listed or removed: values of `SCOPES`, and labels."""

    wanted: Sequence[tuple[str, str]] = ()
    tag: str | None = None
    source: str | None = None

    def __bool__(self) -> bool:
        return bool(self.wanted) or self.tag is not None or self.source is not None

    def to_json(self) -> str:
        """As it is stored, with a digest for each value: the notice that a user was erased must not tell the name. Read by `fits`."""
        wanted = [[name, _digest(value)] for name, value in self.wanted]
        tag, source = (None if label is None else _digest(label) for label in (self.tag, self.source))
        return json.dumps([wanted, tag, source], separators=(",", ":"))


def fits(criteria_json: str, values: Mapping[str, Any], tags: Collection[str], sources: Collection[str]) -> bool:
    """Whether an entry fulfils criteria that were stored. What cannot be read fits everything: then an answer is not kept.

    Args:
        values: of the entry, by name.

    >>> fits(Criteria((("user", "ada"),), "faq").to_json(), {"user": "ada"}, ["faq"], [])
    True
    """
    try:
        wanted, tag, source = json.loads(criteria_json)
        return (
            all(isinstance(own := values.get(name), str) and _digest(own) == value for name, value in wanted)
            and (tag is None or tag in map(_digest, tags))
            and (source is None or source in map(_digest, sources))
        )
    except (ValueError, TypeError):
        return True


def _digest(value: str) -> str:
    return sha256(value.encode(errors="surrogatepass")).hexdigest()


class OutdatedError(LLMThriftError):
    """An answer that is not stored, since what it was made of was removed while it was made."""


def criteria_of(
    *,
    tag: str | None = None,
    source: str | None = None,
    scope: Mapping[str, str] | None = None,
    namespace: str | None = None,
) -> Criteria:
    """Checked criteria.

    Raises:
        ConfigurationError: an unknown scope, or a value that is not a text.
    """
    wanted = list((scope or {}).items())
    for name, _ in wanted:
        if name not in SCOPES:
            raise ConfigurationError(f"unknown scope {name!r}; scopes are {', '.join(SCOPES)}")
    if namespace is not None:
        wanted.append(("namespace", namespace))
    for name, value in (*wanted, *(pair for pair in (("tag", tag), ("source", source)) if pair[1] is not None)):
        _check_text(name, value)
    return Criteria(tuple(wanted), tag, source)


class BoundedStore(Protocol):
    """What can be kept within limits of number, size and time. Every method raises StorageError where the store cannot be reached."""

    def exceeds(self, policy: CachePolicy) -> bool:
        """Whether the policy's namespace holds more than its limits."""
        ...

    def free(self, policy: CachePolicy, *, kept: bytes, now_us: int) -> Freed:
        """Remove what exceeds the limits, and no more: entries past their time first, then in the policy's order. `kept` stays.

        One short step: how much is stored is counted in the same one, so that several processes together remove what one would.
        """
        ...

    def expire(self, now_us: int, most: int) -> Sequence[Removed]:
        """Remove up to `most` entries past their time."""
        ...


class EntryStore(BoundedStore, LeaseStore, UseStore[bytes], Protocol):
    """Entries by key. Every method raises StorageError where the store cannot be reached.

    The epoch rises with every live entry that is removed or replaced, so that memory tiers know when they are no longer current.

    Attributes:
        coherence_seconds: how long memory may answer without asking for the epoch.
    """

    coherence_seconds: float

    @property
    def read_only(self) -> bool:
        """True where every write raises StorageError."""
        ...

    def epoch(self) -> int: ...

    def get(self, key: bytes) -> tuple[Entry, int] | None:
        """An entry, live or not, and the epoch at which it was read.

        Raises:
            ValueError: what is stored was not written by this library.
        """
        ...

    def put(self, entry: NewEntry, policy: CachePolicy, since: int | None = None) -> int | None:
        """Add or replace an entry, with the labels of `policy`. Returns the new epoch if a live one was replaced.

        Args:
            since: the epoch at which it was asked for.

        Raises:
            OutdatedError: after that, a removal was announced which it fits.
        """
        ...

    def announce(self, criteria: Criteria, now_us: int) -> int:
        """What fulfils the criteria is about to be removed: nothing that was asked for before is stored any more, if it does.
        Returns the new epoch."""
        ...

    def remove(self, keys: Sequence[bytes]) -> tuple[int, int]:
        """Remove entries. Returns how many there were, and the new epoch."""
        ...

    def find(self, criteria: Criteria) -> list[bytes]:
        """The keys of the entries that fulfil all criteria."""
        ...

    def views(self, criteria: Criteria, *, limit: int | None) -> list[EntryView]:
        """The entries that fulfil all criteria, the most used first; unreadable ones are left out."""
        ...

    def totals(self, namespace: str | None, now_us: int) -> Totals:
        """What is stored in a namespace, or in all."""
        ...


def excess(policy: CachePolicy, entries: int, size_bytes: int) -> tuple[int, int]:
    """By how many entries and bytes a namespace that holds so many exceeds the limits."""
    return (
        0 if policy.max_entries is None else max(entries - policy.max_entries, 0),
        0 if policy.max_bytes is None else max(size_bytes - policy.max_bytes, 0),
    )


def chosen(rows: Iterable[Removed], *, entries: int, size_bytes: int) -> list[Removed]:
    """As many of the rows, from the first, as are needed to free so many entries and bytes."""
    taken: list[Removed] = []
    freed = 0
    for row in rows:
        if len(taken) >= entries and freed >= size_bytes:
            break
        taken.append(row)
        freed += row.size_bytes
    return taken


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} must be a text, not {value!r}")

"""Counters of a cache's work and failures: counted, logged seldom, and said in words that tell what to do."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

from llmthrift_core.background.failures import Failures
from llmthrift_core.cache.keys import UncacheableError
from llmthrift_core.display import counted

_LEAST_HIT_RATE: Final = 0.2
_ENOUGH_LOOKUPS: Final = 100
_FULL: Final = 0.8
_ENOUGH_REMOVED: Final = 20
_MOST_UNUSED: Final = 0.5
logger = logging.getLogger("llmthrift")
_MOST_REASONS: Final = 100


@dataclass(slots=True)
class Counts:
    """Counts since the process started.

    Attributes:
        hits: lookups that were answered; memory_hits: those of them without reading the entry from the database.
        misses: lookups that were not.
        expirations: misses that found their answer, but expired.
        stores: answers stored; refused: answers larger than the limit in bytes, or that came while the cache
            rested after a failed write.
        evictions: live entries removed to keep a limit; evicted_unused: those of them that had never answered.
        expired_unused: entries removed after their time that had never answered.
    """

    hits: int = 0
    memory_hits: int = 0
    misses: int = 0
    expirations: int = 0
    stores: int = 0
    refused: int = 0
    evictions: int = 0
    evicted_unused: int = 0
    expired_unused: int = 0


_NAMES = tuple(field.name for field in fields(Counts))


class Tally:
    """Counts exactly, under one lock. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, Counts] = {}

    def hit(self, namespace: str, *, from_memory: bool, was_missed: bool = False) -> None:
        """An entry answered.

        Args:
            was_missed: the same request was counted as a miss before it waited for the answer.
        """
        with self._lock:
            counts = self._counts.get(namespace) or self._counts.setdefault(namespace, Counts())
            counts.hits += 1
            counts.memory_hits += from_memory
            counts.misses -= was_missed

    def retract(self, namespace: str) -> None:
        """The last hit was none: what was found cannot be read."""
        with self._lock:
            counts = self._counts.get(namespace) or self._counts.setdefault(namespace, Counts())
            counts.hits -= 1
            counts.misses += 1

    def miss(self, namespace: str, *, expired: bool) -> None:
        """Nothing answered."""
        with self._lock:
            counts = self._counts.get(namespace) or self._counts.setdefault(namespace, Counts())
            counts.misses += 1
            counts.expirations += expired

    def add(
        self,
        namespace: str,
        *,
        stores: int = 0,
        refused: int = 0,
        evictions: int = 0,
        evicted_unused: int = 0,
        expired_unused: int = 0,
    ) -> None:
        """Count other events."""
        with self._lock:
            counts = self._counts.get(namespace) or self._counts.setdefault(namespace, Counts())
            counts.stores += stores
            counts.refused += refused
            counts.evictions += evictions
            counts.evicted_unused += evicted_unused
            counts.expired_unused += expired_unused

    def total(self, namespace: str | None = None) -> Counts:
        """The counts of a namespace, or of all."""
        with self._lock:
            chosen = [counts for name, counts in self._counts.items() if namespace is None or name == namespace]
            return Counts(*(sum(getattr(counts, name) for counts in chosen) for name in _NAMES))

    def after_fork(self) -> None:
        """The parent's lock may have been held."""
        self._lock = threading.Lock()


def alerts_of(
    *,
    name: str,
    hits: float,
    lookups: float,
    entries: int,
    max_entries: int | None,
    size_bytes: int,
    max_bytes: int | None,
    removed: float,
    removed_unused: float,
) -> list[str]:
    """One line for each: fewer than 20% hits, more than 80% of a limit used, most entries gone before their first hit.

    Args:
        name: which cache. removed: entries that were evicted or expired; removed_unused: those of them that had never answered.
    """
    found: list[str] = []
    if lookups >= _ENOUGH_LOOKUPS and hits / lookups < _LEAST_HIT_RATE:
        found.append(
            f"{name}: {hits / lookups:.0%} of {counted(round(lookups), 'lookup was', 'lookups were')} hits, fewer than "
            f"{_LEAST_HIT_RATE:.0%}; "
            "look for parts of the prompt that change with every call, such as times and ids"
        )
    for used, limit, what in ((entries, max_entries, "max_entries"), (size_bytes, max_bytes, "max_bytes")):
        if limit is not None and used > _FULL * limit:
            found.append(f"{name}: {used / limit:.0%} of {what}={limit:,} is used; live entries are evicted when it is full")
    if removed >= _ENOUGH_REMOVED and removed_unused / removed > _MOST_UNUSED:
        found.append(
            f"{name}: {removed_unused:,.0f} of {counted(round(removed), 'entry', 'entries')} that expired or were evicted had never "
            "answered; "
            "give them more time or room, or do not cache what is asked once"
        )
    return found


class Troubles:
    """Counts of failures that were swallowed, and of requests for which no key is possible.

    Attributes:
        uncacheable: requests by reason; after a hundred reasons the others count together.
        not_kept: answers that are not whole and good, by reason.
    """

    def __init__(self) -> None:
        self.uncacheable: dict[str, int] = {}
        self.not_kept: dict[str, int] = {}
        self._failures = Failures(logger, "cache")
        self._lock = threading.Lock()

    @property
    def errors(self) -> int:
        """Failures so far."""
        return sum(self._failures.counts.values())

    @property
    def last_error(self) -> str | None:
        """The kind and the place of the last one."""
        return self._failures.last

    def note(self, where: str, error: BaseException, private: Sequence[str] | None = None) -> None:
        """Count a failure, as `Failures.note`. A request for which no key is possible is none."""
        if isinstance(error, UncacheableError):
            self.note_uncacheable(str(error))
            return
        self._failures.note(where, error, private)

    def note_uncacheable(self, reason: str) -> None:
        """Count a request for which no key is possible, and say so once per reason."""
        with self._lock:
            is_new = reason not in self.uncacheable
            if is_new and len(self.uncacheable) >= _MOST_REASONS:
                reason, is_new = "other reasons", "other reasons" not in self.uncacheable
            self.uncacheable[reason] = self.uncacheable.get(reason, 0) + 1
        if is_new:
            logger.warning("not cached: %s", reason)

    def note_not_kept(self, reason: str) -> None:
        """Count an answer that is not stored."""
        with self._lock:
            self.not_kept[reason] = self.not_kept.get(reason, 0) + 1

    def after_fork(self) -> None:
        """The parent's lock may have been held when the process was copied."""
        self._failures.after_fork()
        self._lock = threading.Lock()

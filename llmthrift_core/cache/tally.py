"""What the exact cache did: counts per namespace in this process."""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields


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

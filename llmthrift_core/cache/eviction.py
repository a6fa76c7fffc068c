"""Keeping a namespace within its limits: when to look, and which entries go.

A small limit is kept exactly. Counting a large namespace takes milliseconds, so a large one is looked at when it may have
filled up, and then emptied by one hundredth more than needed: it never exceeds its limit by what one process stores, and several
processes together may exceed it until one of them looks again.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from llmthrift_core.cache.policy import MIB, CachePolicy
from llmthrift_core.cache.store import BoundedStore, Order

_BATCH: Final = 500  # entries per step, so that other writers get their turn


class Noted(Protocol):
    """Where removals are counted."""

    def add(self, namespace: str, *, evictions: int = 0, evicted_unused: int = 0, expired_unused: int = 0) -> None: ...


class _Room:
    """What may be stored in a namespace before it is looked at again. None: no limit. Negative: to be looked at."""

    __slots__ = ("entries", "limits", "size_bytes")

    def __init__(self, limits: tuple[int | None, int | None]) -> None:
        self.limits = limits
        self.entries = None if limits[0] is None else 0
        self.size_bytes = None if limits[1] is None else 0


class Evictor:
    """Removes what exceeds the limits of a namespace. Safe to share between threads.

    Args:
        store: holds the entries.
        tally: counts what is removed.
        flush: writes what is known of the use of entries, by which the store chooses. May raise StorageError.
        forget: hears of the keys of live entries that were removed, and of the epoch after it.
    """

    def __init__(
        self, store: BoundedStore, tally: Noted, *, flush: Callable[[], None], forget: Callable[[Sequence[bytes], int], None]
    ) -> None:
        self._store = store
        self._tally = tally
        self._flush = flush
        self._forget = forget
        self._rooms: dict[str, _Room] = {}
        self._lock = threading.Lock()

    def stored(self, policy: CachePolicy, key: bytes, size_bytes: int, now_us: int) -> None:
        """An entry was stored: make room if the namespace exceeds its limits, expired entries first.

        Raises:
            StorageError: the store cannot be read or written.
        """
        limits = (policy.max_entries, policy.max_bytes)
        if limits == (None, None):
            return
        with self._lock:
            room = self._rooms.get(policy.namespace)
            if room is None or room.limits != limits:
                self._rooms[policy.namespace] = room = _Room(limits)
            if room.entries is not None:
                room.entries -= 1
            if room.size_bytes is not None:
                room.size_bytes -= size_bytes
            if (room.entries or 0) >= 0 and (room.size_bytes or 0) >= 0:
                return
            # Each is looked up only where its own room is used up: adding up bytes takes far longer than counting.
            entries = self._store.count(policy.namespace) if (room.entries or 0) < 0 else None
            stored_bytes = self._store.size_bytes(policy.namespace) if (room.size_bytes or 0) < 0 else None
            entries_step, bytes_step = _entries_step(policy), _bytes_step(policy)
            wanted = (
                _excess(policy.max_entries, entries, entries_step),
                _excess(policy.max_bytes, stored_bytes, bytes_step),
            )
            freed = self._free(policy, key, *wanted, now_us) if any(wanted) else (0, 0)
            if entries is not None:
                room.entries = _until_next_look(policy.max_entries, entries - freed[0], entries_step)
            if stored_bytes is not None:
                room.size_bytes = _until_next_look(policy.max_bytes, stored_bytes - freed[1], bytes_step)

    def after_fork(self) -> None:
        """The parent's lock may have been held."""
        self._lock = threading.Lock()

    def _free(self, policy: CachePolicy, kept: bytes, entries: int, size_bytes: int, now_us: int) -> tuple[int, int]:
        self._flush()
        freed_entries = freed_bytes = 0
        orders: tuple[Order, ...] = ("expired", policy.eviction)
        for order in orders:
            while freed_entries < entries or freed_bytes < size_bytes:
                left = {"entries": max(entries - freed_entries, 0), "size_bytes": max(size_bytes - freed_bytes, 0)}
                freed = self._store.free(policy.namespace, order, kept=kept, now_us=now_us, **left)
                if freed.epoch is not None:
                    self._forget([row.key for row in freed.entries], freed.epoch)
                freed_entries += len(freed.entries)
                freed_bytes += sum(row.size_bytes for row in freed.entries)
                unused = sum(not row.was_used for row in freed.entries)
                if order == "expired":
                    self._tally.add(policy.namespace, expired_unused=unused)
                else:
                    self._tally.add(policy.namespace, evictions=len(freed.entries), evicted_unused=unused)
                if freed.is_all:
                    break
        return freed_entries, freed_bytes


def _excess(limit: int | None, used: int | None, step: int) -> int:
    return 0 if limit is None or used is None or used <= limit else used - limit + step


def _until_next_look(limit: int | None, used: int, step: int) -> int | None:
    if limit is None:
        return None
    # Other processes may store as well: look again when half of the room is used up, and not before a step is.
    room = max(limit - used, 0)
    return room if room <= step else max(step, room // 2)


def _entries_step(policy: CachePolicy) -> int:
    return (policy.max_entries or 0) // 100


def _bytes_step(policy: CachePolicy) -> int:
    limit = policy.max_bytes or 0
    return limit // 100 if limit >= MIB else 0


def purge(store: BoundedStore, tally: Noted, now_us: int) -> int:
    """Remove the entries that have expired by `now_us`. Returns how many. Raises StorageError."""
    removed = 0
    while True:
        found = store.expire(now_us, _BATCH)
        removed += len(found)
        for namespace, unused in Counter(row.namespace for row in found if not row.was_used).items():
            tally.add(namespace, expired_unused=unused)
        if len(found) < _BATCH:
            return removed

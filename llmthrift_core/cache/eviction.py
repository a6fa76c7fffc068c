"""Keeping a namespace within its limits, and removing what is past its time.

How much a namespace holds is counted in the store, by the step that changes it. Whoever stores an answer then removes what exceeds the
limits, in one step that counts again: so several processes never remove more than is needed, and while so many answers are being stored,
a namespace exceeds its limit by that number at most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.cache.store import BoundedStore

_BATCH: Final = 500  # entries per step, so that other writers get their turn


class Noted(Protocol):
    """Where removals are counted."""

    def add(self, namespace: str, *, evictions: int = 0, evicted_unused: int = 0, expired_unused: int = 0) -> None: ...


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

    def stored(self, policy: CachePolicy, key: bytes, now_us: int) -> None:
        """An entry was stored: make room if the namespace exceeds its limits, expired entries first.

        Raises:
            StorageError: the store cannot be read or written.
        """
        if (policy.max_entries, policy.max_bytes) == (None, None) or not self._store.exceeds(policy):
            return
        self._flush()
        is_all = False
        while not is_all:
            freed = self._store.free(policy, kept=key, now_us=now_us)
            is_all = freed.is_all
            if freed.epoch is not None:
                self._forget([row.key for row in (*freed.expired, *freed.evicted)], freed.epoch)
            self._tally.add(
                policy.namespace,
                evictions=len(freed.evicted),
                evicted_unused=sum(not row.was_used for row in freed.evicted),
                expired_unused=sum(not row.was_used for row in freed.expired),
            )


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

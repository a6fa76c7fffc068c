"""Uses of entries that are not yet in the database."""

from __future__ import annotations

import threading

from llmthrift_core.cache.semantic.entries import SemanticEntries
from llmthrift_core.errors import StorageError

_BATCH = 500  # entries per transaction, so that other writers get their turn


class Uses:
    """Counts exactly, under one lock. Safe to share between threads."""

    def __init__(self, entries: SemanticEntries) -> None:
        self._entries = entries
        self._uses: dict[int, list[int]] = {}
        self._lock = threading.Lock()

    def add(self, number: int, now_us: int) -> None:
        """An entry answered."""
        with self._lock:
            use = self._uses.setdefault(number, [0, now_us])
            use[0] += 1
            use[1] = now_us

    def write(self) -> None:
        """Add what was counted to the entries. Raises StorageError, and then keeps it for the next time."""
        with self._lock:
            uses, self._uses = self._uses, {}
        try:
            items = sorted((number, hits, used_us) for number, (hits, used_us) in uses.items())
            for start in range(0, len(items), _BATCH):
                self._entries.count_uses(items[start : start + _BATCH])
        except StorageError:
            with self._lock:
                for number, (hits, used_us) in uses.items():
                    self._uses.setdefault(number, [0, used_us])[0] += hits
            raise

"""Uses of entries that are counted in memory and not yet in the store."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from llmthrift_core.errors import StorageError

Key = TypeVar("Key", bytes, int)
KeyOfStore = TypeVar("KeyOfStore", bytes, int, contravariant=True)

_BATCH: Final = 500  # entries per step, so that other writers get their turn


class UseStore(Protocol[KeyOfStore]):
    """Where uses are kept."""

    def count_uses(self, uses: Sequence[tuple[KeyOfStore, int, int]]) -> None:
        """Add (key, number of hits, time of the last) to entries. Raises StorageError."""
        ...


class Uses(Generic[Key]):
    """Counts exactly, under one lock. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._uses: dict[Key, list[int]] = {}
        self._last_us = 0

    def moment(self, now_us: int) -> int:
        """`now_us`, or later: every use has a time of its own, so that their order survives a coarse clock."""
        with self._lock:
            self._last_us = max(now_us, self._last_us + 1)
            return self._last_us

    def add(self, key: Key, now_us: int) -> None:
        """An entry answered."""
        with self._lock:
            self._last_us = used_us = now_us if now_us > self._last_us else self._last_us + 1
            use = self._uses.get(key)
            if use is None:
                self._uses[key] = [1, used_us]
            else:
                use[0] += 1
                use[1] = used_us

    def write(self, store: UseStore[Key]) -> None:
        """Add what was counted to the entries. Raises StorageError, and then keeps what was not written for the next time."""
        with self._lock:
            uses, self._uses = self._uses, {}
        try:
            keys: list[Any] = sorted(uses)  # so that two processes do not wait for each other's rows
            for start in range(0, len(keys), _BATCH):
                batch = keys[start : start + _BATCH]
                store.count_uses([(key, uses[key][0], uses[key][1]) for key in batch])
                for key in batch:
                    del uses[key]
        except StorageError:
            self._give_back(uses)
            raise

    def after_fork(self) -> None:
        """Uses until now are written by the parent; its lock may have been held."""
        self._lock = threading.Lock()
        self._uses = {}

    def _give_back(self, uses: dict[Key, list[int]]) -> None:
        with self._lock:
            for key, (number, used_us) in uses.items():
                newer = self._uses.get(key)
                if newer is None:
                    self._uses[key] = [number, used_us]
                else:
                    newer[0] += number

"""The memory tier: the entries used last, bounded by number and bytes, and the epoch at which they are known to be current."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from llmthrift_core.cache.entry import Entry

_ENTRY_OVERHEAD_BYTES: Final = 512  # the objects around a payload, roughly


class MemoryTier:
    """Entries in memory; the least recently used go first. Safe to share between threads.

    The database raises an epoch with every live entry that is removed or replaced. What is held here was read at `epoch`, so
    that it is current while the database still has the same one.

    Args:
        max_entries, max_bytes: limits; bytes are those of the payloads and a flat amount for each entry.

    Attributes:
        epoch: the last one that was seen.
    """

    def __init__(self, *, max_entries: int, max_bytes: int) -> None:
        self.epoch = -1
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __contains__(self, key: bytes) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        """What the entries count."""
        return self._bytes

    def get(self, key: bytes) -> Entry | None:
        """The entry, now the most recently used."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
            return entry

    def put(self, entry: Entry, epoch: int) -> None:
        """Keep an entry that was current at `epoch`; others go if there is no room. Nothing, if a later epoch has been seen."""
        size = _size_of(entry)
        with self._lock:
            self._see(epoch)
            if epoch < self.epoch:
                return
            self._drop(entry.key)
            if size > self._max_bytes:
                return
            self._entries[entry.key] = entry
            self._bytes += size
            while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
                self._drop(next(iter(self._entries)))

    def is_current(self, epoch: int) -> bool:
        """Whether what is held is current at the database's `epoch`. If that is a later one, everything is dropped."""
        if epoch == self.epoch:
            return True
        with self._lock:
            self._see(epoch)
        return False

    def forget(self, keys: Iterable[bytes], epoch: int) -> None:
        """This process removed or replaced entries, which raised the epoch to `epoch`. The others are still current."""
        with self._lock:
            for key in keys:
                self._drop(key)
            if epoch == self.epoch + 1:
                self.epoch = epoch
            else:
                self._see(epoch)

    def discard(self, key: bytes) -> None:
        """Forget one entry."""
        with self._lock:
            self._drop(key)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._clear()

    def after_fork(self) -> None:
        """The parent's lock may have been held when the process was copied."""
        self._lock = threading.Lock()

    def _see(self, epoch: int) -> None:
        if epoch > self.epoch:
            self._clear()
            self.epoch = epoch

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= _size_of(entry)

    def _clear(self) -> None:
        self._entries.clear()
        self._bytes = 0


def _size_of(entry: Entry) -> int:
    return len(entry.payload) + _ENTRY_OVERHEAD_BYTES

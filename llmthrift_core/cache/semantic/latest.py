"""A mapping of the latest items only."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Latest(Generic[Key, Value]):
    """Keeps so many items, those that were put or asked for last. Safe to share between threads; a forked child calls `after_fork`.

    >>> latest = Latest[str, int](2)
    >>> for place, name in enumerate("abc"):
    ...     latest.put(name, place)
    >>> latest.get("a"), latest.pop("c"), latest.pop("c")
    (None, 2, None)
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._items: OrderedDict[Key, Value] = OrderedDict()

    def put(self, key: Key, value: Value) -> None:
        """Keep an item, and forget the oldest if there are too many."""
        with self._lock:
            self._items[key] = value
            self._items.move_to_end(key)
            if len(self._items) > self._most:
                self._items.popitem(last=False)

    def get(self, key: Key) -> Value | None:
        """An item, which is the latest then."""
        with self._lock:
            value = self._items.get(key)
            if value is not None:
                self._items.move_to_end(key)
            return value

    def pop(self, key: Key) -> Value | None:
        """An item, which is forgotten then."""
        with self._lock:
            return self._items.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._items.clear()

    def after_fork(self) -> None:
        """Another thread of the parent may have held the lock."""
        self._lock = threading.Lock()
        self._items = OrderedDict(self._items)

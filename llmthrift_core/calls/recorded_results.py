"""Recently recorded results that the doors of one database share in this process, to avoid double recording."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Final

from llmthrift_core.background.forks import ForkedLock

_MOST: Final = 1024


class RecordedResults:
    """The results that one door has just recorded, so that the next door does not record them again.

    Holds the last few objects themselves, so that an id cannot be reused while it is remembered.
    """

    def __init__(self) -> None:
        self._results: OrderedDict[int, object] = OrderedDict()
        self._lock = ForkedLock()

    def add(self, result: object) -> None:
        """Remember a recorded result."""
        with self._lock:
            self._results[id(result)] = result
            if len(self._results) > _MOST:
                self._results.popitem(last=False)

    def take(self, result: object) -> bool:
        """Whether this very object was recorded; it is forgotten."""
        with self._lock:
            return self._results.pop(id(result), None) is not None


class Shared:
    """The calls under way and the results just recorded, of every `Thrift` on one database in this process.

    Two of them may be open on one file, one for a handler and one for a cache: a call of theirs is one call all the same.
    """

    def __init__(self) -> None:
        self.owned: dict[str, Any] = {}  # the calls that a door owns, by call id
        self.recorded = RecordedResults()


_shared: weakref.WeakValueDictionary[Hashable, Shared] = weakref.WeakValueDictionary()


def shared_by(place: Hashable | None) -> Shared:
    """What those share whose database is at this place. None, as in memory, is a place of its own each time."""
    made = Shared()
    return made if place is None else _shared.setdefault(place, made)

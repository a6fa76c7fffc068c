"""What doors have recorded, so that nothing is recorded twice."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

_MOST: Final = 1024


class RecordedResults:
    """The results that one door has just recorded, so that the next door does not record them again.

    Holds the last few objects themselves, so that an id cannot be reused while it is remembered.
    """

    def __init__(self) -> None:
        self._results: OrderedDict[int, object] = OrderedDict()
        self._lock = threading.Lock()

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

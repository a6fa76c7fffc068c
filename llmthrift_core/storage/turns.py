"""`Turns`: so many at a time, and the others in the order in which they came."""

from __future__ import annotations

import threading
from collections import deque


class Turns:
    """Places for a number of threads. Whoever waits longest is next: a newcomer never overtakes, so that nobody starves under load.

    Args:
        places: how many threads may be inside at a time.
    """

    def __init__(self, places: int) -> None:
        self._lock = threading.Lock()
        self._free = places
        self._waiting: deque[threading.Lock] = deque()

    def take(self, timeout_seconds: float) -> bool:
        """Wait for a place. False if none came free in time."""
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        has_place = False
        try:
            has_place = mine.acquire(timeout=timeout_seconds)
        finally:
            if not has_place:
                with self._lock:
                    if mine in self._waiting:
                        self._waiting.remove(mine)
                    else:  # handed over at the last moment
                        has_place = True
        return has_place

    def give_back(self) -> None:
        """Leave a place to whoever waits longest."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1

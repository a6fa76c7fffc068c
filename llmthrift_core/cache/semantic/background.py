"""Work that takes long, in order, on one thread of its own that starts with the first of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Final

_MOST_WAITING: Final = 1_000


class Background:
    """Safe to share between threads, and after fork."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: set[Future[Any]] = set()

    def submit(self, work: Callable[[], None]) -> bool:
        """Do it later. False if too much is waiting, or this is closed: it is not done then."""
        with self._lock:
            if len(self._waiting) >= _MOST_WAITING:
                return False
            if self._pool is None:
                self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="llmthrift-cache")
            try:
                future = self._pool.submit(work)
            except RuntimeError:  # closed
                return False
            self._waiting.add(future)
        future.add_done_callback(self._waiting.discard)
        return True

    def wait(self) -> None:
        """Until everything that was submitted so far is done."""
        wait(list(self._waiting))

    def close(self) -> None:
        """Finish what was submitted."""
        if self._pool is not None:
            self._pool.shutdown()

    def after_fork(self) -> None:
        """The parent does what was submitted to it."""
        self._lock = threading.Lock()
        self._pool, self._waiting = None, set()

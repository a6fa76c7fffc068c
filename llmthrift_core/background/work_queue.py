"""Queues in front of slow work: one that is lost, and one that is finished, when the process ends."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Final, Generic, TypeVar

from llmthrift_core.background.forks import renew_after_fork

_IDLE_SECONDS: Final = 5.0
Offer = TypeVar("Offer")
_MOST_WAITING: Final = 1_000


class Offers(Generic[Offer]):
    """A bounded queue in front of slow work. Safe to share between threads.

    The thread is a daemon: judging what waits could take minutes, and no program should end that late for it.

    Args:
        work: called with each offer, one at a time. It must not raise.
        most_waiting: offers beyond these are refused.
    """

    def __init__(self, work: Callable[[Offer], None], *, most_waiting: int) -> None:
        self._work = work
        self._most_waiting = most_waiting
        self._closed = False
        self._start_empty()
        renew_after_fork(self)

    def _start_empty(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[Offer] = deque()
        self._thread: threading.Thread | None = None
        self._busy = False

    @property
    def waiting(self) -> int:
        """Offers that are not done yet."""
        return len(self._queue) + self._busy

    def put(self, offer: Offer) -> bool:
        """Queue an offer. False if there is no room, or this is closed."""
        with self._changed:
            if self._closed or len(self._queue) >= self._most_waiting:
                return False
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="llmthrift-evaluation", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the interpreter is shutting down
                    return False
                self._thread = thread
            self._queue.append(offer)
            self._changed.notify_all()
            return True

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until nothing waits. False if that took longer."""
        deadline = time.monotonic() + timeout_seconds
        with self._changed:
            while self.waiting:
                if not self._changed.wait(deadline - time.monotonic()):
                    return not self.waiting
        return True

    def close(self, timeout_seconds: float) -> None:
        """Drop what waits, and wait for what is being done."""
        with self._changed:
            self._closed = True
            self._queue.clear()
            thread = self._thread
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_seconds)

    def after_fork(self) -> None:
        """The parent does what was offered to it."""
        self._start_empty()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._queue and not self._closed:
                    self._changed.wait(_IDLE_SECONDS)
                if not self._queue:
                    self._thread = None
                    return
                offer = self._queue.popleft()
                self._busy = True
            try:
                self._work(offer)
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()


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

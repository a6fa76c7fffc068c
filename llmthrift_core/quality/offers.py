"""Work that waits for a thread of its own, and is lost rather than waited for when the process ends."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from llmthrift_core.forks import renew_after_fork

_IDLE_SECONDS: Final = 5.0

Offer = TypeVar("Offer")


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

"""`Repeating`: work that is done again and again in the background, as long as somebody has its owner."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable

from llmthrift_core.background.forks import renew_after_fork
from llmthrift_core.errors import place_of

logger = logging.getLogger("llmthrift")


class Repeating:
    """Calls a method every so many seconds, in a daemon thread that ends with the method's object.

    A forked child begins anew with its first `start`. What the method raises is logged, and the thread goes on.

    Args:
        work: a bound method, which is given an event that is set when it should stop.
        seconds: from the end of one call to the begin of the next.
        name: of the thread.
    """

    def __init__(self, work: Callable[[threading.Event], None], *, seconds: float, name: str) -> None:
        self._work = weakref.WeakMethod(work)
        self._seconds = seconds
        self._name = name
        self._closed = False
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Threads do not run in a forked child."""
        self._starting = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, if it does not run yet. Costs nothing where it does."""
        if self._thread is not None or self._closed:
            return
        with self._starting:
            if self._thread is None and not self._closed:
                thread = threading.Thread(
                    target=_repeat, args=(self._work, self._seconds, self._stopping, self._name), name=self._name, daemon=True
                )
                try:
                    thread.start()
                except RuntimeError:  # the interpreter is shutting down
                    self._closed = True
                else:
                    self._thread = thread

    def close(self, timeout_seconds: float = 10.0) -> None:
        """Stop, and wait for what is being done."""
        self._closed = True
        self._stopping.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_seconds)


def _repeat(work: weakref.WeakMethod[Callable[[threading.Event], None]], seconds: float, stopping: threading.Event, name: str) -> None:
    while not stopping.wait(seconds):
        method = work()
        if method is None:
            return
        try:
            method(stopping)
        except Exception as error:
            logger.error("%s failed and will be tried again in %g seconds: %s", name, seconds, place_of(error))
        del method  # while this waits, the owner may go

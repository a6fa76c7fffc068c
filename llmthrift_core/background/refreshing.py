"""`Refreshing`: something known that is read anew in the background, when somebody asks for it and it has grown old."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from contextlib import suppress

from llmthrift_core.background.forks import renew_after_fork
from llmthrift_core.settings import is_disabled


class Refreshing:
    """Calls a method that reads, in a daemon thread, where what it read the last time is older than so many seconds.

    Nothing is read while nobody asks, and nobody waits for a reading. There is one at a time; a forked child has none. What it raises is
    counted. It does not keep the method's object alive. Nothing is read after `close`, and under LLMTHRIFT_DISABLED.

    Args:
        read: a bound method.
        seconds: how old what was read may be.
        clock: seconds.
        failed: is told what `read` raises.
        name: of the thread.
    """

    def __init__(
        self, read: Callable[[], None], *, seconds: float, clock: Callable[[], float], failed: Callable[[Exception], None], name: str
    ) -> None:
        self._read = weakref.WeakMethod(read)
        self._seconds = seconds
        self._clock = clock
        self._failed = failed
        self._name = name
        self._begun_at: float | None = None
        self._closed = False
        self.errors = 0
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """A thread of the parent may have been reading: the child reads the same again."""
        self._reading = threading.Lock()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def if_old(self) -> None:
        """What was read is being used: have it read anew where it is old. Never waits, never raises."""
        now = self._clock()
        if self._begun_at is not None and 0 <= now - self._begun_at < self._seconds:
            return
        with self._starting:
            if self._closed or is_disabled() or (self._thread is not None and self._thread.is_alive()):
                return
            self._begun_at = now
            thread = threading.Thread(target=self.now, daemon=True, name=self._name)
            with suppress(RuntimeError):  # the interpreter is shutting down
                thread.start()
                self._thread = thread

    def now(self) -> None:
        """Read here and now, after a reading that is under way. Never raises."""
        read = self._read()
        if read is None or self._closed or is_disabled():
            return
        with self._reading:
            self._begun_at = self._clock()
            try:
                read()
            except Exception as error:
                self.errors += 1
                self._failed(error)

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for the reading under way in the background. False if it takes longer."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_seconds)
        return thread is None or not thread.is_alive()

    def close(self, timeout_seconds: float = 10.0) -> None:
        """Read no more, and wait for the reading under way."""
        self._closed = True
        self.wait(timeout_seconds)

"""`OwnedThread`: the life of a daemon thread that works for an object and ends with it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

from llmthrift_core.background.forks import renew_after_fork


class OwnedThread:
    """One daemon thread that calls a bound method, started when first needed. A forked child begins anew with its first start.

    A subclass gives `_body`, what the thread does. It must not hold this object nor that of the method while it waits.

    Args:
        work: a bound method, whose object may go.
        name: of the thread.
    """

    def __init__(self, work: Callable[..., Any], *, name: str) -> None:
        self._work = weakref.WeakMethod(work)
        self._name = name
        self._closed = False
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Threads do not run in a forked child."""
        self._starting = threading.Lock()
        self._signal = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_closed(self) -> bool:
        """Whether it does not work any more."""
        return self._closed

    def start(self) -> None:
        """Start the thread, if it does not run yet. Costs nothing where it does."""
        if self._thread is not None or self._closed:
            return
        with self._starting:
            if self._thread is None and not self._closed:
                thread = threading.Thread(target=self._body(), name=self._name, daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the interpreter is shutting down
                    self._closed = True
                else:
                    self._thread = thread

    def close(self, timeout_seconds: float = 10.0) -> None:
        """Stop, and wait for what is being done."""
        self._closed = True
        self._signal.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_seconds)

    def _body(self) -> Callable[[], None]:
        """What the thread does, as a callable that does not hold this object."""
        raise NotImplementedError

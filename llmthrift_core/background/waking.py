"""`Waking`: work in a thread of its own, done when it is due and whenever somebody asks for it sooner."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from functools import partial

from llmthrift_core.background.owned_thread import OwnedThread
from llmthrift_core.errors import place_of

logger = logging.getLogger("llmthrift")


class Waking(OwnedThread):
    """Calls a method in a daemon thread that ends with the method's object.

    Args:
        work: a bound method, which says in how many seconds it is due again; None: only when somebody wakes it. What it raises is logged.
        retry_seconds: when it is due again after it has raised.
        name: of the thread.
    """

    def __init__(self, work: Callable[[], float | None], *, retry_seconds: float, name: str) -> None:
        self._retry_seconds = retry_seconds
        super().__init__(work, name=name)

    def wake(self) -> None:
        """Have it done soon. Starts the thread, if it does not run yet."""
        self._signal.set()
        self.start()

    def _body(self) -> Callable[[], None]:
        return partial(_run, self._work, self._signal, self._retry_seconds, self._name, weakref.ref(self))


def _run(
    work: weakref.WeakMethod[Callable[[], float | None]],
    signal: threading.Event,
    retry_seconds: float,
    name: str,
    owner: weakref.ref[Waking],
) -> None:
    seconds: float | None = 0.0
    while True:
        # Now and then it looks whether anybody is left to work for.
        signal.wait(60.0 if seconds is None else min(seconds, 60.0))
        is_due = signal.is_set() or (seconds is not None and seconds <= 60.0)
        signal.clear()
        waking, method = owner(), work()
        if waking is None or method is None or waking.is_closed:
            return
        del waking
        if is_due:
            try:
                seconds = method()
            except Exception as error:
                logger.error("%s failed and will be tried again in %g seconds: %s", name, retry_seconds, place_of(error))
                seconds = retry_seconds
        elif seconds is not None:
            seconds -= 60.0
        del method  # while this waits, the owner may go

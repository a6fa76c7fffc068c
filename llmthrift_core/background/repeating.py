"""`Repeating`: work that is done again and again in the background, as long as somebody has its owner."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from functools import partial

from llmthrift_core.background.owned_thread import OwnedThread
from llmthrift_core.errors import place_of

logger = logging.getLogger("llmthrift")


class Repeating(OwnedThread):
    """Calls a method every so many seconds, in a daemon thread that ends with the method's object.

    What the method raises is logged, and the thread goes on.

    Args:
        work: a bound method, which is given an event that is set when it should stop.
        seconds: from the end of one call to the begin of the next.
        name: of the thread.
    """

    def __init__(self, work: Callable[[threading.Event], None], *, seconds: float, name: str) -> None:
        self._seconds = seconds
        super().__init__(work, name=name)

    def _body(self) -> Callable[[], None]:
        return partial(_repeat, self._work, self._seconds, self._signal, self._name)


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

"""`Circuit`: after a server did not answer, nobody waits for it again until one attempt has shown that it is back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from llmthrift_core.background.forks import renew_after_fork
from llmthrift_core.storage.faults import UnavailableError

logger = logging.getLogger("llmthrift.storage")

_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 5.0


class Circuit:
    """Closed while the server answers, open after it did not, half open for the one attempt that comes first after a pause.

    All threads of the process share it, so that one of them waits for a silent server and the others go on at once. Pauses double from
    half a second to five seconds.

    Args:
        name: where the server is, without its password.
        answer_seconds: how long an attempt may wait for the server.
        clock: seconds that never go back.
    """

    def __init__(self, name: str, *, answer_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._answer_seconds = answer_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._pause = _FIRST_PAUSE_SECONDS
        self._until: float | None = None  # None: closed
        self._reason = ""
        renew_after_fork(self)

    @property
    def is_open(self) -> bool:
        """Whether the server did not answer the last attempt."""
        return self._until is not None

    def enter(self) -> bool:
        """Go on if the server answers, or if this is the attempt that finds out: True then.

        Raises:
            UnavailableError: it does not, and it is too early to try again.
        """
        if not self.is_open:
            return False
        with self._lock:
            now, until = self._clock(), self._until
            if until is None:
                return False
            if now < until:
                raise UnavailableError(f"{self._reason}; it is tried again in {until - now:.1f} s")
            # Others keep out while this attempt waits. If nobody ever tells how it ended, the next one comes then.
            self._until = now + self._pause + self._answer_seconds
            return True

    def failed(self, error: UnavailableError) -> None:
        """The server did not answer."""
        with self._lock:
            was_closed = self._until is None
            self._pause = _FIRST_PAUSE_SECONDS if was_closed else min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
            self._until = self._clock() + self._pause
            self._reason = str(error)
        if was_closed:
            logger.error("%s does not answer; calls do not wait for it until it does again: %s", self._name, error)

    def answered(self) -> None:
        """The server answered. Costs nothing while the circuit is closed."""
        if self._until is not None:
            with self._lock:
                self._until = None
                self._pause = _FIRST_PAUSE_SECONDS
            logger.warning("%s answers again", self._name)

    def after_fork(self) -> None:
        """Another thread of the parent may have held the lock."""
        self._lock = threading.Lock()

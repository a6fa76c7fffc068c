"""Single flight: of identical requests that are under way at once, one calls the model and the others wait for it.

A waiting request looks into the cache when the first is done; if that failed, one of the waiting ones goes next. Nobody waits
for himself: not in the leader's thread and task, and not in a thread that runs an event loop, which the leader may need. Nobody
waits longer than `timeout_seconds` in all, however many leaders fail.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Final

WAIT_SECONDS: Final = 30.0
Caller = tuple[int, int]


class _Crowd:
    """Who wants one answer: the leader's future, and since when each caller has been waiting. Lives while anybody holds it."""

    __slots__ = ("__weakref__", "done", "leader", "since")

    def __init__(self) -> None:
        self.done: Future[None] | None = None
        self.leader: Caller | None = None
        self.since: dict[Caller, float] = {}


class Waiting:
    """An identical request under way, and how to wait for its end: never with an error, never past the caller's time.

    Attributes:
        timeout_seconds: how long a wait takes at most.
    """

    __slots__ = ("_caller", "_crowd", "_done", "timeout_seconds")

    def __init__(self, crowd: _Crowd, done: Future[None], caller: Caller, timeout_seconds: float) -> None:
        self._crowd = crowd
        self._done = done
        self._caller = caller
        self.timeout_seconds = timeout_seconds

    def wait(self) -> None:
        """Block the thread. Returns at once where that would stop an event loop, which the leader may need: the caller goes alone."""
        if _runs_event_loop():
            self._crowd.since[self._caller] = -inf
        else:
            wait([self._done], timeout=self.timeout_seconds)

    async def wait_async(self) -> None:
        """Suspend the task."""
        done = asyncio.wrap_future(self._done)
        try:
            await asyncio.wait([done], timeout=self.timeout_seconds)
        finally:
            done.cancel()  # the leader's future is running, which this cannot cancel


class Flight:
    """The right and duty to make the call that others wait for. `done` ends it, as does dropping the last reference."""

    __slots__ = ("__weakref__", "_crowd", "_done", "_process")

    def __init__(self, crowd: _Crowd, done: Future[None]) -> None:
        self._crowd = crowd
        self._done = done
        self._process = os.getpid()

    def done(self) -> None:
        """Let the others go on, whether there is an answer or not. Calling twice does nothing."""
        # Without the lock: the garbage collector may drop a flight inside `join`, in the thread that holds it.
        if self._crowd.done is self._done:
            self._crowd.done = None
        with suppress(InvalidStateError):
            self._done.set_result(None)

    def __del__(self) -> None:
        if os.getpid() == self._process:  # a forked child may find the future's lock taken, and nobody waits there
            self.done()


class Flights:
    """The calls under way, by key. Safe to share between threads.

    >>> from llmthrift_core.cache import Flights
    >>> flights = Flights()
    >>> flight = flights.join(b"key", (1, 0))
    >>> type(flight).__name__, type(flights.join(b"key", (2, 0))).__name__, flights.join(b"key", (1, 0))
    ('Flight', 'Waiting', None)
    >>> flight.done()

    Args:
        timeout_seconds: how long a caller waits at most before it goes alone.
    """

    def __init__(self, *, timeout_seconds: float = WAIT_SECONDS) -> None:
        self._timeout_seconds = timeout_seconds
        self._crowds: weakref.WeakValueDictionary[bytes, _Crowd] = weakref.WeakValueDictionary()
        self._lock = threading.Lock()

    def join(self, key: bytes, caller: Caller) -> Flight | Waiting | None:
        """Lead the call, wait for its leader, or (None) go alone: the caller would wait for himself, or has waited long enough.

        Args:
            key: what is asked.
            caller: who asks, from `whoami`.
        """
        with self._lock:
            crowd = self._crowds.get(key)
            if crowd is None:
                self._crowds[key] = crowd = _Crowd()
            done = crowd.done
            if done is None:
                crowd.done = done = Future()
                crowd.leader = caller
                done.set_running_or_notify_cancel()
                return Flight(crowd, done)
            if crowd.leader == caller:
                return None
            now = monotonic()
            left = crowd.since.setdefault(caller, now) + self._timeout_seconds - now
            return Waiting(crowd, done, caller, left) if left > 0 else None

    def after_fork(self) -> None:
        """The parent's calls are not under way here."""
        self._crowds = weakref.WeakValueDictionary()
        self._lock = threading.Lock()


def whoami() -> Caller:
    """The caller's thread, and the task in it. To be asked where the call is made, not in a worker thread that serves it."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return threading.get_ident(), id(task) if task is not None else 0


def _runs_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True

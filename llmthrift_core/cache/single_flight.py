"""Single flight: of identical requests that are under way at once, one calls the model and the others wait for it.

A waiting request looks into the cache when the first is done; if that failed, one of the waiting ones goes next, and if its answer is
not one to share, all of them go. Nobody waits for himself: not in the leader's thread and task, and not in a thread that runs an event
loop, which the leader may need. Nobody waits longer than his own time limit in all, however many leaders fail.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import suppress
from math import inf, isfinite
from time import monotonic
from typing import Any, Final

WAIT_SECONDS: Final = 600.0
"""How long a caller waits who says nothing of his time: as long as the clients of large providers wait for an answer."""
_LOOK_SECONDS: Final = 0.25  # after which a leader is looked for that may have gone without a word
_LONGEST_SECONDS: Final = 1e6
Caller = tuple[int, int]
_NAMES: Final = ("timeout", "request_timeout", "default_request_timeout")


class _Crowd:
    """Who wants one answer: the leader's future, and since when each caller has been waiting. Lives while anybody holds it.

    The future says whether those who wait are to look for an answer; else each goes alone.
    """

    __slots__ = ("__weakref__", "done", "is_under_way", "leader", "since")

    def __init__(self) -> None:
        self.done: Future[bool] | None = None
        self.leader: Caller | None = None
        self.is_under_way: Callable[[], bool] | None = None
        self.since: dict[Caller, float] = {}

    def end(self, done: Future[bool], *, shared: bool) -> None:
        """The call of this future is over."""
        # Without the lock: the garbage collector may drop a flight inside `join`, in the thread that holds it.
        if self.done is done:
            self.done = None
        with suppress(InvalidStateError):
            done.set_result(shared)

    def end_if_gone(self, done: Future[bool]) -> bool:
        """Whether the leader has gone without a word: his call failed, and nobody was told."""
        is_gone = self.is_under_way is not None and self.done is done and not self.is_under_way()
        if is_gone:
            self.end(done, shared=True)
        return is_gone


class Waiting:
    """An identical request under way, and how to wait for its end: never with an error, never past the caller's time.

    Attributes:
        timeout_seconds: how long a wait takes at most.
    """

    __slots__ = ("_caller", "_crowd", "_done", "timeout_seconds")

    def __init__(self, crowd: _Crowd, done: Future[bool], caller: Caller, timeout_seconds: float) -> None:
        self._crowd = crowd
        self._done = done
        self._caller = caller
        self.timeout_seconds = timeout_seconds

    def wait(self) -> None:
        """Block the thread. Returns at once where that would stop an event loop, which the leader may need: the caller goes alone."""
        if runs_event_loop():
            self._go_alone()
            return
        until = monotonic() + self.timeout_seconds
        while (left := until - monotonic()) > 0 and not wait([self._done], timeout=min(left, self._step)).done:
            if self._crowd.end_if_gone(self._done):
                break
        self._look_back()

    async def wait_async(self) -> None:
        """Suspend the task."""
        done = asyncio.wrap_future(self._done)
        until = monotonic() + self.timeout_seconds
        try:
            while (left := until - monotonic()) > 0 and not (await asyncio.wait([done], timeout=min(left, self._step)))[0]:
                if self._crowd.end_if_gone(self._done):
                    break
        finally:
            done.cancel()  # the leader's future is running, which this cannot cancel
        self._look_back()

    @property
    def _step(self) -> float:
        return _LONGEST_SECONDS if self._crowd.is_under_way is None else _LOOK_SECONDS

    def _look_back(self) -> None:
        if self._done.done() and not self._done.result():
            self._go_alone()

    def _go_alone(self) -> None:
        self._crowd.since[self._caller] = -inf


class Flight:
    """The right and duty to make the call that others wait for. `done` ends it, as does dropping the last reference."""

    __slots__ = ("__weakref__", "_crowd", "_done", "_process")

    def __init__(self, crowd: _Crowd, done: Future[bool]) -> None:
        self._crowd = crowd
        self._done = done
        self._process = os.getpid()

    def done(self, *, shared: bool = True) -> None:
        """Let the others go on. Calling twice does nothing.

        Args:
            shared: they look for the answer, and if there is none one of them goes next. False: there is none to share, and all go.
        """
        self._crowd.end(self._done, shared=shared)

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
        timeout_seconds: how long a caller waits at most before it goes alone, if it does not say.
    """

    def __init__(self, *, timeout_seconds: float = WAIT_SECONDS) -> None:
        self._timeout_seconds = timeout_seconds
        self._crowds: weakref.WeakValueDictionary[bytes, _Crowd] = weakref.WeakValueDictionary()
        self._lock = threading.Lock()

    def join(
        self,
        key: bytes,
        caller: Caller,
        *,
        timeout_seconds: float | None = None,
        is_under_way: Callable[[], bool] | None = None,
    ) -> Flight | Waiting | None:
        """Lead the call, wait for its leader, or (None) go alone: the caller would wait for himself, or has waited long enough.

        Args:
            key: what is asked.
            caller: who asks, from `whoami`.
            timeout_seconds: how long this caller waits at most.
            is_under_way: whether this caller is still at it, for a leader whose end nobody is told of. Called in any thread.
        """
        with self._lock:
            crowd = self._crowds.get(key)
            if crowd is None:
                self._crowds[key] = crowd = _Crowd()
            done = crowd.done
            if done is not None and (crowd.end_if_gone(done) or (crowd.leader == caller and crowd.is_under_way is not None)):
                crowd.end(done, shared=True)  # who asks again without a word of the last time had failed
                done = None
            if done is None:
                crowd.done = done = Future()
                crowd.leader, crowd.is_under_way = caller, is_under_way
                done.set_running_or_notify_cancel()
                return Flight(crowd, done)
            if crowd.leader == caller:
                return None
            now = monotonic()
            limit = self._timeout_seconds if timeout_seconds is None else timeout_seconds
            left = crowd.since.setdefault(caller, now) + limit - now
            return Waiting(crowd, done, caller, min(left, _LONGEST_SECONDS)) if left > 0 else None

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


def runs_event_loop() -> bool:
    """Whether this thread runs an event loop, which must not be stopped."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def time_limit_of(*parameters: Mapping[str, Any]) -> float | None:
    """The seconds after which a call gives up; None if it does not.

    Args:
        parameters: of the call and of its model, in the order of precedence. A limit is a number, an object with the limit of a read as
            `read`, or a pair of the limits of a connection and of a read.

    >>> time_limit_of({"temperature": 0}, {"request_timeout": 20})
    20.0
    >>> time_limit_of({"timeout": (2.0, 30.0)}), time_limit_of({})
    (30.0, None)
    """
    for each in parameters:
        for name in _NAMES:
            if (seconds := _seconds(each.get(name))) is not None:
                return seconds
    return None


def _seconds(limit: Any) -> float | None:
    if isinstance(limit, list | tuple):
        limit = limit[1] if len(limit) > 1 else None
    if not isinstance(limit, int | float):
        limit = getattr(limit, "read", None)
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not isfinite(limit) or limit <= 0:
        return None
    return float(limit)

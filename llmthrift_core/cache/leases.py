"""Single flight over processes: of those that ask the same at once, one calls the model, and the others wait until its answer is stored.

Who calls takes a lease in the store, which is renewed while the call goes on, and ends with it. A process that dies holds up the others
until its lease expires. A lease saves calls and guards nothing: without the store everybody calls.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol
from uuid import uuid4

from llmthrift_core.background.repeating import Repeating
from llmthrift_core.cache.single_flight import WAIT_SECONDS, runs_event_loop
from llmthrift_core.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence

LEASE_SECONDS: Final = 10.0
_RENEW_SECONDS: Final = 3.0
_FIRST_STEP_SECONDS: Final = 0.02
_LONGEST_STEP_SECONDS: Final = 0.5


class LeaseStore(Protocol):
    """Where processes tell each other what they ask for. Every method raises StorageError. Times are microseconds since the epoch."""

    @property
    def has_others(self) -> bool:
        """Whether other processes can see it, and it can be written."""
        ...

    def take_lease(self, key: bytes, holder: str, now_us: int, until_us: int) -> bool:
        """Take the lease of a key. False if somebody has it whose time is not over."""
        ...

    def leased_until(self, key: bytes, now_us: int) -> int | None:
        """When the lease of a key expires, or has; None if it was given back."""
        ...

    def renew_leases(self, keys: Sequence[bytes], holder: str, until_us: int) -> None:
        """Let those leases of a holder last longer which he still has."""
        ...

    def end_lease(self, key: bytes, holder: str, now_us: int, *, passes_on: bool) -> None:
        """Give a lease back, or let it expire now for the next one to take, if the holder still has it."""
        ...


class Lent:
    """A lease of this process: the duty to call the model, and to end it. Whoever drops the last reference has gone without a word."""

    __slots__ = ("_key", "_leases", "_process")

    def __init__(self, leases: CallLeases, key: bytes) -> None:
        self._leases = leases
        self._key = key
        self._process = os.getpid()

    def __del__(self) -> None:
        if os.getpid() == self._process:
            self._leases.drop(self._key, id(self))

    def end(self, *, passes_on: bool = False) -> None:
        """The call is over, and its answer is stored if there is one to store. Nothing, where the next call has taken the lease over.

        Args:
            passes_on: the call failed, and one of those who wait makes the next. Else they find the answer, or each makes his own call.
        """
        self._leases.end(self._key, id(self), passes_on=passes_on)


class _Held(NamedTuple):
    """Who in this process has a lease, by the address of the `Lent`, and whether he is still at it."""

    lent: int
    is_under_way: Callable[[], bool] | None


class Elsewhere:
    """The same call in another process, and how to wait for its end: never with an error, never past the caller's time.

    Attributes:
        is_over: it ended without an answer, or the caller's time is over: he goes alone.
    """

    __slots__ = ("_deadline", "_key", "_leases", "_step", "is_over")

    def __init__(self, leases: CallLeases, key: bytes) -> None:
        self._leases = leases
        self._key = key
        self._step = _FIRST_STEP_SECONDS
        self._deadline = monotonic()
        self.is_over = False

    def begin(self, wait_seconds: float | None) -> None:
        """From now on the caller waits: so long at most."""
        self._deadline = monotonic() + (WAIT_SECONDS if wait_seconds is None else wait_seconds)

    def wait(self) -> None:
        """Block the thread. Returns at once where that would stop an event loop."""
        if runs_event_loop():
            self.is_over = True
        while not self.is_over:
            time.sleep(self._next_step())
            if self._has_ended():
                return

    async def wait_async(self) -> None:
        """Suspend the task; the store is read off the event loop."""
        while not self.is_over:
            await asyncio.sleep(self._next_step())
            if await asyncio.to_thread(self._has_ended):
                return

    def _next_step(self) -> float:
        step = self._step
        self._step = min(step * 1.5, _LONGEST_STEP_SECONDS)
        return max(min(step, self._deadline - monotonic()), 0.0)

    def _has_ended(self) -> bool:
        state = self._leases.state_of(self._key)
        # An expired lease is the next one's, of whom there is one; after one that was given back, the answer is stored, or there is none.
        self.is_over = state == "free" or monotonic() >= self._deadline
        return self.is_over or state == "expired"


class CallLeases:
    """The leases that this process has. Safe to share between threads.

    Args:
        store: where they are.
        clock: seconds since the epoch.
        note: told of failures, which stop nobody.
        may_write: whether the store is to be written now.
    """

    def __init__(
        self, store: LeaseStore, *, clock: Callable[[], float], note: Callable[[Exception, float], None], may_write: Callable[[], bool]
    ) -> None:
        self._store = store
        self._clock = clock
        self._note = note
        self._may_write = may_write
        self._holder = uuid4().hex
        self._held: dict[bytes, _Held] = {}
        self._dropped: set[bytes] = set()
        self._lock = threading.Lock()
        self._repeating = Repeating(self._renew, seconds=_RENEW_SECONDS, name="llmthrift-leases")

    def take(self, key: bytes, is_under_way: Callable[[], bool] | None = None) -> Lent | Elsewhere | None:
        """The lease of a key, or the call that another process makes. None where there are no others, or the store cannot be asked.

        Of those who ask in this process one comes here at a time: a lease that it still has is that of a call which is over, and passes on.

        Args:
            is_under_way: whether the caller is still at it, where nobody is told of every end.
        """
        if not self._store.has_others or not self._may_write():
            return None
        started = monotonic()
        is_ours = key in self._held or key in self._dropped
        self._dropped.discard(key)
        try:
            now_us = self._now_us()
            if not is_ours and not self._store.take_lease(key, self._holder, now_us, now_us + int(LEASE_SECONDS * 1e6)):
                return Elsewhere(self, key)
        except Exception as error:
            self._note(error, started)
            return None
        lent = Lent(self, key)
        with self._lock:
            self._held[key] = _Held(id(lent), is_under_way)
        self._repeating.start()
        return lent

    def drop(self, key: bytes, lent: int) -> None:
        """A lease that nobody has any more. Called by the garbage collector, where nothing may be waited for: it is given back later."""
        if self._is_held(key, lent):
            self._held.pop(key, None)
            self._dropped.add(key)

    def end(self, key: bytes, lent: int, *, passes_on: bool = False) -> None:
        """Give a lease back, if it has not passed on."""
        with self._lock:
            if not self._is_held(key, lent):
                return
            del self._held[key]
        self._give_back(key, passes_on=passes_on)

    def _is_held(self, key: bytes, lent: int) -> bool:
        held = self._held.get(key)
        return held is not None and held.lent == lent

    def _give_back(self, key: bytes, *, passes_on: bool) -> None:
        """In a thread, where this one runs an event loop."""
        if runs_event_loop():
            asyncio.get_running_loop().run_in_executor(None, self._end, key, passes_on)
        else:
            self._end(key, passes_on)

    def _end(self, key: bytes, passes_on: bool) -> None:
        started = monotonic()
        try:
            self._store.end_lease(key, self._holder, self._now_us(), passes_on=passes_on)
        except Exception as error:
            self._note(error, started)

    def state_of(self, key: bytes) -> str:
        """ "held", "expired", or "free": given back, or not known."""
        now_us = self._now_us()
        try:
            until_us = self._store.leased_until(key, now_us)
        except Exception as error:
            self._note(error, monotonic())
            return "free"
        if until_us is None:
            return "free"
        return "held" if until_us > now_us else "expired"

    def close(self) -> None:
        """Give everything back."""
        self._repeating.close()
        with self._lock:
            keys = [*self._held, *self._dropped]
            self._held, self._dropped = {}, set()
        for key in keys:
            self._give_back(key, passes_on=True)

    def after_fork(self) -> None:
        """The parent's leases are the parent's."""
        self._lock = threading.Lock()
        self._holder = uuid4().hex
        self._held, self._dropped = {}, set()

    def _now_us(self) -> int:
        return int(self._clock() * 1e6)

    def _renew(self, stopping: threading.Event) -> None:
        with self._lock:
            held_by_key = dict(self._held)
        while self._dropped:
            self._end(self._dropped.pop(), passes_on=True)
        keys: list[bytes] = []
        for key, held in held_by_key.items():
            if held.is_under_way is None or held.is_under_way():
                keys.append(key)
            else:
                self.end(key, held.lent, passes_on=True)
        if keys:
            try:
                self._store.renew_leases(keys, self._holder, self._now_us() + int(LEASE_SECONDS * 1e6))
            except StorageError as error:
                self._note(error, monotonic())

"""Waiting without holding up an event loop: for the database in one of its threads, for a model's word in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Final, Generic, TypeVar

Result = TypeVar("Result")
# Any statement of a database that answers is over by then. One that hangs must not hold up a caller who gives up.
_LONGEST_END_SECONDS: Final = 1.0


async def in_thread(function: Callable[[], Result]) -> Result:
    """As `asyncio.to_thread`, but whoever is cancelled meanwhile goes on only when the function has ended, or after a second.

    A thread cannot be stopped. What it reserves for a call that is given up would be missing for a moment: the next call would be refused
    for money that is about to come back. A function that has not begun by then never begins.

    Raises:
        Whatever the function raises, and asyncio.CancelledError.
    """
    loop = asyncio.get_running_loop()
    work = _Work(copy_context().run, function)
    try:
        return await loop.run_in_executor(None, work)
    except asyncio.CancelledError:
        if (ended := work.give_up(loop)) is not None:
            await asyncio.wait([ended], timeout=_LONGEST_END_SECONDS)
        raise


class _Work(Generic[Result]):
    """A function that says when it has ended, to whoever does not wait for its result any more."""

    def __init__(self, run: Callable[[Callable[[], Result]], Result], function: Callable[[], Result]) -> None:
        self._run = run
        self._function = function
        self._lock = threading.Lock()
        self._is_running = self._is_given_up = False
        self._waiting: Callable[[], None] | None = None

    def __call__(self) -> Result:
        with self._lock:
            if self._is_given_up:
                raise asyncio.CancelledError
            self._is_running = True
        try:
            return self._run(self._function)
        finally:
            with self._lock:
                self._is_running = False
                waiting = self._waiting
            if waiting is not None:
                waiting()

    def give_up(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None] | None:
        """What to wait for; None where the function has ended, or will not begin."""
        ended: asyncio.Future[None] = loop.create_future()

        def tell() -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(ended.set_result, None)

        with self._lock:
            self._is_given_up = True
            if not self._is_running:
                return None
            self._waiting = tell
        return ended


async def in_own_thread(function: Callable[[], Result]) -> Result:
    """The function's result, from a daemon thread of its own, with the caller's context variables.

    `asyncio.to_thread` has a handful of threads on a small machine: as many judges that take seconds would keep every other call from its
    database.

    Raises:
        Whatever the function raises.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if future.done():  # nobody waits any more
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result, error = None, None
        try:
            result = function()
        except BaseException as raised:
            error = raised
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=copy_context().run, args=(work,), daemon=True, name="llmthrift-review").start()
    return await future

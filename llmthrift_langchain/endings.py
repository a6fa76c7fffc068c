"""Runs whose end LangChain does not report: those of `ainvoke` whose caller has stopped waiting.

A task that is cancelled ends with its runs. But `asyncio.timeout`, and `asyncio.wait_for` since Python 3.12, cancel what a task awaits and
let it go on; then handlers hear nothing. Such a run has ended when nothing holds the object of its id any more: the frames that called the
model have gone. So nothing of ours may hold that object. A tracer that does, or an exception that is kept with its traceback, delays
this; then the end shows at the next call from the same task, or with the task.
"""

from __future__ import annotations

import _thread
import asyncio
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any
from uuid import UUID

from llmthrift_langchain.callers import Caller, awaits_whole


class Watch:
    """Looks out for the end of a run that was started in a task.

    Args:
        task: where it was started.
        run_id: the object that LangChain passes around.
        caller: the frame that started it, where it is known. Only a run of `ainvoke` must end with its task: a stream that was begun in
            one task may be read in another.
        ended: told at most once, on the event loop, of the exception that stands for the end.
    """

    __slots__ = ("_callback", "_caller", "_ended", "_gone", "_task")

    def __init__(self, task: asyncio.Task[Any], run_id: UUID, caller: FrameType | None, ended: Callable[[BaseException], None]) -> None:
        is_whole = awaits_whole(caller)
        loop = task.get_loop()

        def done(task: asyncio.Task[Any]) -> None:
            if is_whole or task.cancelled():
                ended(asyncio.CancelledError())

        def gone(_: weakref.ref[UUID]) -> None:
            # This may run inside of the garbage collector, where no lock may be waited for.
            with suppress(RuntimeError):  # the loop is closed, and with it every task that was cancelled
                loop.call_soon_threadsafe(ended, asyncio.CancelledError() if is_whole else GeneratorExit())

        self._callback, self._ended = done, ended
        self._task: asyncio.Task[Any] | None = task
        self._gone: weakref.ref[UUID] | None = None
        with suppress(TypeError):  # an id of a class that cannot be looked out for
            self._gone = weakref.ref(run_id, gone)
        self._caller = Caller(caller) if caller is not None and is_whole else None
        task.add_done_callback(done)

    def stop(self) -> None:
        """The run has ended."""
        task, self._task = self._task, None
        self._gone = self._caller = None
        if task is not None:
            task.remove_done_callback(self._callback)

    @property
    def is_awaited(self) -> bool:
        """Whether this is a run of `ainvoke` that has not ended."""
        return self._caller is not None

    def end_if_over(self) -> None:
        """End the run if its task does something else: it is about to call a model, and not from inside of this run."""
        if self._caller is not None and not self._caller.is_under_way:
            self._ended(asyncio.CancelledError())


def call_in_thread(function: Callable[[], None]) -> None:
    """Call a function from inside of the garbage collector, where no lock may be waited for."""
    with suppress(RuntimeError):  # the process ends
        _thread.start_new_thread(function, ())  # threading's threads take a lock first


class Loss:
    """Looks out for the end of a run outside of any task. Of a synchronous event stream that is left before its end nothing is reported.

    Args:
        ended: told at most once, in a thread of its own, since this may run inside of the garbage collector.
    """

    __slots__ = ("_gone",)

    def __init__(self, run_id: UUID, ended: Callable[[BaseException], None]) -> None:
        def gone(_: weakref.ref[UUID]) -> None:
            call_in_thread(partial(ended, GeneratorExit()))

        self._gone: weakref.ref[UUID] | None = None
        with suppress(TypeError):
            self._gone = weakref.ref(run_id, gone)

    def stop(self) -> None:
        """The run has ended."""
        self._gone = None

"""Methods of a handler that a synchronous callback manager calls and an asynchronous one awaits, written once.

LangChain awaits what a handler is told if the method that it finds is a coroutine function, and calls it otherwise. So the method looks who
asks for it. Whoever is not known to await gets the synchronous form, which is right everywhere: it only may block an event loop.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from functools import update_wrapper
from inspect import CO_COROUTINE
from types import FrameType, MethodType
from typing import Any, Final, ParamSpec, cast

from llmthrift_core.background.off_loop import in_thread
from llmthrift_core.budgets.waiting import Turn

_MANAGERS: Final = "langchain_core.callbacks."

Work = Callable[[], object] | Turn
"""What may use a database, or a place in a line in which room is waited for."""
Steps = Generator[Work, None, None]
"""What happens on the event loop, and the work in between, whose errors are raised where it was yielded."""

Given = ParamSpec("Given")


def either_way(method: Callable[Given, Steps]) -> Callable[Given, None]:
    """Make a method of its steps. Where it is awaited, their work is done in threads, if the owner's `works_off_loop` says so."""
    return cast("Callable[Given, None]", _EitherWay(method))


def take(steps: Steps) -> None:
    """Do the work here and now."""
    try:
        work = next(steps)
        while True:
            try:
                _do(work)
            except BaseException as error:
                work = steps.throw(error)
            else:
                work = next(steps)
    except StopIteration:
        return


async def take_off_loop(steps: Steps) -> None:
    """Do the work in threads. What waits for room takes none."""
    try:
        work = next(steps)
        while True:
            try:
                await (work.wait_async() if isinstance(work, Turn) else in_thread(work))
            except GeneratorExit as left:  # the coroutine is thrown away, and must not wait for anything any more
                take(_resumed(steps, left))
                raise
            except BaseException as error:
                work = steps.throw(error)
            else:
                work = next(steps)
    except StopIteration:
        return


def _resumed(steps: Steps, error: BaseException) -> Steps:
    """The steps that are left after an error."""
    try:
        yield steps.throw(error)
    except StopIteration:
        return
    yield from steps


def _do(work: Work) -> None:
    if isinstance(work, Turn):
        work.wait()
    else:
        work()


class _EitherWay:
    def __init__(self, method: Callable[..., Steps]) -> None:
        def called(owner: Any, *args: Any, **options: Any) -> None:
            take(method(owner, *args, **options))

        async def awaited(owner: Any, *args: Any, **options: Any) -> None:
            await take_off_loop(method(owner, *args, **options))

        self._called, self._awaited = update_wrapper(called, method), update_wrapper(awaited, method)
        update_wrapper(cast("Any", self), method)

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        if owner is None:
            return self._called
        return MethodType(self._awaited if owner.works_off_loop and _will_await(sys._getframe(1)) else self._called, owner)


def _will_await(frame: FrameType) -> bool:
    return bool(frame.f_code.co_flags & CO_COROUTINE) and str(frame.f_globals.get("__name__")).startswith(_MANAGERS)

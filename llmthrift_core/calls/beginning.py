"""Beginning a call off the event loop, where the caller may be cancelled before it has begun."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from llmthrift_core.background.off_loop import in_own_thread, in_thread
from llmthrift_core.settings import is_disabled

if TYPE_CHECKING:
    from llmthrift_core.attachments import AccountHost

Begun = TypeVar("Begun")


async def begin_off_loop(thrift: AccountHost, begin_call: Callable[[], Begun], give_up: Callable[[Begun], None]) -> Begun:
    """What begins a call by itself, off the event loop: in a thread of its own where it may wait there for room in a budget.

    Args:
        give_up: gives back what was set aside for a call whose caller was cancelled meanwhile.
    """
    beginning = _Beginning(begin_call, give_up)
    in_a_thread = in_own_thread if not is_disabled() and thrift.budgets.may_wait else in_thread
    try:
        return await in_a_thread(beginning)
    except asyncio.CancelledError:
        await in_thread(beginning.leave)
        raise


class _Beginning(Generic[Begun]):
    """The beginning of a call in a thread, which ends there or with its caller: whoever comes last gives the call up."""

    def __init__(self, begin_call: Callable[[], Begun], give_up: Callable[[Begun], None]) -> None:
        self._begin_call = begin_call
        self._give_up = give_up
        self._lock = threading.Lock()
        self._begun: list[Begun] = []
        self._is_left = False

    def __call__(self) -> Begun:
        begun = self._begin_call()
        with self._lock:
            self._begun.append(begun)
            is_left = self._is_left
        if is_left:
            self.leave()
        return begun

    def leave(self) -> None:
        """The caller has gone."""
        with self._lock:
            self._is_left = True
            begun, self._begun = self._begun, []
        for each in begun:
            self._give_up(each)

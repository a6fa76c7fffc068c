"""The lines of calls that wait for room in a budget: served in the order in which they came, by each process.

A large call does not starve behind small ones: nobody passes an earlier call that waits for the same window. Only where waiting cannot
help the earlier one, because too much is spent already, do later ones go by.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from bisect import insort
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Final

from llmthrift_core.budgets.store import Part

_FIRST_PAUSE_SECONDS: Final = 0.01  # other processes give room back, too, and nobody tells
_LONGEST_PAUSE_SECONDS: Final = 0.5
_CHECK_SECONDS: Final = 5.0  # who is not first is woken; if ever he is not, he finds out

Window = tuple[str, str]  # the name of a budget, and the spender


class RoomAwaited(Exception):
    """A call has to wait for room, and its door wants to wait by itself.

    Attributes:
        turn: its place in the line.
    """

    def __init__(self, turn: Turn) -> None:
        super().__init__("the call waits for room in a budget")
        self.turn = turn


class Turn:
    """One call's place in the lines. Made by `Lines.turn`.

    Attributes:
        part: the window that had no room when it was asked last.
    """

    __slots__ = ("_deadline", "_helps", "_is_stirred", "_lines", "_number", "_pause", "_place", "_wake", "_windows", "part")

    def __init__(self, lines: Lines, number: int, parts: Iterable[Part], seconds: float) -> None:
        self._lines = lines
        self._number = number
        self._windows = {part[:2]: part for part in parts}
        self._deadline = monotonic() + seconds
        self._place: Window | None = None
        self._helps = True
        self._is_stirred = False
        self._wake: Callable[[], None] | None = None
        self._pause = _FIRST_PAUSE_SECONDS
        self.part: Part | None = None

    def __lt__(self, other: Turn) -> bool:
        return self._number < other._number

    @property
    def is_over(self) -> bool:
        """Whether the time to wait has passed."""
        return monotonic() >= self._deadline

    def may_try(self) -> bool:
        """Whether it is this call's turn. If not, it waits where the earlier one does."""
        return self._lines.may_try(self)

    def stay(self, part: Part, *, helps: bool) -> None:
        """There was no room in this window: keep the place in its line.

        Args:
            helps: whether room can come while this waits; otherwise others may pass.
        """
        self.part = part
        self._lines.place(self, part[:2], helps)

    def leave(self) -> None:
        """The call goes on, or has ended. Leaving twice does nothing."""
        self._lines.place(self, None, False)

    def wait(self) -> None:
        """Block the thread until it is worth trying again."""
        event = threading.Event()
        if (seconds := self._lines.listen(self, event.set)) > 0:
            event.wait(seconds)
        self._wake = None

    async def wait_async(self) -> None:
        """Suspend the task until it is worth trying again. A cancelled one leaves the line."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(_finish, future)
            except RuntimeError:  # the loop is closed
                self.leave()

        try:
            if (seconds := self._lines.listen(self, wake)) > 0:
                await asyncio.wait([future], timeout=seconds)
        except BaseException:
            self.leave()
            raise
        finally:
            self._wake = None


class Lines:
    """The lines of one process, by window. Safe to share between threads.

    >>> lines, part = Lines(), Part("b", "{}", 0, None, "limit")
    >>> first, second = lines.turn([part], 30), lines.turn([part], 30)
    >>> first.may_try(), first.stay(part, helps=True), second.may_try()
    (True, None, False)
    >>> first.leave(), second.may_try()
    (None, True)
    """

    def __init__(self) -> None:
        self.after_fork()

    def after_fork(self) -> None:
        """The parent's calls do not wait here."""
        self._lock = threading.RLock()
        self._numbers = itertools.count()
        self._lines: dict[Window, list[Turn]] = {}

    def turn(self, parts: Iterable[Part], seconds: float) -> Turn:
        """A place behind all that came before.

        Args:
            parts: the windows that the call counts in.
            seconds: how long it may wait.
        """
        return Turn(self, next(self._numbers), parts, seconds)

    def stir(self) -> None:
        """Room may have come: those who are first try again."""
        if self._lines:
            with self._lock:
                for line in list(self._lines.values()):
                    _wake(_first(line))

    # --- for Turn ---

    def may_try(self, turn: Turn) -> bool:
        """For `Turn`."""
        with self._lock:
            turn._is_stirred = False
            if not self._lines:
                return True
            for window, part in turn._windows.items():
                first = _first(self._lines.get(window, ()))
                if first is not None and first < turn:
                    turn.part = part
                    self.place(turn, window, True)
                    return False
            return True

    def place(self, turn: Turn, window: Window | None, helps: bool) -> None:
        """For `Turn`."""
        with self._lock:
            turn._helps = helps
            if turn._place != window:
                if turn._place is not None and (line := self._lines.get(turn._place)) is not None:
                    line.remove(turn)
                    if line:
                        _wake(_first(line))
                    else:
                        del self._lines[turn._place]
                turn._place = window
                if window is not None:
                    insort(self._lines.setdefault(window, []), turn)
            elif window is not None and not helps:
                _wake(_first(self._lines[window]))

    def listen(self, turn: Turn, wake: Callable[[], None]) -> float:
        """For `Turn`: for how many seconds to wait for `wake`; 0 where room may have come meanwhile."""
        with self._lock:
            if turn._is_stirred:
                return 0.0
            turn._wake = wake
            left = max(turn._deadline - monotonic(), 0.0)
            line = () if turn._place is None else self._lines.get(turn._place, ())
            if turn._helps and _first(line) is not turn:
                return min(left, _CHECK_SECONDS)
            pause, turn._pause = turn._pause, min(2 * turn._pause, _LONGEST_PAUSE_SECONDS)
            return min(pause, left)


def _first(line: Iterable[Turn]) -> Turn | None:
    """The first whom waiting may help. Who was given up without leaving is not waited for."""
    return next((turn for turn in line if turn._helps and not turn.is_over), None)


def _wake(turn: Turn | None) -> None:
    if turn is not None:
        turn._is_stirred = True
        if turn._wake is not None:
            turn._wake()


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)

"""Asking a model before a call goes on: on threads of its own, within a time limit, and not while it is down."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from llmthrift_core.attribution import FIELDS, Attribution, attribute
from llmthrift_core.background.forks import renew_after_fork
from llmthrift_core.errors import BudgetError, ConfigurationError, place_of
from llmthrift_core.model_calls.models import ROUTING

logger = logging.getLogger("llmthrift")

_FAILURES: Final = 3
"""So many failures in a row ..."""
_PAUSE_SECONDS: Final = 60.0
"""... and for so long nothing is asked: a model that is down should not delay every call."""

Said = TypeVar("Said")


class Replies(NamedTuple, Generic[Said]):
    """What came back in time, and why something did not; None: everything came."""

    said: list[Said]
    why_not: str | None


class LimitedAsking:
    """Asks models within a time limit. After three failures in a row, nothing is asked for a minute.

    What is asked is attributed to whom the call is made for, with a request type of its own. A budget that refuses is no failure of the
    model: it may have room for the next user.

    Args:
        what: who is asked, for reasons and logs, such as "the judge".
        timeout_seconds: how long a call may wait.
        most_at_once: questions under way. Those that hang hold a thread each, and no more than so many.
        request_type: what the questions are recorded as.
        clock: seconds; for tests.

    Raises:
        ConfigurationError: an option that cannot be used.
    """

    def __init__(
        self,
        what: str,
        *,
        timeout_seconds: float,
        most_at_once: int = 8,
        request_type: str = ROUTING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0 < timeout_seconds < float("inf") or most_at_once < 1:
            raise ConfigurationError(f"timeout_seconds={timeout_seconds!r} must be positive, most_at_once={most_at_once!r} at least 1")
        self._what = what
        self._timeout_seconds = timeout_seconds
        self._most_at_once = most_at_once
        self._request_type = request_type
        self._clock = clock
        self._failures = 0
        self._ask_again_at = float("-inf")
        self._start_empty()
        renew_after_fork(self)

    def ask(self, questions: Sequence[Callable[[], Said]], who: Attribution) -> Replies[Said]:
        """The replies to all questions, asked at the same time, as far as they come within the time limit. Never raises."""
        with self._lock:
            if self._clock() < self._ask_again_at:
                return Replies([], f"{self._what} is not asked after failures")
        asked: list[_Asked[Said]] = []
        for question in questions:
            if not self._room.acquire(blocking=False):
                break
            # Not a pool: its threads would not survive a fork, and one that hangs would keep the interpreter from ending. Not the caller's
            # context: a framework would stream what is said to whoever listens to the answer, and budgets would take it for the same call.
            work = _Asked(question)
            try:
                threading.Thread(
                    target=_work, args=(work, who, self._request_type, self._room), daemon=True, name="llmthrift-asking"
                ).start()
            except RuntimeError:  # no more threads, or the interpreter is shutting down
                self._room.release()
                break
            asked.append(work)
        why_not = None if len(asked) == len(questions) else f"{self._what} is busy"
        deadline = time.monotonic() + self._timeout_seconds
        for each in asked:
            if not each.done.wait(max(deadline - time.monotonic(), 0.0)):
                self.failed(f"took more than {self._timeout_seconds:g} s")
                why_not = f"{self._what} took too long"
                break
        came = [each for each in asked if each.done.is_set()]
        if failures := [each for each in came if each.failure is not None]:
            why_not = f"{self._what} failed"
            if not failures[0].is_refused:
                self.failed(f"failed with {failures[0].failure}")
        return Replies([reply for each in came for reply in each.reply], why_not)

    def succeeded(self) -> None:
        """What came back is of use."""
        with self._lock:
            self._failures = 0

    def failed(self, how: str) -> None:
        """Nothing came back, or nothing of use."""
        with self._lock:
            self._failures += 1
            if self._failures < _FAILURES:
                return
            self._failures = 0
            self._ask_again_at = self._clock() + _PAUSE_SECONDS
        logger.warning("%s %s, %d times in a row; not asked for %g s", self._what, how, _FAILURES, _PAUSE_SECONDS)

    def after_fork(self) -> None:
        """The parent's threads do not run here."""
        self._start_empty()

    def _start_empty(self) -> None:
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(self._most_at_once)


class _Asked(Generic[Said]):
    """What became of one question: a reply, or a failure with its place."""

    def __init__(self, question: Callable[[], Said]) -> None:
        self.question = question
        self.reply: list[Said] = []
        self.failure: str | None = None
        self.is_refused = False
        self.done = threading.Event()


def _work(asked: _Asked[Said], who: Attribution, request_type: str, room: threading.BoundedSemaphore) -> None:
    given = {name: getattr(who, name) for name in FIELDS}
    try:
        with attribute(**{**given, "request_type": request_type}, tags=dict(who.tags)):
            asked.reply.append(asked.question())
    except Exception as error:
        asked.failure = place_of(error)
        asked.is_refused = isinstance(error, BudgetError) or isinstance(error.__context__, BudgetError)  # a judge hides what it met
    finally:
        room.release()
        asked.done.set()

"""Asks a judge whether two questions are one, before an answer is served by meaning.

A judge is a function of two questions that says yes or no, or how likely yes is; it may be a coroutine function.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, Final

from llmthrift_core.background.work_queue import Background
from llmthrift_core.cache.counters import Troubles
from llmthrift_core.cache.keys import digest
from llmthrift_core.errors import ConfigurationError, JudgeError

_REMEMBERED: Final = 8_192
_EVEN: Final = 0.5


class Verifying:
    """What a judge says of pairs of questions. A pair is asked for once, in whichever order. Safe to share between threads, and after fork.

    Trouble with the judge, or an amount of money that is spent, is no yes: nothing is served by meaning then.

    Args:
        judge: a function of two questions.
        at_least: pairs whose cosine is lower are not asked for: they are a no.
        later: where the judge is asked; the first time a pair is asked for is a no then. None: it is asked at once.

    Raises:
        ConfigurationError: no function, or a cosine below 0 or above 1.
    """

    def __init__(self, judge: Callable[[str, str], Any], *, at_least: float, later: Background | None, troubles: Troubles) -> None:
        if not callable(judge):
            raise ConfigurationError(f"verifier must be a function of two questions, not {type(judge).__name__}")
        if isinstance(at_least, bool) or not isinstance(at_least, int | float) or not 0 <= at_least <= 1:
            raise ConfigurationError(f"verify_from must be a cosine from 0 to 1, not {at_least!r}")
        self._judge = judge
        self._at_least = float(at_least)
        self._later = later
        self._troubles = troubles
        self._loop: _Loop = _Loop()
        self._start_empty()

    def says_same(self, one: str, other: str, cosine: float) -> bool:
        """Whether the judge says that two questions are one. The judge is asked unless it was, or is to be asked later."""
        if cosine < self._at_least:
            return False
        key = digest("verified", *(text.encode("utf-8", "surrogatepass") for text in sorted((one, other))))
        with self._lock:
            if (said := self._said.get(key)) is not None:
                self._said.move_to_end(key)
                return said
            is_asked = key in self._asked
            if self._later is not None:
                self._asked.add(key)
        if self._later is None:
            return self._ask(key, one, other)
        if not is_asked:
            context = copy_context()
            if not self._later.submit(lambda: context.run(self._ask_later, key, one, other)):
                self._done(key)
                self._troubles.note("semantic verifier", TimeoutError("the verifier does not keep up"))
        return False

    def counts(self) -> dict[str, int]:
        """How often the judge was `asked` in this process, `agreed`, and could not say (`failed`)."""
        with self._lock:
            return dict(self._counts)

    def close(self) -> None:
        """End the thread of coroutines."""
        self._loop.close()

    def after_fork(self) -> None:
        """A thread of the parent may have held the lock; its threads are not here."""
        self._loop = _Loop()
        self._start_empty()

    def _start_empty(self) -> None:
        self._lock = threading.Lock()
        self._said: OrderedDict[bytes, bool] = OrderedDict()
        self._asked: set[bytes] = set()
        self._counts = {"asked": 0, "agreed": 0, "failed": 0}

    def _ask_later(self, key: bytes, one: str, other: str) -> None:
        try:
            self._ask(key, one, other)
        finally:
            self._done(key)

    def _done(self, key: bytes) -> None:
        with self._lock:
            self._asked.discard(key)

    def _ask(self, key: bytes, one: str, other: str) -> bool:
        try:
            said = self._judge(one, other)
            if inspect.isawaitable(said):
                said = self._loop.result(_awaited(said))
            same = _yes(said)
        except Exception as error:  # a judge may raise anything; its text may hold a question, or a key
            self._troubles.note("semantic verifier", error)
            self._count("failed")
            return False
        with self._lock:
            self._counts["asked"] += 1
            self._counts["agreed"] += same
            self._said[key] = same
            if len(self._said) > _REMEMBERED:
                self._said.popitem(last=False)
        return same

    def _count(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1


class _Loop:
    """One event loop on a thread of its own, for clients that belong to a loop. It starts with the first coroutine."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def result(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """What a coroutine returns. Raises whatever it raises."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="llmthrift-verifier", daemon=True)
                self._thread.start()
            loop = self._loop
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    def close(self) -> None:
        """End the loop and its thread."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


async def _awaited(said: Any) -> Any:
    return await said


def _yes(said: Any) -> bool:
    if isinstance(said, bool):
        return said
    if isinstance(said, int | float) and 0 <= said <= 1:
        return said >= _EVEN
    raise JudgeError("a verifier returns True, False, or a probability from 0 to 1", kind="unreadable")

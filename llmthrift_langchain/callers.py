"""The LangChain method that starts a run. Handlers are told the same for all of them, so that only the caller's frame tells.

Where LangChain calls its methods or files otherwise, no frame is found: then nothing is known, which every user of it must bear.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from types import CoroutineType, FrameType
from typing import Any, Final

from langchain_core.callbacks import AsyncCallbackManager

_CHAT_MODELS: Final = "language_models/chat_models.py"
_METHODS: Final = frozenset({"generate", "agenerate", "stream", "astream"})
# For a completion model the cache is consulted by a helper that returns before the model is called.
_CONSULTING: Final = frozenset({"_generate_with_cache", "_agenerate_with_cache", "generate", "agenerate"})


def calling_frame() -> FrameType | None:
    """The frame of the chat model's method that starts the run which a handler is just told of."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_name in _METHODS and code.co_filename.replace("\\", "/").endswith(_CHAT_MODELS):
            return frame
        frame = frame.f_back
    return None


def manager_that_starts_a_completion() -> AsyncCallbackManager | None:
    """The manager that asks a handler's property in order to tell the handlers of a completion model's start. None if another one asks."""
    frame: FrameType | None = sys._getframe(2)
    if frame is not None and frame.f_code.co_name == "<listcomp>":  # has a frame of its own until Python 3.12
        frame = frame.f_back
    if frame is None or frame.f_code.co_name != "on_llm_start":
        return None
    manager = frame.f_locals.get("self")
    return manager if isinstance(manager, AsyncCallbackManager) else None


def awaits_whole(frame: FrameType | None) -> bool:
    """Whether the frame is that of `agenerate`: its run has no reader, and ends when the frame goes."""
    return frame is not None and frame.f_code.co_name == "agenerate"


def streams(frame: FrameType | None) -> bool:
    """Whether the frame is that of a stream."""
    return frame is not None and frame.f_code.co_name in ("stream", "astream")


def waits_in_thread(frame: FrameType | None) -> bool:
    """Whether the frame is that of a synchronous method, which tells handlers of every end."""
    return frame is not None and frame.f_code.co_name in ("generate", "stream")


class Caller:
    """A frame to be found again, without being kept: what it holds must be free to go.

    Another frame may get its address once it has gone, so that what it was asked is compared too.
    """

    __slots__ = ("_asked", "_frame_id")

    def __init__(self, frame: FrameType) -> None:
        self._frame_id, self._asked = id(frame), frame.f_locals.get("messages")

    @property
    def is_under_way(self) -> bool:
        """Whether the frame is among the callers of this code."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if id(frame) == self._frame_id and frame.f_locals.get("messages") is self._asked:
                return True
            frame = frame.f_back
        return False


_looking = threading.Lock()


def _frame_of(thread: int) -> FrameType | None:
    """The frame of another thread. Without a collection meanwhile: its finalisers may wait while Python holds its list of threads."""
    with _looking:
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            return sys._current_frames().get(thread)
        finally:
            if was_enabled:
                gc.enable()


class Inside:
    """Whether whoever consults a cache is still inside of the call that it was consulted for. Called in any thread.

    LangChain tells a cache of answers only: a call that fails leaves no trace but that its frames go. They are found by their addresses,
    so that nothing they hold is kept. Where that cannot be found out, the call counts as under way.
    """

    __slots__ = ("_code", "_frame_id", "_task", "_thread")

    def __init__(self, frame: FrameType) -> None:
        """Args: frame: of the method that consults the cache."""
        found: FrameType | None = frame
        while found is not None and not (
            found.f_code.co_name in _CONSULTING and "/language_models/" in found.f_code.co_filename.replace("\\", "/")
        ):
            found = found.f_back
        found = frame if found is None else found
        self._frame_id, self._code = id(found), found.f_code
        self._thread = threading.get_ident()
        try:
            task = asyncio.current_task()
        except RuntimeError:
            task = None
        self._task = None if task is None else weakref.ref(task)

    def __call__(self) -> bool:
        if self._task is not None:
            task = self._task()
            return task is not None and not task.done() and self._is_in_task(task)
        frame: FrameType | None = sys._getframe(1) if self._thread == threading.get_ident() else _frame_of(self._thread)
        while frame is not None:
            if self._is(frame):
                return True
            frame = frame.f_back
        return False

    def _is_in_task(self, task: asyncio.Task[Any]) -> bool:
        awaited: Any = task.get_coro()
        while isinstance(awaited, CoroutineType):
            if awaited.cr_running or (awaited.cr_frame is not None and self._is(awaited.cr_frame)):
                return True
            awaited = awaited.cr_await
        # A generator's frames cannot be seen from outside; a future is what the last frame waits for.
        return awaited is not None and not isinstance(awaited, asyncio.Future) and type(awaited).__name__ != "FutureIter"

    def _is(self, frame: FrameType) -> bool:
        return id(frame) == self._frame_id and frame.f_code is self._code

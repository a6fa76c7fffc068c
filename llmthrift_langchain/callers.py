"""Which of LangChain's methods starts a run. Handlers are told the same for all of them, so that only the caller's frame tells.

Where LangChain calls its methods or files otherwise, no frame is found: then nothing is known, which every user of it must bear.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Final

from langchain_core.callbacks import AsyncCallbackManager

_CHAT_MODELS: Final = "language_models/chat_models.py"
_METHODS: Final = frozenset({"generate", "agenerate", "stream", "astream"})


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

"""Where an event comes from. LlamaIndex's events name a span; only the calling frames name the model, and the call around the call."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Any, Final

from llama_index.core.base.embeddings import base as embeddings
from llama_index.core.llms import callbacks

_LLM: Final = callbacks.__file__
_EMBEDDING: Final = embeddings.__file__


def embedding_of_event() -> tuple[Any, list[str]]:
    """The embedding model whose event is being handled, and the texts of the event; None, and no texts, if they cannot be told."""
    frame = sys._getframe(1)
    while (frame := frame.f_back) is not None:  # type: ignore[assignment]
        if frame.f_code.co_filename == _EMBEDDING:
            known = frame.f_locals
            asked = known.get("cur_batch", known.get("query", known.get("text")))
            return known.get("self"), [asked] if isinstance(asked, str) else list(asked or ())
    return None, []


def llm_of_event(open_spans: Collection[str]) -> tuple[Any, list[str]]:
    """The LLM whose event is being handled, and which of the open spans it is called inside of.

    An integration's `complete` may call its own `chat`, and a stream may begin another stream when it is first read: both show in the
    frames, whereas the active span is that of the stream's reader by then.
    """
    frame = sys._getframe(1)
    model: Any = None
    around: list[str] = []
    is_first = True
    while (frame := frame.f_back) is not None:  # type: ignore[assignment]
        if frame.f_code.co_filename != _LLM:
            continue
        if is_first:
            model, is_first = frame.f_locals.get("_self"), False
        elif isinstance(span := frame.f_locals.get("span_id"), str) and span in open_spans:
            around.append(span)
    return model, around

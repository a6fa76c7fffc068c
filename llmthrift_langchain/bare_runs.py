"""What a bare model's run says in its metadata, for a cache without a handler: LangChain gives a cache the prompt and nothing else.

In a chain the metadata stands in the config around the call. A model that is called by itself has none around it: for a chat model a
small handler hears of the run just before the cache is asked, and keeps its metadata in a context variable; for a completion model, whose
handlers are told later, the frame that starts the run knows. Where LangChain does either otherwise, nothing is known, as without metadata.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from functools import cache
from types import FrameType
from typing import Any, Final

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langchain_core.runnables.config import var_child_runnable_config

from llmthrift_langchain.messages import text_of

_COMPLETIONS: Final = "language_models/llms.py"
_METHODS: Final = frozenset({"generate", "agenerate"})
_MOST_FRAMES: Final = 8
_latest: ContextVar[tuple[Sequence[BaseMessage], Mapping[str, Any] | None] | None] = ContextVar("llmthrift_bare_run", default=None)


class _Listener(BaseCallbackHandler):
    """Hears of chat models' runs."""

    run_inline = True
    ignore_llm = ignore_chain = ignore_agent = ignore_retriever = ignore_retry = ignore_custom_event = True  # type: ignore[assignment]

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A run begins, and the cache is asked next."""
        _latest.set((messages[0] if messages else (), metadata))


_listening: Final[ContextVar[BaseCallbackHandler | None]] = ContextVar("llmthrift_bare_runs", default=_Listener())  # noqa: B039 - one for all


@cache
def follow_bare_runs() -> None:
    """From now on, know the metadata of every chat model's run in this process."""
    from langchain_core.tracers.context import register_configure_hook  # costs 20 ms, which the first call would pay

    register_configure_hook(_listening, inheritable=True)


def metadata_of_run(fields: Sequence[Mapping[str, Any]] | str) -> Mapping[str, Any] | None:
    """The metadata of the run that a cache is asked for; None where there is none, or it is not known.

    Args:
        fields: of its messages, or a completion model's prompt.
    """
    config = var_child_runnable_config.get()
    around = config.get("metadata") if config else None
    own = _of_caller() if isinstance(fields, str) else _of_listener(fields)
    return {**around, **own} if around and own else own or around


def _of_listener(fields: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    latest = _latest.get()
    if latest is None:
        return None
    messages, metadata = latest
    # `generate` with several prompts tells of all of them first; they have one metadata. A stream leaves its own behind, which the run
    # of the next lookup replaces, unless it runs without callbacks.
    is_it = any(text_of(each["content"]) == text_of(messages[-1].content) for each in fields[-1:]) if messages else not fields
    return metadata if is_it else None


def _of_caller() -> Mapping[str, Any] | None:
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_MOST_FRAMES):
        if frame is None:
            return None
        code = frame.f_code
        if code.co_name in _METHODS and code.co_filename.replace("\\", "/").endswith(_COMPLETIONS):
            known = frame.f_locals
            given, own = known.get("metadata"), getattr(known.get("self"), "metadata", None)
            found = [each for each in (own, given) if isinstance(each, Mapping)]
            return {name: value for each in found for name, value in each.items()} or None
        frame = frame.f_back
    return None

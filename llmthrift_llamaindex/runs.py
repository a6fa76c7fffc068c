"""Following the spans around model calls: which outermost run they belong to, so that budgets per run hold for engines and agents.

A model is told nothing of the engine or workflow that calls it. LlamaIndex opens a span for each of these; from the first door on, a
small span handler knows the root of every open one.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any, Final, Protocol

from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.span import active_span_id
from llama_index_instrumentation.span.base import BaseSpan
from llama_index_instrumentation.span_handlers import BaseSpanHandler

_MOST_OPEN: Final = 50_000
_DEEPEST: Final = 100


class Listener(Protocol):
    """Is told of every span of the process."""

    def entered(self, span: str, instance: Any, bound: inspect.BoundArguments) -> None: ...

    def left(self, span: str, result: Any) -> None: ...

    def dropped(self, span: str, error: BaseException | None) -> None: ...


listeners: list[Listener] = []
_spans: dict[str, tuple[str, str | None]] = {}  # the root and the parent of every open span


class _Follower(BaseSpanHandler[BaseSpan]):
    @classmethod
    def class_name(cls) -> str:
        return "llmthrift.runs"

    def span_enter(
        self,
        id_: str,
        bound_args: inspect.BoundArguments,
        instance: Any | None = None,
        parent_id: str | None = None,
        tags: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A span begins."""
        if len(_spans) >= _MOST_OPEN:  # spans whose end was never reported
            _spans.pop(next(iter(_spans)), None)
        _spans[id_] = (id_, None) if parent_id is None else (_root_of(parent_id), parent_id)
        for listener in listeners:
            listener.entered(id_, instance, bound_args)

    def span_exit(self, id_: str, *given: Any, **kwargs: Any) -> None:
        """It ended."""
        _spans.pop(id_, None)
        for listener in listeners:
            listener.left(id_, kwargs.get("result"))

    def span_drop(self, id_: str, *given: Any, **kwargs: Any) -> None:
        """It failed."""
        _spans.pop(id_, None)
        for listener in listeners:
            listener.dropped(id_, kwargs.get("err"))

    def new_span(self, *given: Any, **kwargs: Any) -> None:
        """Spans are followed, not kept."""

    def prepare_to_exit_span(self, *given: Any, **kwargs: Any) -> None:
        """Spans are followed, not kept."""

    def prepare_to_drop_span(self, *given: Any, **kwargs: Any) -> None:
        """Spans are followed, not kept."""


@cache
def follow_runs() -> None:
    """From now on, know the outermost span of every span that opens in this process."""
    get_dispatcher().add_span_handler(_Follower())


def current_run() -> tuple[str | None, str | None]:
    """The outermost and the innermost open span around this code: a call's trace and its parent."""
    parent = active_span_id.get()
    return (None, None) if parent is None else (_root_of(parent), parent)


def run_of(span: str) -> tuple[str | None, str | None]:
    """The outermost span around an open one, and the next one around it; None for a span that nothing surrounds."""
    root, parent = _spans.get(span, (span, None))
    return (None if root == span else root), parent


def around(span: str) -> list[str]:
    """The open spans around one, the nearest first."""
    found: list[str] = []
    while (place := _spans.get(span)) is not None and place[1] is not None and len(found) < _DEEPEST:
        span = place[1]
        found.append(span)
    return found


def _root_of(span: str) -> str:
    found = _spans.get(span)
    return span if found is None else found[0]

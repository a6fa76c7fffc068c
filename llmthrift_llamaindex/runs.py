"""Following the spans around model calls: which outermost run they belong to, so that budgets per run hold for engines and agents.

A model is told nothing of the engine or workflow that calls it. LlamaIndex opens a span for each of these; from the first door on, a
small span handler knows the root of every open one.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Protocol

from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.dispatcher import active_instrument_tags
from llama_index_instrumentation.span import active_span_id
from llama_index_instrumentation.span.base import BaseSpan
from llama_index_instrumentation.span_handlers import BaseSpanHandler

from llmthrift_core.attribution import EMPTY, FIELDS, Attribution, attribution_of
from llmthrift_core.ledger import paths
from llmthrift_core.ledger.paths import Step, Surroundings

if TYPE_CHECKING:
    from llmthrift_core.calls.call import Call
    from llmthrift_core.thrift import Thrift

_MOST_OPEN: Final = 50_000
_DEEPEST: Final = 100
_owner: Final[ContextVar[str | None]] = ContextVar("llmthrift_llamaindex_owner", default=None)
_RUN_ID: Final = "llamaindex.run_id"
_INPUT_EVENT: Final = "llamaindex.step.input_event"
_AGENT_STEPS: Final = frozenset({"AgentSetup", "AgentInput"})


class Listener(Protocol):
    """Is told of every span of the process."""

    def entered(self, span: str, instance: Any, bound: inspect.BoundArguments) -> None: ...

    def left(self, span: str, result: Any) -> None: ...

    def dropped(self, span: str, error: BaseException | None) -> None: ...


listeners: list[Listener] = []
_spans: dict[str, tuple[str, str | None, Step]] = {}  # the root and the parent of every open span, and what it is


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
        own = _step(id_, instance)
        _spans[id_] = (id_, None, own) if parent_id is None else (_root_of(parent_id), parent_id, own)
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
    root, parent, _ = _spans.get(span, (span, None, None))
    return (None if root == span else root), parent


def around(span: str) -> list[str]:
    """The open spans around one, the nearest first."""
    found: list[str] = []
    while (place := _spans.get(span)) is not None and place[1] is not None and len(found) < _DEEPEST:
        span = place[1]
        found.append(span)
    return found


def path_to(span: str | None) -> str | None:
    """The spans from the outermost one to this one, as rows keep them."""
    if span is None:
        return None
    chain = [span, *around(span)]
    return paths.to_text(_spans[each][2] for each in reversed(chain) if each in _spans)


def around_here() -> Surroundings | None:
    """The open spans around this code."""
    trace, parent = current_run()
    return None if trace is None else Surroundings(trace, path_to(parent), attribution_of_tags(active_tags()))


def _step(span: str, instance: Any) -> Step:
    """What a span is: agents and tools by the names that they were given, the rest by class and method."""
    name = span[:-37]  # without its UUID
    match name.rpartition(".")[2]:
        case "run" if isinstance(given := getattr(instance, "name", None), str):
            return paths.step(span, given, "agent")
        case "call" | "acall" if isinstance(given := getattr(getattr(instance, "metadata", None), "name", None), str):
            return paths.step(span, given, "tool")
        case "retrieve" | "aretrieve":
            return paths.step(span, name, "retriever")
    return paths.step(span, name if instance is not None else name.rpartition(".")[2])  # a workflow's step, for its class says little


def _root_of(span: str) -> str:
    found = _spans.get(span)
    return span if found is None else found[0]


@contextmanager
def owned_by(call: Call) -> Iterator[None]:
    """While the block runs, what calls a model in this context is part of this call."""
    token = _owner.set(call.call_id)
    try:
        yield
    finally:
        _owner.reset(token)


def owning_call(thrift: Thrift) -> Call | None:
    """The open call of this Thrift that the running code is part of."""
    call_id = _owner.get()
    return None if call_id is None else thrift.open_call(call_id)


def active_tags() -> Mapping[str, Any]:
    """The tags of the surrounding `instrument_tags(...)` block."""
    return active_instrument_tags.get()


def attribution_of_tags(tags: Mapping[str, Any]) -> Attribution:
    """The attribution that tags give: `user`, `feature`, `session` and the rest by name, `tags` as a mapping.

    A value that is no text or number is passed over.
    """
    if not tags:
        return EMPTY
    named = {name: value for name in FIELDS if (value := tags.get(name)) is not None and isinstance(value, str | int | float)}
    given = tags.get("tags")
    pairs = None
    if isinstance(given, Mapping):
        pairs = {name: value for name, value in given.items() if isinstance(name, str) and isinstance(value, str | int | float)}
    return attribution_of(pairs, **named)


def workflow_run(tags: Mapping[str, Any]) -> str | None:
    """The id of the workflow run that a call belongs to."""
    run = tags.get(_RUN_ID)
    return run if isinstance(run, str) else None


def is_agent_step(tags: Mapping[str, Any]) -> bool:
    """Whether the call is made by an agent's own step, rather than by any other workflow."""
    return tags.get(_INPUT_EVENT) in _AGENT_STEPS


paths.add_lookup(around_here)

"""`ShadowEventHandler`: shows the live calls of a LlamaIndex application to a shadow evaluation."""

from __future__ import annotations

from collections import OrderedDict
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent,
    LLMChatInProgressEvent,
    LLMChatStartEvent,
    LLMCompletionEndEvent,
    LLMCompletionInProgressEvent,
    LLMCompletionStartEvent,
)
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent
from llama_index_instrumentation.event_handlers import BaseEventHandler
from pydantic import Field, PrivateAttr

from llmthrift_core.background.forks import ForkedLock
from llmthrift_llamaindex.codec import mark_of
from llmthrift_llamaindex.response import Pieces, answer_text, count_tool_calls
from llmthrift_llamaindex.usage import served_by

if TYPE_CHECKING:
    from llmthrift_core.quality import ShadowEvaluation

_MOST_OPEN: Final = 10_000
_around: ContextVar[tuple[str, ...]] = ContextVar("llmthrift_llamaindex_shadow", default=())


@dataclass(slots=True)
class _Asked:
    messages: Any
    has_tools: bool
    model: str | None
    pieces: Pieces
    has_inner: bool = False


class ShadowEventHandler(BaseEventHandler):
    """Offers every answered call of the process while it is installed. It waits for nothing, and never raises into a call.

    Of an LLM that calls itself or another one, the innermost call is offered. Calls with tools are left out: a configuration would get the
    messages without them.

    >>> from llama_index.core.llms import MockLLM
    >>> from llmthrift_core import Thrift
    >>> from llmthrift_core.quality import Preference, ShadowEvaluation
    >>> from llmthrift_llamaindex import ShadowEventHandler, thrifty
    >>> thrift = Thrift(":memory:")
    >>> shadow = ShadowEvaluation(
    ...     thrift, {"smaller": thrifty(MockLLM(), thrift)}, lambda *texts: Preference(0.0, True, "", "nobody"), sample=1
    ... )
    >>> with ShadowEventHandler(shadow):
    ...     _ = MockLLM().complete("Hi")
    >>> shadow.report().skipped  # a mock has no price
    {'their cost is not known': 1}
    """

    shadow: Any = Field(exclude=True)

    _open: OrderedDict[str, _Asked] = PrivateAttr(default_factory=OrderedDict)
    _lock: Any = PrivateAttr(default_factory=ForkedLock)

    def __init__(self, shadow: ShadowEvaluation) -> None:
        super().__init__(shadow=shadow)

    @classmethod
    def class_name(cls) -> str:
        """The class's name."""
        return "ShadowEventHandler"

    def install(self) -> Self:
        """Begin to offer. Installing twice does nothing."""
        handlers = get_dispatcher().event_handlers
        if not any(handler is self for handler in handlers):
            handlers.append(self)
        return self

    def uninstall(self) -> None:
        """Offer no further call."""
        handlers = get_dispatcher().event_handlers
        handlers[:] = [handler for handler in handlers if handler is not self]

    def __enter__(self) -> Self:
        return self.install()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.uninstall()

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        """Take an event of LlamaIndex. Never raises."""
        try:
            if isinstance(event, LLMChatStartEvent):
                self._start(event, list(event.messages))
            elif isinstance(event, LLMCompletionStartEvent):
                self._start(event, event.prompt)
            elif isinstance(event, LLMChatInProgressEvent | LLMCompletionInProgressEvent):
                if (asked := self._open.get(event.span_id or "")) is not None:
                    asked.pieces.add(event.response)
            elif isinstance(event, LLMChatEndEvent | LLMCompletionEndEvent):
                self._end(event)
        except Exception as error:
            self.shadow.thrift.note_failure("shadow evaluation", error)

    def _start(self, event: LLMChatStartEvent | LLMCompletionStartEvent, messages: Any) -> None:
        if (span := event.span_id) is None:
            return
        outer = tuple(each for each in _around.get() if each in self._open)
        said = event.additional_kwargs.get("model") or event.model_dict.get("model") or event.model_dict.get("model_name")
        with self._lock:
            for each in outer:
                self._open[each].has_inner = True
            has_tools = bool(event.additional_kwargs.get("tools"))
            self._open[span] = _Asked(messages, has_tools, said if isinstance(said, str) else None, Pieces())
            while len(self._open) > _MOST_OPEN:  # streams that nobody reads never end
                self._open.popitem(last=False)
        _around.set((*outer, span))

    def _end(self, event: LLMChatEndEvent | LLMCompletionEndEvent) -> None:
        with self._lock:
            asked = self._open.pop(event.span_id or "", None)
        if asked is None or asked.has_inner:
            return
        answer = asked.pieces.together() or event.response
        if answer is None or "cache" in mark_of(answer):
            return
        if asked.has_tools or count_tool_calls(answer):
            self.shadow.skip("they have tools or a schema")
            return
        if not (text := answer_text(answer)).strip():
            return
        served = served_by(answer, None, model=asked.model)
        usd = self.shadow.price(served.usage, served.model or asked.model)
        question = asked.messages if isinstance(asked.messages, str) else "\n".join(map(str, asked.messages))
        self.shadow.offer(question, text, messages=asked.messages, usd=usd)

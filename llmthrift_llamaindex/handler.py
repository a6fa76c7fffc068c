"""`ThriftEventHandler`: meters every LLM and embedding call of a LlamaIndex application."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from llama_index.core.instrumentation.events.embedding import EmbeddingEndEvent, EmbeddingStartEvent
from llama_index.core.instrumentation.events.exception import ExceptionEvent
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
from llama_index_instrumentation.events.span import SpanDropEvent
from pydantic import Field, PrivateAttr

from llmthrift_core.attribution import Attribution, attribution_of, call_site_of_prompt, current_attribution, with_call_site
from llmthrift_core.budgets.sizes import max_output_tokens
from llmthrift_core.calls.call import Call
from llmthrift_core.calls.request import Request, Response
from llmthrift_core.model_calls.models import EMBEDDING
from llmthrift_core.outgoing import Outgoing
from llmthrift_core.settings import is_disabled
from llmthrift_core.texts import require_thrift
from llmthrift_llamaindex.codec import mark_of
from llmthrift_llamaindex.identity import model_of, provider_of
from llmthrift_llamaindex.messages import Asked, system_of
from llmthrift_llamaindex.outgoing import count_outgoing
from llmthrift_llamaindex.response import (
    Answer,
    Pieces,
    embedding_usage,
    read_later,
    response_of,
)
from llmthrift_llamaindex.runs import active_tags, around, attribution_of_tags, follow_runs, listeners, owning_call, path_to, run_of
from llmthrift_llamaindex.semantic import asked_question, features_of
from llmthrift_llamaindex.spans import DirectPredictions, embedding_of_event, llm_of_event
from llmthrift_llamaindex.target import output_limit

if TYPE_CHECKING:
    from llmthrift_core.thrift import Thrift

_MOST_OPEN: Final = 50_000
_OPEN_SECONDS: Final = 3600.0  # a stream that nobody reads never ends
_EXPIRY_EVERY: Final = 1024  # starts between two looks for calls that never ended
_WRAPPERS: Final = frozenset({"structured_llm"})  # asks another LLM, whose events follow
_inside: ContextVar[str | None] = ContextVar("llmthrift_llamaindex_span", default=None)


@dataclass(slots=True)
class _Open:
    """A call between its start and its end."""

    call: Call
    asked: Asked
    provider: str | None
    is_stream: bool
    parameters: tuple[Mapping[str, Any], ...] = ()
    pieces: Pieces = field(default_factory=Pieces)
    started: float = field(default_factory=time.monotonic)

    def finish(self, answer: Answer) -> None:
        """The model has answered."""
        call, read = self.call, None
        if call.is_told_later and not self.pieces.have_come:
            read = read_later(answer, self.asked, call.model, self.provider, self.parameters)
        if read is None:
            call.finish(self.response_of(answer))
        else:
            call.finish_later(read)

    def response_of(self, answer: Answer, *, is_broken: bool = False) -> Response:
        """The response of this call; nothing of it is stored in a cache."""
        said, pieces = self.parameters, self.pieces
        return response_of(
            answer, self.asked, self.call.model, self.provider, storable=False, parameters=said, pieces=pieces, is_broken=is_broken
        )


class _Meter:
    """What a handler knows of the calls under way. No pydantic model: those are slow to look up what is their own.

    Args:
        defaults: attribution for calls that have none of their own.
        handler: whose meter it is, which LlamaIndex is given.
    """

    __slots__ = ("_defaults", "_direct", "_embedding", "_handler", "_is_installed", "_lock", "_open", "_starts", "thrift")

    def __init__(self, thrift: Thrift, defaults: Attribution, handler: ThriftEventHandler) -> None:
        self.thrift, self._defaults, self._handler = thrift, defaults, handler
        self._open: dict[str, _Open] = {}
        self._embedding: dict[str, list[tuple[Call, str]]] = {}
        self._is_installed = False
        self._starts = 0
        self._direct = DirectPredictions(self._begin_direct)
        self._lock = threading.Lock()

    # --- life ---

    def install(self) -> None:
        """Begin to record."""
        follow_runs()
        with self._lock:
            self._is_installed = True
            handlers = get_dispatcher().event_handlers
            if not any(handler is self._handler for handler in handlers):
                handlers.append(self._handler)
            if self._direct not in listeners:
                listeners.append(self._direct)

    def uninstall(self) -> None:
        """Record no further call."""
        self._is_installed = False
        if self._direct in listeners:
            listeners.remove(self._direct)
        self._leave()

    def _leave(self) -> None:
        if self._is_installed:
            return
        with self._lock:
            if not self._is_installed and not self._open and not self._embedding:
                handlers = get_dispatcher().event_handlers
                handlers[:] = [handler for handler in handlers if handler is not self._handler]

    # --- events ---

    def take(self, event: BaseEvent) -> None:
        """As `ThriftEventHandler.handle`."""
        try:
            kind = type(event)
            if kind is LLMChatInProgressEvent or kind is LLMCompletionInProgressEvent:
                if (entry := self._open.get(event.span_id or "")) is not None:
                    entry.call.mark_first_token()
                    entry.pieces.add(event.response)  # type: ignore[attr-defined]
            elif isinstance(event, LLMChatStartEvent):
                self._start(event, event.messages)
            elif isinstance(event, LLMCompletionStartEvent):
                self._start(event, event.prompt)
            elif isinstance(event, LLMChatEndEvent | LLMCompletionEndEvent):
                self._end(event)
            elif isinstance(event, EmbeddingStartEvent):
                self._start_embedding(event)
            elif isinstance(event, EmbeddingEndEvent):
                self._end_embedding(event)
            elif isinstance(event, SpanDropEvent):
                # The event carries the error's text, which may hold a prompt; it is fired where the error is being handled.
                self._fail(event.span_id, sys.exception())
            elif isinstance(event, ExceptionEvent):
                self._fail(event.span_id, event.exception)
        except Exception as error:
            self.thrift.note_failure("handler", error)

    def _start(self, event: LLMChatStartEvent | LLMCompletionStartEvent, asked: Asked) -> None:
        span = event.span_id
        if is_disabled() or span is None or event.model_dict.get("class_name") in _WRAPPERS:
            return
        self._direct.called(around(span))
        llm, outside = llm_of_event(self._open)
        # A call in another thread has no frames in common; there, only a call that is no stream is sure to be around this one.
        if (outer := self._open.get(_inside.get() or "")) is not None and not outer.is_stream and (inner := _inside.get()) is not None:
            outside.append(inner)
        for each in outside:
            if (entry := self._open.pop(each, None)) is not None:
                entry.call.abandon()
        owner = owning_call(self.thrift)
        if owner is not None:
            owner.contribute(self._defaults)
            return
        if not self._is_installed:
            return
        is_stream = span.partition(".")[2].startswith(("stream", "astream"))
        asked = asked if isinstance(asked, str) else list(asked)
        model = str(event.additional_kwargs.get("model") or _name(llm, event.model_dict))
        request = self._request(llm, model, asked, span, event.tags, event.additional_kwargs)
        request.request_id = request.run_id = event.id_  # the same for every handler that sees the event
        request.trace_id = request.trace_id or event.id_
        request.stream = is_stream
        self._expire()
        parameters = (event.additional_kwargs, event.model_dict)
        self._open[span] = _Open(self.thrift.begin(request), asked, request.provider, is_stream, parameters)
        _inside.set(span)

    def _begin_direct(self, llm: Any, asked: Asked, span: str) -> Call:
        request = self._request(llm, model_of(llm), asked, span, active_tags(), {})
        request.request_id = request.run_id = span[-36:]  # a span's name ends with its own id
        call: Call = self.thrift.begin(request)
        return call

    def _request(self, llm: Any, model: str, asked: Asked, span: str, tags: Mapping[str, Any], arguments: Mapping[str, Any]) -> Request:
        attribution = self._attribution(tags)
        if attribution.call_site is None and not isinstance(asked, str) and (system := system_of(asked)):
            attribution = with_call_site(attribution, call_site_of_prompt(system))
        trace, parent = run_of(span)
        return Request(
            model=model,
            provider=None if llm is None else provider_of(llm),
            attribution=attribution,
            trace_id=trace,
            parent_id=parent,
            path=path_to(parent),
            prompt=features_of(asked, self.thrift.capture, asked_question(asked), arguments.get("tools")),
            metered=lambda tier: count_outgoing(asked, model, arguments),
            max_output_tokens=lambda tier: max_output_tokens(arguments) if llm is None else output_limit(llm, arguments),
        )

    def _end(self, event: LLMChatEndEvent | LLMCompletionEndEvent) -> None:
        entry = self._open.pop(event.span_id or "", None)
        if entry is None:
            return
        answer = entry.pieces.together() or event.response
        if answer is None:
            entry.call.fail(ValueError("the model answered nothing"))
        elif "cache" in mark_of(answer):
            entry.call.abandon()  # a cached answer: the door that gave it has recorded it
        else:
            entry.finish(answer)
        self._leave()

    def _fail(self, span: str | None, error: BaseException | None, *, was_sent: bool | None = None) -> None:
        self._fail_embedding(span, error)
        entry = self._open.pop(span or "", None)
        if entry is None:
            return
        answer = entry.pieces.together()
        come = None
        if answer is not None:
            come = entry.response_of(answer, is_broken=True)
        entry.call.fail(error if error is not None else RuntimeError("the call was dropped"), come, was_sent=was_sent)
        self._leave()

    def _expire(self) -> None:
        """End the calls whose end was never reported: streams that nobody read."""
        self._starts += 1
        if self._starts % _EXPIRY_EVERY and len(self._open) < _MOST_OPEN:
            return
        oldest = time.monotonic() - _OPEN_SECONDS
        spans = list(self._open)
        for place, span in enumerate(spans):
            entry = self._open.get(span)
            if entry is not None and (entry.started < oldest or len(spans) - place > _MOST_OPEN - 1):
                # Most integrations send nothing before a stream is read.
                was_read = not entry.is_stream or entry.pieces.have_come
                self._fail(span, GeneratorExit(), was_sent=None if was_read else False)

    def _attribution(self, tags: Mapping[str, Any]) -> Attribution:
        return attribution_of_tags(tags).over(current_attribution()).over(self._defaults)

    # --- embeddings: LlamaIndex reports no usage, so tokens are counted offline ---

    def _start_embedding(self, event: EmbeddingStartEvent) -> None:
        if is_disabled() or not self._is_installed or event.span_id is None:
            return
        model, texts = embedding_of_event()
        if getattr(model, "llmthrift_thrift", None) is self.thrift:
            return  # a ThriftEmbedding records itself
        attribution = self._attribution(event.tags)
        if attribution.request_type is None:
            attribution = Attribution(request_type=EMBEDDING).over(attribution)
        name = _name(model, event.model_dict)
        trace, parent = run_of(event.span_id)
        request = Request(
            model=name,
            provider=None if model is None else provider_of(model),
            attribution=attribution,
            request_id=event.id_,
            run_id=event.id_,
            trace_id=trace or event.id_,
            parent_id=parent,
            path=path_to(parent),
            metered=lambda tier: Outgoing(embedding_usage(texts, name).input_tokens),
            max_output_tokens=lambda tier: 0,
        )
        # The batches of a call share its span, and end in the order in which they began.
        self._embedding.setdefault(event.span_id, []).append((self.thrift.begin(request), name))

    def _end_embedding(self, event: EmbeddingEndEvent) -> None:
        batches = self._embedding.get(event.span_id or "")
        if not batches:
            return
        call, name = batches.pop(0)
        if not batches:
            self._embedding.pop(event.span_id or "", None)
        call.finish(Response(usage=embedding_usage(event.chunks, name)))
        self._leave()

    def _fail_embedding(self, span: str | None, error: BaseException | None) -> None:
        for call, _ in self._embedding.pop(span or "", ()):
            call.fail(error if error is not None else RuntimeError("the call was dropped"))


class ThriftEventHandler(BaseEventHandler):
    """Record every LLM and embedding call of the process while it is installed.

    One call is one row: an LLM that calls itself or another LLM counts once, by its innermost call, and what `thrifty`, a RouterLLM or a
    ThriftEmbedding of the same Thrift records is not recorded again. Failed and abandoned calls are rows with an error. Streams whose
    provider reports no usage are counted offline and marked as estimated.

    It never raises into a call and never waits for the database. Budgets need `thrifty` or a RouterLLM: LlamaIndex lets no handler stop
    a call.

    Args:
        thrift: where to record.
        user, feature, session, request_type, prompt_version, config_version, call_site, tags: attribution for calls whose
            `instrument_tags` and surrounding `attribute(...)` do not give it.

    >>> from llama_index.core.llms import MockLLM
    >>> from llmthrift_core import Thrift
    >>> from llmthrift_llamaindex import ThriftEventHandler
    >>> thrift = Thrift(":memory:")
    >>> with ThriftEventHandler(thrift, feature="chat"):
    ...     _ = MockLLM(max_tokens=2).complete("Hi")
    >>> thrift.report(by="feature").to_dicts()[0]["requests"]
    1
    """

    thrift: Any = Field(exclude=True)

    _meter: _Meter = PrivateAttr()

    def __init__(
        self,
        thrift: Thrift,
        *,
        user: str | None = None,
        feature: str | None = None,
        session: str | None = None,
        request_type: str | None = None,
        prompt_version: str | None = None,
        config_version: str | None = None,
        call_site: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        require_thrift(thrift, type(self).__name__)
        super().__init__(thrift=thrift)
        defaults = attribution_of(
            tags,
            user=user,
            feature=feature,
            session=session,
            request_type=request_type,
            prompt_version=prompt_version,
            config_version=config_version,
            call_site=call_site,
        )
        self._meter = _Meter(thrift, defaults, self)

    @classmethod
    def class_name(cls) -> str:
        """The class's name."""
        return "ThriftEventHandler"

    def install(self) -> Self:
        """Begin to record. Installing twice does nothing."""
        self._meter.install()
        return self

    def uninstall(self) -> None:
        """Record no further call. Calls under way are still recorded when they end."""
        self._meter.uninstall()

    def __enter__(self) -> Self:
        return self.install()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.uninstall()

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        """Take an event of LlamaIndex. Never raises."""
        self._meter.take(event)


def _name(model: Any, told: Mapping[str, Any]) -> str:
    if model is not None:
        return model_of(model)
    name = told.get("model_name") or told.get("model")
    return str(name if name and name != "unknown" else told.get("class_name") or "unknown")

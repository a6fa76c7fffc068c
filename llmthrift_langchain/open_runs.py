"""Model runs that a handler has opened, and how the cache finds the one it is looked up for.

LangChain gives a cache the prompt and nothing else. The handler announces each run in a context variable before the lookup; for
`generate` with several prompts it announces all of them before the first lookup, so runs are taken in order. A suspended stream
leaves its announcement behind in its reader's context, so a lookup takes a run only if the prompt is that run's.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from langchain_core.messages import BaseMessage
from langchain_core.outputs import Generation

from llmthrift_core.background.off_loop import in_thread
from llmthrift_core.budgets.sizes import StreamedText
from llmthrift_core.budgets.waiting import Turn
from llmthrift_core.cache.rules import NO_RULES, CacheRules
from llmthrift_core.calls.call import Call
from llmthrift_core.calls.request import Response
from llmthrift_core.usage.chunks import UsageOfChunks
from llmthrift_core.usage.shares import split_usage
from llmthrift_langchain.endings import Loss, Watch
from llmthrift_langchain.messages import fields_of, text_of
from llmthrift_langchain.response import response_of_told, whole_response
from llmthrift_langchain.usage import answer_text, served_by_generations, take_report, told_of

if TYPE_CHECKING:
    from llmthrift_core.calls.request import CacheUse
    from llmthrift_core.outgoing import Outgoing
    from llmthrift_core.thrift import Thrift
    from llmthrift_langchain.either_way import Steps


@dataclass(slots=True)
class OpenRun:
    """One model run between its start and its end.

    Attributes:
        run_id: the number of the run's id. The id itself must not be kept: see `endings`.
        messages: the chat messages; None for a completion model.
        prompt: a completion model's prompt.
        rules: what the run metadata says in "cache".
        cache: how the lookup asked; None before it, and where no key is possible.
        looked_up: a cache has been asked.
        parameters: what LangChain says of the call beside its messages: the model's options, tools and schemas.
        bounds: counts what is sent, for a reservation that is to be made; None where it is made, or none is.
        asks_cache: it is made when a cache has missed.
        streamed: how much of a stream has come, by its tokens. events: by its events, in version "v3".
        pieces: the answer so far, by its events.
        chunks: what the chunks of a stream reported of their usage; None where none came.
        together: the runs of one request, if it carries several prompts; they share its usage.
        watch: looks out for an end that is not reported; None where every end is, or it has come.
    """

    thrift: Thrift
    run_id: int
    parent_id: UUID | None
    call: Call
    messages: list[BaseMessage] | None
    prompt: str | None
    rules: CacheRules = NO_RULES
    cache: CacheUse | None = None
    looked_up: bool = False
    bounds: Callable[[str | None], Outgoing] | None = None
    asks_cache: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict, repr=False)
    streamed: StreamedText = field(init=False, repr=False)
    events: StreamedText = field(init=False, repr=False)
    pieces: list[str] = field(default_factory=list)
    chunks: UsageOfChunks | None = None
    together: RunsOfRequest | None = None
    batch: _Batch | None = field(default=None, repr=False)
    watch: Watch | Loss | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.streamed, self.events = StreamedText(self.call.model), StreamedText(self.call.model)

    @property
    def is_chat(self) -> bool:
        """Whether this is a chat model's run."""
        return self.messages is not None

    @property
    def fields(self) -> list[Mapping[str, Any]]:
        """The fields of the messages."""
        return [fields_of(message) for message in self.messages or ()]

    def came(self, chunk: Any) -> None:
        """A chunk of the stream: what it reports of its usage is kept."""
        if self.chunks is None:
            self.chunks = UsageOfChunks()
        take_report(self.chunks, chunk)

    def unwatch(self) -> None:
        """The run has ended."""
        watch, self.watch = self.watch, None
        if watch is not None:
            watch.stop()

    def reserving(self) -> Steps:
        """At the run's start: make the reservation, unless a cache is asked first. Raises as `reserve`."""
        if self.bounds is None or self.asks_cache:
            return
        work = partial(self._reserve_or_wait, threading.get_ident())
        yield work
        while isinstance(self.call.waiting, Turn):
            yield self.call.waiting
            yield work

    def _reserve_or_wait(self, begun_in: int) -> None:
        if self._is_over():  # it was cancelled before a thread was free
            return
        if self.bounds is not None:
            self.call.request.outgoing, self.bounds = self.bounds, None
            # In another thread than the run's, which is the event loop's, a place in the line would be taken from other calls' work.
            self.call.request.waits = "here" if threading.get_ident() == begun_in else "outside"
        self.call.resume()
        if self._is_over():  # it was cancelled while this went on, off the event loop
            self.call.abandon()

    def _is_over(self) -> bool:
        return not self.call.is_open

    def reserve(self) -> None:
        """The cache has no answer: make the reservation that was waiting for that.

        Raises:
            BudgetExceededError: a budget refuses the call.
        """
        bounds, self.bounds = self.bounds, None
        if bounds is not None:
            self.call.request.outgoing = bounds
            self.call.reserve()
            if not self.call.is_open:  # it was cancelled while this went on, off the event loop
                self.call.abandon()

    async def areserve(self) -> None:
        """As `reserve`, off the event loop. A caller who is cancelled meanwhile has not asked the model."""
        try:
            await in_thread(self.reserve)
        except asyncio.CancelledError:
            await in_thread(self.call.abandon)
            raise

    def siblings(self) -> list[tuple[OpenRun, bool]]:
        """The other runs of the same `generate` call, and whether each came before this one."""
        runs = self.batch.runs if self.batch is not None and len(self.batch.runs) > 1 else []
        place = next((place for place, run in enumerate(runs) if run is self), 0)
        return [(run, number < place) for number, run in enumerate(runs) if run is not self]


class _Batch:
    __slots__ = ("runs", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.runs: list[OpenRun] = []

    @property
    def is_whole(self) -> bool:
        """Whether every run of the `generate` call was announced."""
        return len(self.runs) >= self.size


_announced: ContextVar[_Batch | None] = ContextVar("llmthrift_open_runs", default=None)


def announce(run: OpenRun, batch_size: int) -> None:
    """Let the lookup that follows in this context find the run."""
    batch = _announced.get()
    # All prompts of a `generate` call begin before the first of them ends: where one has ended, what is announced is of another call.
    is_over = batch is None or batch.is_whole or not all(each.call.is_open for each in batch.runs)
    if batch is None or is_over or batch_size != batch.size or batch_size == 1 or batch.runs[0].thrift.shared is not run.thrift.shared:
        batch = _Batch(batch_size)
        _announced.set(batch)
    batch.runs.append(run)
    run.batch = batch


def take(thrift: Thrift, fields: Sequence[Mapping[str, Any]]) -> OpenRun | None:
    """The announced run of these messages, which no lookup has taken yet."""
    batch = _announced.get()
    if batch is None:
        return None
    for run in batch.runs:
        if run.thrift.shared is thrift.shared and not run.looked_up and run.messages is not None and _same(run.messages, fields):
            run.looked_up = True
            return run
    return None


def current(thrift: Thrift, fields: Sequence[Mapping[str, Any]]) -> OpenRun | None:
    """The announced run of these messages, whose lookup has been made: the one that an update belongs to."""
    batch = _announced.get()
    if batch is None:
        return None
    for run in batch.runs:
        if (
            run.thrift.shared is thrift.shared
            and run.looked_up
            and run.call.is_open
            and run.messages is not None
            and _same(run.messages, fields)
        ):
            return run
    return None


def announced(thrift: Thrift) -> list[OpenRun]:
    """The announced runs that have not ended."""
    batch = _announced.get()
    return [] if batch is None else [run for run in batch.runs if run.thrift.shared is thrift.shared and run.call.is_open]


def withdraw(thrift: Thrift) -> list[OpenRun]:
    """The runs of a `generate` call that ends before all of its runs were announced. No later run is taken for one of them."""
    batch = _announced.get()
    if batch is None or batch.is_whole:  # a stream, or another call, around this one
        return []
    runs = announced(thrift)
    _announced.set(None)
    return runs


def next_unreserved(thrift: Thrift) -> OpenRun | None:
    """The announced run whose reservation waits for a lookup, for a lookup that cannot tell which run it belongs to."""
    return next((run for run in announced(thrift) if run.bounds is not None), None)


def forget(run: OpenRun) -> None:
    """The run has ended."""
    if (
        run.batch is not None
        and _announced.get() is run.batch
        and not any(other.call.is_open and other is not run for other in run.batch.runs)
    ):
        _announced.set(None)


def _same(announced: Sequence[BaseMessage], looked_up: Sequence[Mapping[str, Any]]) -> bool:
    if len(announced) != len(looked_up):
        return False
    if not announced:
        return True
    last, other = announced[-1].content, looked_up[-1]["content"]
    # Media blocks are rewritten for tracing, so only the text of blocks is compared.
    return last == other if isinstance(last, str) else text_of(last) == text_of(other)


def response_of_result(
    run: OpenRun, generations: Sequence[Generation], llm_output: Mapping[str, Any] | None, *, is_broken: bool = False
) -> Response:
    """The response of a run that a handler metered. Nothing of it is stored in a cache.

    Args:
        is_broken: a stream ended early.
    """
    served = served_by_generations(generations, llm_output, run.chunks)
    model, sent = served.model or run.call.model, run.messages
    return whole_response(served, lambda: generations, lambda: prompt_of(run), model, (run.parameters,), sent=sent, is_broken=is_broken)


def read_later(run: OpenRun, generations: Sequence[Generation], llm_output: Mapping[str, Any] | None) -> Callable[[], Response] | None:
    """What reads the response of a run in another thread, later; None where the messages or the answer's text are needed for that."""
    told = None if run.chunks is not None else told_of(generations, llm_output)
    if told is None or (told.may_lose and any(each.additional_kwargs or type(each.content) is not str for each in run.messages or ())):
        return None
    return partial(response_of_told, told, run.call.model, run.parameters)


def prompt_of(run: OpenRun) -> Sequence[Mapping[str, Any]] | str:
    """What a run was asked, as it is counted."""
    return run.fields if run.is_chat else run.prompt or ""


@dataclass(slots=True, eq=False)
class _Ended:
    run: OpenRun
    generations: Sequence[Generation]
    llm_output: Mapping[str, Any] | None


@dataclass(slots=True, eq=False)
class RunsOfRequest:
    """The runs of one request.

    Attributes:
        parameters: LangChain's parameters of the request, the same object for every run.
    """

    parameters: Any
    _open: list[OpenRun] = field(default_factory=list, repr=False)
    _ended: list[_Ended] = field(default_factory=list, repr=False)

    def add(self, run: OpenRun) -> None:
        """Another prompt of the request."""
        self._open.append(run)

    def end(self, run: OpenRun, generations: Sequence[Generation], llm_output: Mapping[str, Any] | None) -> list[tuple[OpenRun, Response]]:
        """A run ended. Once the last has: every run that was answered, with its share of the usage."""
        self._ended.append(_Ended(run, generations, llm_output))
        return self.leave(run)

    def leave(self, run: OpenRun) -> list[tuple[OpenRun, Response]]:
        """A run ended that takes no part in the usage: it failed, or somebody else has recorded it. As `end`."""
        if run in self._open:
            self._open.remove(run)
        if self._open:
            return []
        ended, self._ended = self._ended, []
        responses = [response_of_result(each.run, each.generations, each.llm_output) for each in ended]
        reported = [response.usage for response in responses if response.usage is not None]
        if len(reported) == 1 and (reported[0].input_tokens or reported[0].output_tokens):
            sent = [len(str(prompt_of(each.run))) for each in ended]
            made = [len(answer_text(each.generations)) for each in ended]
            for response, share in zip(responses, split_usage(reported[0], sent, made), strict=True):
                response.usage, response.estimate = share, None  # a share of nothing is none that was left out
        return [(each.run, response) for each, response in zip(ended, responses, strict=True)]

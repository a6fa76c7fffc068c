"""`AgentLLM`: the router of an agent that spares past a soft limit, and ends as it is told where a budget refuses."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, closing, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ChatResponseAsyncGen, ChatResponseGen, TextBlock
from pydantic import PrivateAttr

from llmthrift_core.attribution import current_attribution
from llmthrift_core.background.off_loop import in_thread
from llmthrift_core.budgets.scopes import Scope
from llmthrift_core.calls.agent_limits import AgentLimits
from llmthrift_core.calls.last_words import ASKED, held_off_loop, hold_room, lengths_of, mark_of_summary, notes_of
from llmthrift_core.calls.refusals import POLITE, mark_of_refusal
from llmthrift_core.errors import BudgetExceededError
from llmthrift_llamaindex import drive as calling
from llmthrift_llamaindex.codec import MARK, mark, mark_of
from llmthrift_llamaindex.identity import model_of, provider_of
from llmthrift_llamaindex.messages import text_of
from llmthrift_llamaindex.response import calls_of
from llmthrift_llamaindex.router import RouterLLM
from llmthrift_llamaindex.runs import active_tags, attribution_of_tags, current_run
from llmthrift_llamaindex.target import limited
from llmthrift_llamaindex.tiers import ManyModels

if TYPE_CHECKING:
    from llmthrift_core.budgets.hold import Hold
    from llmthrift_core.thrift import Thrift


_ended_by: Final[ContextVar[BudgetExceededError | None]] = ContextVar("llmthrift_ended_by", default=None)


class AgentLLM(RouterLLM):
    """A `RouterLLM` within the limits of an agent. What `budgeted` gives an agent in place of its LLM.

    A message that no model gave, or a summary, has its mark in `raw["llmthrift"]`, which an agent hands on as its output's `raw`.

    Args:
        thrift: prices, cache, budgets and ledger.
        limits: what is done before and at a limit.
        fields: as for `RouterLLM`.
    """

    _limits: AgentLimits = PrivateAttr(default_factory=AgentLimits)

    def __init__(self, thrift: Thrift | None = None, *, limits: AgentLimits | None = None, **fields: Any) -> None:
        super().__init__(thrift, **fields)
        self._limits = limits or AgentLimits()
        if self._limits.soft_tier is not None:
            self._behind.tiers.at_most(self._limits.soft_tier)

    @classmethod
    def class_name(cls) -> str:
        """The class's name in events."""
        return "AgentLLM"

    @property
    def limits(self) -> AgentLimits:
        """What is done before and at a limit."""
        return self._limits

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """As `RouterLLM.chat`, within the agent's limits."""
        if self._passes:
            return super().chat(messages, **kwargs)
        try:
            with self._room():
                return cast("ChatResponse", calling.answer(*self._spared("chat", messages, kwargs)))
        except BudgetExceededError as refused:
            return self._ended(refused, messages, "chat")

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """As `chat`."""
        if self._passes:
            return await super().achat(messages, **kwargs)
        try:
            async with self._aroom():
                return cast("ChatResponse", await calling.aanswer(*await self._aspared("achat", messages, kwargs)))
        except BudgetExceededError as refused:
            return await self._aended(refused, messages, "achat")

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """As `chat`, in pieces; what is refused is told when the stream is read."""
        return super().stream_chat(messages, **kwargs) if self._passes else self._streamed(messages, kwargs)

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """As `stream_chat`."""
        return await super().astream_chat(messages, **kwargs) if self._passes else self._astreamed(messages, kwargs)

    def _streamed(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> Generator[ChatResponse, None, None]:
        said = ""
        try:
            with self._room(), closing(calling.stream(*self._spared("stream_chat", messages, kwargs))) as pieces:
                for piece in pieces:
                    said = text_of(piece.message)
                    yield piece
        except BudgetExceededError as refused:
            yield self._ended(refused, messages, "stream_chat", said)

    async def _astreamed(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> AsyncGenerator[ChatResponse, None]:
        said = ""
        try:
            async with self._aroom(), aclosing(await calling.astream(*await self._aspared("astream_chat", messages, kwargs))) as pieces:
                async for piece in pieces:
                    said = text_of(piece.message)
                    yield piece
        except BudgetExceededError as refused:
            yield await self._aended(refused, messages, "astream_chat", said)

    # --- before the limit ---

    @contextmanager
    def _room(self) -> Iterator[None]:
        """What the summary may take is held while a model works."""
        if not self._sums_up:
            yield
            return
        hold = self._hold()
        try:
            yield
        finally:
            hold.release()

    def _aroom(self) -> AbstractAsyncContextManager[None]:
        """As `_room`, off the event loop."""
        return held_off_loop(self._hold) if self._sums_up else nullcontext()

    def _hold(self) -> Hold:
        cheapest = self.models[self._behind.tiers.names[0]]
        return hold_room(self.thrift.budgets, scope_here(model_of(cheapest)), provider_of(cheapest), tokens=self._limits.summary_tokens)

    def _spared(self, method: str, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> tuple[ManyModels, str, Any, dict[str, Any]]:
        """What is driven: past the soft limit with a line that says what is left, shorter, and within the soft tier."""
        if (refused := _ended_by.get()) is not None:
            raise refused
        limits, behind, options = self._limits, self._behind, dict(kwargs)
        rows = limits.past_soft(self.thrift.budgets, scope_here()) if limits.soft is not None else []
        if not rows:
            return behind, method, messages, options
        if limits.soft_tier is not None and len(behind.tiers.names) > 1:
            options.setdefault("max_tier", limits.soft_tier)
        if limits.soft_shorten is not None:
            behind = replace(behind, answers=replace(behind.answers, shorten=limits.soft_shorten))
        line = limits.line_of(rows)
        return behind, method, messages if line is None else with_line(messages, line), options

    async def _aspared(
        self, method: str, messages: Sequence[ChatMessage], kwargs: dict[str, Any]
    ) -> tuple[ManyModels, str, Any, dict[str, Any]]:
        if self._limits.soft is None:
            return self._spared(method, messages, kwargs)
        return await in_thread(partial(self._spared, method, messages, kwargs))

    # --- at the limit ---

    def _ended(self, refused: BudgetExceededError, messages: Sequence[ChatMessage], method: str, said: str = "") -> ChatResponse:
        for tokens in self._lengths:
            try:
                answer = self._brief(tokens).chat(self._notes(messages, tokens))
            except BudgetExceededError:
                continue
            return _response(text_of(answer.message), mark_of_summary(mark_of(answer), refused), method, said)
        return self._told(refused, method, said)

    async def _aended(self, refused: BudgetExceededError, messages: Sequence[ChatMessage], method: str, said: str = "") -> ChatResponse:
        for tokens in self._lengths:
            try:
                answer = await self._brief(tokens).achat(self._notes(messages, tokens))
            except BudgetExceededError:
                continue
            return _response(text_of(answer.message), mark_of_summary(mark_of(answer), refused), method, said)
        return self._told(refused, method, said)

    def _told(self, refused: BudgetExceededError, method: str, said: str) -> ChatResponse:
        if self._limits.on_exceeded in ("raise", "ask"):  # who asks is the agent
            raise refused
        text = f"Stopped: {refused}" if self._limits.on_exceeded == "stop" else POLITE
        return _response(text, mark_of_refusal(refused), method, said)

    @property
    def _sums_up(self) -> bool:
        return self._limits.on_exceeded == "summarize"

    @property
    def _lengths(self) -> Iterable[int]:
        """Of the summaries that are tried; none where there is to be none."""
        return lengths_of(self._limits.summary_tokens) if self._sums_up else ()

    def _brief(self, tokens: int) -> RouterLLM:
        """The cheapest model, whose answers are so short."""
        cheapest = limited(self.models[self._behind.tiers.names[0]], tokens)
        return RouterLLM(self.thrift, models={"summary": cheapest}, cache=False, fallbacks=False)

    def _notes(self, messages: Sequence[ChatMessage], tokens: int) -> list[ChatMessage]:
        notes = notes_of([(message.role.value, _said(message)) for message in messages], tokens=tokens)
        return [ChatMessage(role="system", content=ASKED), ChatMessage(role="user", content=notes)]

    def __reduce__(self) -> tuple[Any, ...]:
        _, (thrift, fields) = super().__reduce__()
        return _remade, (thrift, fields, self._limits)


@contextmanager
def ended_by_tool(refused: BudgetExceededError | None) -> Iterator[None]:
    """While the block runs, an `AgentLLM` ends its agent as it is told, in place of a call: a budget refused a tool of it."""
    token = _ended_by.set(refused)
    try:
        yield
    finally:
        _ended_by.reset(token)


def polite_response(refused: BudgetExceededError, method: str = "achat") -> ChatResponse:
    """The answer of no model."""
    return _response(POLITE, mark_of_refusal(refused), method, "")


def with_line(messages: Sequence[ChatMessage], line: str) -> list[ChatMessage]:
    """The messages with a line at the end of the last one: what comes before stays in the provider's prompt cache, and no turn begins."""
    if not messages or messages[-1].role.value not in ("user", "tool", "function"):
        return [*messages, ChatMessage(role="user", content=line)]
    last = messages[-1]
    blocks = list(last.blocks)
    if blocks and isinstance(blocks[-1], TextBlock):
        blocks[-1] = TextBlock(text=f"{blocks[-1].text}\n\n{line}")
    else:
        blocks.append(TextBlock(text=line))
    return [*messages[:-1], last.model_copy(update={"blocks": blocks})]


def scope_here(model: str | None = None) -> Scope:
    """Who is about to spend, as a model called from here would."""
    return Scope(attribution_of_tags(active_tags()).over(current_attribution()), model, current_run()[0])


def _said(message: ChatMessage) -> str:
    calls = ", ".join(f"{call.name}({call.arguments})" for call in calls_of(ChatResponse(message=message)))
    return " ".join(part for part in (text_of(message), calls and f"calls {calls}") if part)


def _response(text: str, told: dict[str, Any], method: str, said: str) -> ChatResponse:
    whole = f"{said}\n\n{text}" if said else text
    message = ChatMessage(role="assistant", content=whole)
    response = ChatResponse(message=message, delta=whole[len(said) :] if "stream" in method else None, raw={MARK: told})
    mark(response, told)
    return response


def _remade(thrift: Thrift, fields: dict[str, Any], limits: AgentLimits) -> AgentLLM:
    return AgentLLM(thrift, limits=limits, **fields)

"""Polite answers where a budget refuses: of the methods of a router that are told so, and in place of a tool's result."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, ToolMessage
from langchain_core.outputs import ChatGeneration

from llmthrift_core.budgets.raising import refusal_of
from llmthrift_core.calls.refusals import NOT_DONE, POLITE, mark_of_refusal
from llmthrift_core.errors import BudgetExceededError
from llmthrift_langchain.codec import mark_message

Method = TypeVar("Method", bound=Callable[..., Any])
Answers = tuple[AIMessage, list[ChatGeneration]]


def polite_answer(refused: BudgetExceededError, text: str = POLITE) -> AIMessage:
    """The answer of no model, marked with `source` "budget_limit"."""
    message = AIMessage(text)
    mark_message(message, mark_of_refusal(refused))
    return message


def answer_of_tool(call: Mapping[str, Any], refused: BudgetExceededError, *, ends: bool) -> ToolMessage:
    """What stands in place of the result of a tool that a budget refused.

    Args:
        ends: its agent is to end, and is told so by a mark, which a checkpoint keeps.
    """
    signs = {"llmthrift": mark_of_refusal(refused)} if ends else {}
    return ToolMessage(NOT_DONE, tool_call_id=call["id"], name=call["name"], status="error", response_metadata=signs)


def refused_tool(messages: Sequence[AnyMessage]) -> BudgetExceededError | None:
    """Why a tool that was called last was refused, where that ends its agent."""
    for message in reversed(messages):
        if not isinstance(message, ToolMessage):
            break
        if (mark := message.response_metadata.get("llmthrift")) is not None:
            return refusal_of(mark)
    return None


def politely(method: Callable[..., Answers]) -> Callable[..., Answers]:
    """For a method that gives a whole answer."""

    @wraps(method)
    def answered(self: Any, *given: Any, **options: Any) -> Answers:
        try:
            return method(self, *given, **options)
        except BudgetExceededError as refused:
            return polite_answer(_answered_by(self, refused)), []

    return answered


def apolitely(method: Callable[..., Awaitable[Answers]]) -> Callable[..., Awaitable[Answers]]:
    """As `politely`, for a coroutine."""

    @wraps(method)
    async def answered(self: Any, *given: Any, **options: Any) -> Answers:
        try:
            return await method(self, *given, **options)
        except BudgetExceededError as refused:
            return polite_answer(_answered_by(self, refused)), []

    return answered


def streams_politely(method: Method) -> Method:
    """For a stream. One that outgrew its budget ends with the polite answer."""

    @wraps(method)
    def streamed(self: Any, *given: Any, **options: Any) -> Iterator[AIMessageChunk]:
        try:
            yield from method(self, *given, **options)
        except BudgetExceededError as refused:
            yield _chunk(_answered_by(self, refused))

    return cast("Method", streamed)


def astreams_politely(method: Method) -> Method:
    """As `streams_politely`, for an asynchronous stream."""

    @wraps(method)
    async def streamed(self: Any, *given: Any, **options: Any) -> AsyncIterator[AIMessageChunk]:
        pieces = method(self, *given, **options)
        try:
            async for piece in pieces:
                yield piece
        except BudgetExceededError as refused:
            yield _chunk(_answered_by(self, refused))
        finally:
            await pieces.aclose()

    return cast("Method", streamed)


def _answered_by(router: Any, refused: BudgetExceededError) -> BudgetExceededError:
    """The refusal, if the router is to answer it; else it is raised."""
    if router.on_budget != "answer":
        raise refused
    return refused


def _chunk(refused: BudgetExceededError) -> AIMessageChunk:
    chunk = AIMessageChunk(content=POLITE)
    mark_message(chunk, mark_of_refusal(refused))
    return chunk

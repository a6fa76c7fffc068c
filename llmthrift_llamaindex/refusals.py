"""Ways of driving a call that answer politely, where their door is told to, when a budget refuses it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from functools import wraps
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse

from llmthrift_core.calls.refusals import POLITE, mark_of_refusal
from llmthrift_core.errors import BudgetExceededError
from llmthrift_llamaindex.codec import mark
from llmthrift_llamaindex.messages import Asked
from llmthrift_llamaindex.response import Answer
from llmthrift_llamaindex.target import Behind

Arguments = dict[str, Any]


def polite_answer(refused: BudgetExceededError, method: str, said: str = "") -> Answer:
    """The answer of no model, marked with `source` "budget_limit".

    Args:
        method: the called method, such as "astream_chat".
        said: what a stream had given before it outgrew its budget.
    """
    text = f"{said}\n\n{POLITE}" if said else POLITE
    delta = text[len(said) :] if "stream" in method else None
    answer: Answer
    if "chat" in method:
        answer = ChatResponse(message=ChatMessage(role="assistant", content=text), delta=delta)
    else:
        answer = CompletionResponse(text=text, delta=delta)
    mark(answer, mark_of_refusal(refused))
    return answer


def politely(drive: Callable[[Behind, str, Asked, Arguments], Any]) -> Callable[[Behind, str, Asked, Arguments], Any]:
    """For a whole answer."""

    @wraps(drive)
    def answered(behind: Behind, method: str, asked: Asked, arguments: Arguments) -> Any:
        try:
            return drive(behind, method, asked, arguments)
        except BudgetExceededError as refused:
            return polite_answer(_answered_by(behind, refused), method)

    return answered


def apolitely(
    drive: Callable[[Behind, str, Asked, Arguments], Awaitable[Any]],
) -> Callable[[Behind, str, Asked, Arguments], Awaitable[Any]]:
    """As `politely`, for a coroutine."""

    @wraps(drive)
    async def answered(behind: Behind, method: str, asked: Asked, arguments: Arguments) -> Any:
        try:
            return await drive(behind, method, asked, arguments)
        except BudgetExceededError as refused:
            return polite_answer(_answered_by(behind, refused), method)

    return answered


Pieces = Generator[Any, None, None]
AsyncPieces = AsyncGenerator[Any, None]


def streams_politely(drive: Callable[[Behind, str, Asked, Arguments], Pieces]) -> Callable[[Behind, str, Asked, Arguments], Pieces]:
    """For a stream. One that outgrew its budget ends with the polite answer."""

    @wraps(drive)
    def streamed(behind: Behind, method: str, asked: Asked, arguments: Arguments) -> Pieces:
        try:
            pieces = drive(behind, method, asked, arguments)
        except BudgetExceededError as refused:
            return _one(polite_answer(_answered_by(behind, refused), method))
        return _ended(pieces, method) if behind.on_budget == "answer" else pieces

    return streamed


def astreams_politely(
    drive: Callable[[Behind, str, Asked, Arguments], Awaitable[AsyncPieces]],
) -> Callable[[Behind, str, Asked, Arguments], Awaitable[AsyncPieces]]:
    """As `streams_politely`, for an asynchronous stream."""

    @wraps(drive)
    async def streamed(behind: Behind, method: str, asked: Asked, arguments: Arguments) -> AsyncPieces:
        try:
            pieces = await drive(behind, method, asked, arguments)
        except BudgetExceededError as refused:
            return _aone(polite_answer(_answered_by(behind, refused), method))
        return _aended(pieces, method) if behind.on_budget == "answer" else pieces

    return streamed


def _answered_by(behind: Behind, refused: BudgetExceededError) -> BudgetExceededError:
    """The refusal, if the door is to answer it; else it is raised."""
    if behind.on_budget != "answer":
        raise refused
    return refused


def _one(piece: Answer) -> Pieces:
    yield piece


async def _aone(piece: Answer) -> AsyncPieces:
    yield piece


def _ended(pieces: Pieces, method: str) -> Pieces:
    said = ""
    try:
        for piece in pieces:
            said = _text(piece)
            yield piece
    except BudgetExceededError as refused:
        yield polite_answer(refused, method, said)
    finally:
        pieces.close()


async def _aended(pieces: AsyncPieces, method: str) -> AsyncPieces:
    said = ""
    try:
        async for piece in pieces:
            said = _text(piece)
            yield piece
    except BudgetExceededError as refused:
        yield polite_answer(refused, method, said)
    finally:
        await pieces.aclose()


def _text(piece: Any) -> str:
    return (piece.message.content if isinstance(piece, ChatResponse) else piece.text) or ""

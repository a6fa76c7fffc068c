"""A cached answer, played back with the events of an ordinary call, so that tracers and callback handlers see one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from typing import Any, Final, cast

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, TextBlock
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index_instrumentation import get_dispatcher

_PIECE_CHARS: Final = 48  # a replayed stream arrives in pieces of about a dozen tokens
_dispatcher = get_dispatcher(__name__)


class CachedAnswer:
    """Answers with one stored response, whole or as a stream.

    Args:
        answer: a fresh copy of the stored response, marked as a hit.
        model: the name of the model that gave it.
        callback_manager: of the model that was asked.
    """

    rate_limiter = None  # nobody's limit is touched

    def __init__(self, answer: ChatResponse | CompletionResponse, model: str, callback_manager: CallbackManager) -> None:
        self.callback_manager = callback_manager
        self._answer = answer
        self._model = model

    def to_payload(self) -> dict[str, Any]:
        """What events say of the model."""
        return {"class_name": "llmthrift_cached_answer", "model_name": self._model}

    @_dispatcher.span
    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """The whole answer."""
        return cast("ChatResponse", self._answer)

    @_dispatcher.span
    @llm_completion_callback()
    def complete(self, prompt: str, **kwargs: Any) -> CompletionResponse:
        """The whole answer."""
        return cast("CompletionResponse", self._answer)

    @_dispatcher.span
    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Generator[Any, None, None]:
        """The answer in pieces."""
        return self._pieces()

    @_dispatcher.span
    @llm_completion_callback()
    def stream_complete(self, prompt: str, **kwargs: Any) -> Generator[Any, None, None]:
        """The answer in pieces."""
        return self._pieces()

    @_dispatcher.span
    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """The whole answer."""
        return cast("ChatResponse", self._answer)

    @_dispatcher.span
    @llm_completion_callback()
    async def acomplete(self, prompt: str, **kwargs: Any) -> CompletionResponse:
        """The whole answer."""
        return cast("CompletionResponse", self._answer)

    @_dispatcher.span
    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> AsyncGenerator[Any, None]:
        """The answer in pieces."""
        return self._async_pieces()

    @_dispatcher.span
    @llm_completion_callback()
    async def astream_complete(self, prompt: str, **kwargs: Any) -> AsyncGenerator[Any, None]:
        """The answer in pieces."""
        return self._async_pieces()

    async def _async_pieces(self) -> AsyncGenerator[Any, None]:
        for piece in self._pieces():
            yield piece

    def _pieces(self) -> Generator[Any, None, None]:
        """Pieces with the text so far, as every integration gives them; the last is the answer itself, with its tool calls."""
        answer = self._answer
        text = (answer.message.content or "") if isinstance(answer, ChatResponse) else answer.text
        end = 0
        while end + _PIECE_CHARS < len(text):
            start, end = end, end + _PIECE_CHARS
            told: dict[str, Any] = {"delta": text[start:end], "raw": answer.raw, "additional_kwargs": answer.additional_kwargs.copy()}
            if isinstance(answer, ChatResponse):
                yield ChatResponse(message=ChatMessage(role=answer.message.role, blocks=[TextBlock(text=text[:end])]), **told)
            else:
                yield CompletionResponse(text=text[:end], **told)
        answer.delta = text[end:]
        yield answer

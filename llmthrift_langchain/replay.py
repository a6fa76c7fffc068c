"""A cached answer, played back through the model interface so that callbacks, tracers and event streams see an ordinary run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models.base import LangSmithParams
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

_PIECE_CHARS = 48  # a replayed stream arrives in pieces of about a dozen tokens


class CachedAnswer(BaseChatModel):
    """Answers with one stored generation, whole or as a stream.

    Attributes:
        generation: a fresh copy of the stored answer. others: of the further ones, where several were asked for.
        model_name, provider: of the model that gave it.
    """

    generation: Any = None
    others: Sequence[Any] = ()
    model_name: str
    provider: str | None = None

    @classmethod
    def of(cls, generation: Any, model_name: str, provider: str | None = None, others: Sequence[Any] = ()) -> CachedAnswer:
        """One answer of a model. A copy takes pydantic a quarter of the time of a new object."""
        return _answering_for(model_name, provider).model_copy(update={"generation": generation, "others": others})

    @property
    def _llm_type(self) -> str:
        return "llmthrift-cached-answer"

    def __repr_args__(self) -> Any:
        # LangChain shows tracers of every run what its model looks like: the answer is no part of that, and takes longest to be written.
        return [("model_name", self.model_name), ("provider", self.provider)]

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return LangSmithParams(ls_provider=self.provider or "llmthrift", ls_model_name=self.model_name, ls_model_type="chat")

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[self._answer(), *self.others])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        generation = self._answer()
        message = generation.message
        assert isinstance(message, AIMessage)  # noqa: S101 - the codec stores nothing else
        content: str | list[Any] = message.content
        if isinstance(content, str) and len(content) > _PIECE_CHARS:
            for start in range(0, len(content), _PIECE_CHARS):
                piece = AIMessageChunk(content=content[start : start + _PIECE_CHARS], id=message.id)
                yield ChatGenerationChunk(message=piece)
            content = ""
        last = AIMessageChunk(
            content=content,
            id=message.id,
            additional_kwargs=message.additional_kwargs,
            response_metadata=message.response_metadata,
            usage_metadata=message.usage_metadata,
            tool_call_chunks=[
                tool_call_chunk(name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=index)
                for index, call in enumerate(message.tool_calls)
            ],
            chunk_position="last",
        )
        yield ChatGenerationChunk(message=last, generation_info=generation.generation_info)

    def _answer(self) -> ChatGeneration:
        generation: ChatGeneration = self.generation
        return generation


@lru_cache(maxsize=256)
def _answering_for(model_name: str, provider: str | None) -> CachedAnswer:
    return CachedAnswer(model_name=model_name, provider=provider, cache=False)

"""LangChain behind the HTTP service: OpenAI's messages in, a router's answers out."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from langchain_core.embeddings import Embeddings
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, convert_to_messages
from langchain_core.outputs import ChatGeneration
from langchain_core.runnables import Runnable

from llmthrift_core.errors import ConfigurationError, MissingExtraError
from llmthrift_core.service.backend import Answered, Asked, Choice, Piece, RoutedBackend, no_embeddings
from llmthrift_langchain.messages import text_of
from llmthrift_langchain.router import ChatRouter

if TYPE_CHECKING:
    from llmthrift_core.thrift import Thrift

_ENDS: Final = {
    "stop": "stop", "end_turn": "stop", "stop_sequence": "stop", "STOP": "stop", "length": "length", "max_tokens": "length",
    "MAX_TOKENS": "length", "tool_calls": "tool_calls", "tool_use": "tool_calls", "function_call": "tool_calls",
    "content_filter": "content_filter", "refusal": "content_filter", "SAFETY": "content_filter",
}  # fmt: skip


def make_backend(thrift: Thrift, models: Mapping[str, Any], **options: Any) -> LangChainBackend | None:
    """The backend of these models; None where one of them is neither a chat model of LangChain nor a name.

    Args:
        models: by tier a chat model, its name, or a pair of its name and its options.
    """
    if not all(isinstance(model, str | Runnable | tuple) for model in models.values()):
        return None
    return LangChainBackend(thrift, {tier: _made(model) for tier, model in models.items()}, **options)


def _made(model: Any) -> Any:
    if not isinstance(model, tuple):
        return model
    try:
        from langchain.chat_models import init_chat_model
    except ImportError:
        raise MissingExtraError("models", "langchain") from None
    name, options = model
    return init_chat_model(name, **options)


def _embeddings_of(name: str, options: Mapping[str, Any]) -> Embeddings:
    try:
        from langchain.embeddings import init_embeddings
    except ImportError:
        raise MissingExtraError("models", "langchain") from None
    # Servers that speak like OpenAI's take texts, and not the tokens that its client makes of them.
    texts: dict[str, Any] = {"check_embedding_ctx_length": False} if "base_url" in options and name.startswith("openai:") else {}
    return init_embeddings(name, **options, **texts)


class LangChainBackend(RoutedBackend[ChatRouter]):
    """Answers through a `ChatRouter` over all tiers, and through one for each tier that is asked for by name.

    Args:
        cache: as for `ChatRouter`, or a mapping of options of `ThriftCache`.
        embeddings: for `/v1/embeddings`: an Embeddings object, or a pair of a model's name and its options.
        options: as for `ChatRouter`.
    """

    def __init__(self, thrift: Thrift, models: Mapping[str, Any], *, cache: Any = True, embeddings: Any = None, **options: Any) -> None:
        if isinstance(cache, Mapping):
            from llmthrift_langchain.cache import ThriftCache

            cache = ThriftCache(thrift, **cache)
        super().__init__(partial(ChatRouter, thrift), models, {"cache": cache, **options})
        self._embeddings = None
        if isinstance(embeddings, tuple):
            embeddings = _embeddings_of(*embeddings)
        if embeddings is not None:
            from llmthrift_langchain.embeddings import ThriftEmbeddings

            self._embeddings = ThriftEmbeddings(thrift, embeddings)

    @property
    def tiers(self) -> Sequence[str]:
        """The names of the tiers, cheapest first."""
        return tuple(self._router.tiers)

    def model_of(self, tier: str) -> tuple[str, str | None]:
        """The name and the provider of a tier's model."""
        chosen = self._router.tiers[tier]
        return chosen.name, chosen.provider

    async def answer(self, asked: Asked) -> Answered:
        """The whole answer."""
        model, messages, options = self._prepared(asked)
        if asked.number > 1:
            (generations,) = (await cast("BaseChatModel", model).agenerate([messages], n=asked.number, **options)).generations
            answers = [cast("AIMessage", cast("ChatGeneration", each).message) for each in generations]
        else:
            answers = [await model.ainvoke(messages, **options)]
        return Answered([_choice(answer) for answer in answers], _model_of(answers[0]), _usage(answers[0]))

    async def stream(self, asked: Asked) -> AsyncIterator[Piece]:
        """The answer as it comes."""
        model, messages, options = self._prepared(asked)
        ended, called = None, False
        async with aclosing(model.astream(messages, **options)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                piece = _piece(cast("AIMessageChunk", chunk))
                called = called or bool(piece.tool_calls)
                ended = piece.finish_reason or ended
                yield piece
        if ended is None:
            yield Piece(finish_reason="tool_calls" if called else "stop")

    @property
    def embedding_model(self) -> str | None:
        """The name of the embedding model; None: there is none."""
        return None if self._embeddings is None else self._embeddings.model

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """A vector of each text. Raises ConfigurationError: there is no embedding model."""
        if self._embeddings is None:
            raise no_embeddings()
        return await self._embeddings.aembed_documents(list(texts))

    def _prepared(self, asked: Asked) -> tuple[Runnable[Any, AIMessage], list[BaseMessage], dict[str, Any]]:
        router, options = self._chosen(asked)
        try:
            messages = convert_to_messages([dict(each) for each in asked.messages])
        except (ValueError, KeyError, NotImplementedError, TypeError):
            raise ConfigurationError("messages cannot be read: each needs a role that OpenAI knows, and a content") from None
        if not asked.tools:
            return router, messages, options
        given = {name: options.pop(name) for name in ("parallel_tool_calls",) if name in options}
        return router.bind_tools([dict(each) for each in asked.tools], tool_choice=asked.tool_choice, **given), messages, options


def _choice(message: AIMessage) -> Choice:
    calls = [
        {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": json.dumps(call["args"])}}
        for call in message.tool_calls
    ]
    text = text_of(message.content)
    refusal = message.additional_kwargs.get("refusal")
    return Choice(text if text or not calls else None, calls, cast("Any", _end(message) or ("tool_calls" if calls else "stop")), refusal)


def _piece(chunk: AIMessageChunk) -> Piece:
    calls = [
        {
            "index": call["index"] or 0,
            **({"id": call["id"], "type": "function"} if call["id"] else {}),
            "function": {**({"name": call["name"]} if call["name"] else {}), "arguments": call["args"] or ""},
        }
        for call in chunk.tool_call_chunks
    ]
    name = chunk.response_metadata.get("model_name") or chunk.response_metadata.get("model")
    return Piece(text_of(chunk.content) or None, calls, _end(chunk), name, _usage(chunk))


def _end(message: AIMessage) -> str | None:
    told = message.response_metadata.get("finish_reason") or message.response_metadata.get("stop_reason")
    return None if told is None else _ENDS.get(str(told), "stop")


def _model_of(message: AIMessage) -> str:
    metadata = message.response_metadata
    return str(metadata.get("model_name") or metadata.get("model") or (metadata.get("llmthrift") or {}).get("model") or "unknown")


def _usage(message: AIMessage) -> dict[str, Any] | None:
    told = message.usage_metadata
    if told is None:
        return None
    sent, made = told.get("input_token_details") or {}, told.get("output_token_details") or {}
    return {
        "prompt_tokens": told["input_tokens"],
        "completion_tokens": told["output_tokens"],
        "total_tokens": told["total_tokens"],
        "prompt_tokens_details": {"cached_tokens": sent.get("cache_read") or 0},
        "completion_tokens_details": {"reasoning_tokens": made.get("reasoning") or 0},
    }

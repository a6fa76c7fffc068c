"""LlamaIndex behind the HTTP service: OpenAI's messages in, a router's answers out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.llms import LLM

from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.cache.wholeness import CUT_OFF, FILTERED, UNDER_WAY, ends_in, flaw_of
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.service.backend import Answered, Asked, Choice, Piece, RoutedBackend, no_embeddings
from llmthrift_llamaindex.codec import mark_of
from llmthrift_llamaindex.identity import model_of, provider_of
from llmthrift_llamaindex.messages import text_of
from llmthrift_llamaindex.named import by_name
from llmthrift_llamaindex.openai_format import calls_of, messages_of, tools_of
from llmthrift_llamaindex.router import RouterLLM
from llmthrift_llamaindex.tools import TOOLS, ToolUse
from llmthrift_llamaindex.usage import served_by

if TYPE_CHECKING:
    from llmthrift_core.thrift import Thrift

Finish = Literal["stop", "length", "tool_calls", "content_filter"]
_FLAWS: Final[Mapping[str | None, Finish]] = {CUT_OFF: "length", FILTERED: "content_filter"}


def make_backend(thrift: Thrift, models: Mapping[str, Any], **options: Any) -> LlamaIndexBackend | None:
    """The backend of these models; None where one of them is neither an LLM of LlamaIndex nor a name.

    Args:
        models: by tier an LLM, its name, or a pair of its name and its options.
    """
    if not all(isinstance(model, str | LLM | tuple) for model in models.values()):
        return None
    return LlamaIndexBackend(thrift, {tier: _made(thrift, model) for tier, model in models.items()}, **options)


def _made(thrift: Thrift, model: Any) -> Any:
    if not isinstance(model, tuple):
        return model
    name, options = model
    return by_name(name, thrift.prices, **options)


class LlamaIndexBackend(RoutedBackend[RouterLLM]):
    """Answers through a `RouterLLM` over all tiers, and through one for each tier that is asked for by name.

    Args:
        cache: as for `RouterLLM`, or a mapping of options of `CachePolicy`, with `semantic` and `semantic_ttl_seconds`.
        embeddings: for `/v1/embeddings`.
        options: as for `RouterLLM`.
    """

    def __init__(
        self, thrift: Thrift, models: Mapping[str, Any], *, cache: Any = True, embeddings: BaseEmbedding | None = None, **options: Any
    ) -> None:
        if isinstance(cache, Mapping):
            kept = dict(cache)
            options |= {name: kept.pop(name) for name in ("semantic", "semantic_ttl_seconds") if name in kept}
            cache = CachePolicy(**kept)
        super().__init__(partial(RouterLLM, thrift), models, {"cache": cache, **options}, lambda router: router.models)
        self._embeddings = None
        if embeddings is not None:
            from llmthrift_llamaindex.embeddings import ThriftEmbedding

            self._embeddings = ThriftEmbedding(thrift, embeddings)

    @property
    def tiers(self) -> Sequence[str]:
        """The names of the tiers, cheapest first."""
        return tuple(self._router.models)

    def model_of(self, tier: str) -> tuple[str, str | None]:
        """The name and the provider of a tier's model."""
        llm = self._router.models[tier]
        return model_of(llm), provider_of(llm)

    async def answer(self, asked: Asked) -> Answered:
        """The whole answer. Raises ConfigurationError where several are asked for: no LLM of LlamaIndex gives them."""
        if asked.number > 1:
            raise ConfigurationError(f"n={asked.number} is not served here: LLMs of LlamaIndex give one answer to a call; ask with n=1")
        router, messages, options = self._prepared(asked)
        answer = await router.achat(messages, **options)
        calls = _calls(router, answer)
        choice = Choice(text_of(answer.message) or (None if calls else ""), calls, _finish(_ends(answer), has_calls=bool(calls)))
        return Answered([choice], _model_of(answer) or router.metadata.model_name)

    async def stream(self, asked: Asked) -> AsyncIterator[Piece]:
        """The answer as it comes; tool calls come whole, at its end. What it used is told by the ledger."""
        router, messages, options = self._prepared(asked)
        last, ends = None, list[str]()
        async with aclosing(cast("Any", await router.astream_chat(messages, **options))) as pieces:
            async for piece in pieces:
                last = piece
                ends += _ends(piece)
                yield Piece(text=piece.delta or None, model=_model_of(piece))
        calls = [] if last is None else _calls(router, last)
        indexed = [{"index": place, **call} for place, call in enumerate(calls)]
        yield Piece(tool_calls=indexed, finish_reason=_finish(ends, has_calls=bool(calls)))

    @property
    def embedding_model(self) -> str | None:
        """The name of the embedding model; None: there is none."""
        return None if self._embeddings is None else str(self._embeddings.model_name)

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """A vector of each text. Raises ConfigurationError: there is no embedding model."""
        if self._embeddings is None:
            raise no_embeddings()
        return await self._embeddings.aget_text_embedding_batch(list(texts))

    def _prepared(self, asked: Asked) -> tuple[RouterLLM, list[ChatMessage], dict[str, Any]]:
        router, options = self._chosen(asked)
        is_parallel = options.pop("parallel_tool_calls", True)
        if (use := _use_of(asked, is_parallel=is_parallel)) is not None:
            options[TOOLS] = use
        return router, messages_of(asked.messages), options


def _use_of(asked: Asked, *, is_parallel: bool) -> ToolUse | None:
    """The offered tools. One that must be called is offered alone, which each provider understands; with "none" there are none."""
    choice, offered = asked.tool_choice, asked.tools
    if not offered or choice == "none":
        return None
    if isinstance(choice, Mapping):
        name = (choice.get("function") or {}).get("name")
        offered = [tool for tool in offered if (tool.get("function") or {}).get("name") == name]
        if not offered:
            raise ConfigurationError(f"tool_choice names {name!r}, which is none of the tools")
    elif choice not in (None, "auto", "required"):
        raise ConfigurationError(f'tool_choice must be "auto", "none", "required" or a function, not {choice!r}')
    return ToolUse(tools_of(offered), parallel=bool(is_parallel), required=choice not in (None, "auto"))


def _calls(router: RouterLLM, answer: ChatResponse) -> list[dict[str, Any]]:
    selections = [] if not answer.message.additional_kwargs.get("tool_calls") else router.get_tool_calls_from_response(answer, False)
    return calls_of(answer, selections)


def _ends(answer: ChatResponse) -> list[str]:
    told = [*ends_in(answer.raw), *ends_in(answer.additional_kwargs), *ends_in(answer.message.additional_kwargs)]
    return [end for end in told if end not in UNDER_WAY]


def _finish(ends: Sequence[str], *, has_calls: bool) -> Finish:
    return _FLAWS.get(flaw_of(ends, says=True)) or ("tool_calls" if has_calls else "stop")


def _model_of(answer: ChatResponse) -> str | None:
    return served_by(answer, None).model or mark_of(answer).get("model")

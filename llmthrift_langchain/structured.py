"""Structured output through a router: the chosen model answers, and its own pipeline parses what it answered.

Every integration builds its pipeline its own way, and changes it between releases; so nothing here looks into one. Each tier's
`with_structured_output` is called on a stand-in of its model, which notes what is bound to it and, when the pipeline runs, hands over the
answer that the router has got already.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models.base import LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import Runnable, RunnableConfig

from llmthrift_langchain.response import merge

if TYPE_CHECKING:
    from llmthrift_langchain.tiers import Tier

_NOTED = "_llmthrift_noted"  # where a stand-in keeps what is bound to it


class Asked:
    """Which tier answered a routed call: filled in by the call, for who made it."""

    __slots__ = ("tier",)

    def __init__(self) -> None:
        self.tier: str | None = None


class _Answered:
    """What a tier's model answered: a whole message or one piece of it, or the pieces as they come."""

    __slots__ = ("apieces", "message", "pieces", "tier")

    def __init__(
        self,
        tier: str,
        message: AIMessage | None = None,
        *,
        pieces: Iterator[AIMessageChunk] | None = None,
        apieces: AsyncIterator[AIMessageChunk] | None = None,
    ) -> None:
        self.tier = tier
        self.message = message
        self.pieces = pieces
        self.apieces = apieces

    def __repr__(self) -> str:  # shown by tracers
        return f"answer of {self.tier!r}" + (f": {self.message!r}" if self.message is not None else "")


class _HandsOver:
    """Comes before a model's class: calling it gives the answer that is handed in. No run begins, since the model's own has ended."""

    __slots__ = ()

    def invoke(self, input: _Answered, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage | None:
        """The answer, whole."""
        return input.message if input.pieces is None else merge(list(input.pieces))

    async def ainvoke(self, input: _Answered, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage | None:
        """As `invoke`."""
        return self.invoke(input) if input.apieces is None else merge([piece async for piece in input.apieces])

    def stream(self, input: _Answered, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[AIMessage]:
        """The answer in the pieces in which it comes."""
        if input.pieces is not None:
            yield from input.pieces
        elif input.message is not None:
            yield input.message

    async def astream(self, input: _Answered, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[AIMessage]:
        """As `stream`."""
        if input.apieces is not None:
            async for piece in input.apieces:
                yield piece
        elif input.message is not None:
            yield input.message


class _NotesBound(BaseChatModel):
    """Comes after a model's class, so that its `super().bind(...)` arrives here as well as its `self.bind(...)`."""

    def bind(self, **kwargs: Any) -> Any:
        """Note the keyword arguments of every call to the model."""
        noted = self.__dict__.get(_NOTED)
        if noted is not None:
            noted.update(kwargs)
        return super().bind(**kwargs)


class _Routed(Runnable[LanguageModelInput, _Answered]):
    """Calls the router; the first step of a routed pipeline."""

    def __init__(self, router: BaseChatModel, bound: Mapping[str, Mapping[str, Any]]) -> None:
        self._router = router
        self._bound = bound

    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> _Answered:
        """The answer, and the tier that gave it."""
        asked, arguments = self._arguments(kwargs)
        message = self._router.invoke(input, config, **arguments)
        return _Answered(cast("str", asked.tier), message)

    async def ainvoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> _Answered:
        """As `invoke`."""
        asked, arguments = self._arguments(kwargs)
        message = await self._router.ainvoke(input, config, **arguments)
        return _Answered(cast("str", asked.tier), message)

    def stream(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[_Answered]:
        """Each piece, and the tier that gives it."""
        asked, arguments = self._arguments(kwargs)
        for chunk in self._router.stream(input, config, **arguments):
            yield _Answered(cast("str", asked.tier), chunk)

    async def astream(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[_Answered]:
        """As `stream`."""
        asked, arguments = self._arguments(kwargs)
        async for chunk in self._router.astream(input, config, **arguments):
            yield _Answered(cast("str", asked.tier), chunk)

    def _arguments(self, kwargs: Mapping[str, Any]) -> tuple[Asked, dict[str, Any]]:
        asked = Asked()
        return asked, {**kwargs, "llmthrift_bound": self._bound, "llmthrift_asked": asked}


class _Parsed(Runnable[_Answered, Any]):
    """Parses an answer with the pipeline of the tier that gave it; the second step."""

    def __init__(self, pipelines: Mapping[str, Runnable[Any, Any]]) -> None:
        self._pipelines = pipelines

    @property
    def OutputType(self) -> Any:
        """What the pipelines give: the schema decides it, whichever model answers."""
        return next(iter(self._pipelines.values())).OutputType

    def invoke(self, input: _Answered, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """The parsed answer."""
        return self._pipelines[input.tier].invoke(input, config)

    async def ainvoke(self, input: _Answered, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As `invoke`."""
        return await self._pipelines[input.tier].ainvoke(input, config)

    def transform(self, input: Iterator[_Answered], config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        """The parsed answer as it grows."""
        for first in input:
            yield from self._pipelines[first.tier].stream(_Answered(first.tier, pieces=_pieces(first, input)), config)

    async def atransform(self, input: AsyncIterator[_Answered], config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        """As `transform`."""
        async for first in input:
            async for parsed in self._pipelines[first.tier].astream(_Answered(first.tier, apieces=_apieces(first, input)), config):
                yield parsed


def routed_structure(router: BaseChatModel, tiers: Mapping[str, Tier], schema: Any, **kwargs: Any) -> Runnable[LanguageModelInput, Any]:
    """A router's structured output: the same schema and `include_raw` for every tier give the same kind of result from each.

    A mixed set uses function calling, which the most models can, unless the caller names a method.
    """
    if len({type(tier.model) for tier in tiers.values()}) > 1 and "method" not in kwargs:
        kwargs = {**kwargs, "method": "function_calling"}
    bound: dict[str, dict[str, Any]] = {}
    pipelines: dict[str, Runnable[Any, Any]] = {}
    for name, tier in tiers.items():
        bound[name] = {}
        pipelines[name] = _stand_in(tier.model, bound[name]).with_structured_output(schema, **kwargs)
    return _Routed(router, bound) | _Parsed(pipelines)


def _stand_in(model: BaseChatModel, noted: dict[str, Any]) -> BaseChatModel:
    """A copy of a model that builds what the model builds, notes in `noted` what is bound to it, and calls nothing."""
    copy = model.model_copy()
    copy.__dict__[_NOTED] = noted
    object.__setattr__(copy, "__class__", _stand_in_class(type(model)))
    return copy


@lru_cache(maxsize=128)
def _stand_in_class(model_class: type[BaseChatModel]) -> type[BaseChatModel]:
    # Never constructed: a schema of it would only take time.
    body = {"__module__": __name__, "model_config": {"defer_build": True}}
    return type(model_class.__name__, (_HandsOver, model_class, _NotesBound), body)


def _pieces(first: _Answered, following: Iterator[_Answered]) -> Iterator[AIMessageChunk]:
    yield cast("AIMessageChunk", first.message)
    for answered in following:
        yield cast("AIMessageChunk", answered.message)


async def _apieces(first: _Answered, following: AsyncIterator[_Answered]) -> AsyncIterator[AIMessageChunk]:
    yield cast("AIMessageChunk", first.message)
    async for answered in following:
        yield cast("AIMessageChunk", answered.message)

"""`thrifty`: any LlamaIndex LLM with cache, budgets and metering, which keeps its class.

The wrapped model is a copy of the model whose class derives from the model's own: private clients, native structured output, function
calling and `isinstance` are what they were. The eight calling methods are driven by `DrivenCall` and end in the model's own.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import suppress
from copy import copy, deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, cast

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
)
from llama_index.core.llms import LLM
from llama_index.core.llms.structured_llm import StructuredLLM
from pydantic import PrivateAttr

from llmthrift_core.calls.refusals import OnBudget, check_on_budget
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.settings import is_disabled
from llmthrift_core.texts import require_thrift
from llmthrift_llamaindex import drive as calling
from llmthrift_llamaindex.identity import identity_of
from llmthrift_llamaindex.runs import follow_runs, owning_call
from llmthrift_llamaindex.target import Answers, HasBudgetsOfItsOwn, answers_of, bounded
from llmthrift_llamaindex.tools import native_arguments

if TYPE_CHECKING:
    from llama_index.core.callbacks import CallbackManager

    from llmthrift_core.attribution import Attribution
    from llmthrift_core.cache.policy import CachePolicy
    from llmthrift_core.cache.semantic.question import QuestionExtractor
    from llmthrift_core.calls.call import Call
    from llmthrift_core.calls.prefix_planners import PrefixPlanners
    from llmthrift_core.calls.request import RouteUse
    from llmthrift_core.calls.shortening import ShorteningPolicy
    from llmthrift_core.prompts.output_limits import OutputLimits
    from llmthrift_core.routing import Tiers
    from llmthrift_core.routing.requirements import Requirements
    from llmthrift_core.thrift import Thrift
    from llmthrift_core.versions.door_settings import DoorSettings
    from llmthrift_llamaindex.messages import Asked

Model = TypeVar("Model", bound=LLM)


def thrifty(
    llm: Model,
    thrift: Thrift,
    *,
    cache: CachePolicy | bool = True,
    semantic: Any = False,
    semantic_ttl_seconds: float | None = 7200.0,
    extract_question: QuestionExtractor | None = None,
    shorten: ShorteningPolicy | None = None,
    output: OutputLimits | None = None,
    prompt_caching: bool | PrefixPlanners = False,
    on_budget: OnBudget = "raise",
    tuning: Any = None,
) -> Model:
    """A copy of an LLM with cache (streams and tool calls too), budgets, metering and single flight. The class stays.

    A hit carries `additional_kwargs["llmthrift"]`, and a `raw` that bills nothing. Per call, `cache="off"` neither reads nor writes the
    cache and `cache="refresh"` replaces what is stored, as does a `cache_mode(...)` block; `shorten="off"` sends the prompt as it is, and
    `output="off"` limits nothing.

    Args:
        llm: any LLM of LlamaIndex but a RouterLLM, which has all of this itself.
        thrift: prices, cache, budgets and ledger.
        cache: True for the default policy; a CachePolicy for another namespace, lifetime or sharing; False to only meter and bound.
        semantic: True, a LlamaIndex embedding, or a SemanticCache: after the exact cache has missed, a question is answered that means
            the same as an earlier one, with everything else of the request equal. Wrong answers are bounded to 1% of the requests.
        semantic_ttl_seconds: how long an entry answers by meaning.
        extract_question: splits the last message into (context, question), for prompts that carry retrieved documents; the context must
            be equal. Without it the prompts of LlamaIndex's own templates are split, and others with documents matched exactly only.
        shorten: makes prompts shorter before they are sent, such as `llmthrift_core.prompts.Shorten.lossless()`. Default: nothing does.
        output: how long answers may be, an `llmthrift_core.prompts.OutputLimits`: caps where the application sets none, and a second try
            where an answer was paid and is empty.
        prompt_caching: True asks the provider's prompt cache to keep what should pay, as each takes that: marks, keys, retention.
        on_budget: what a call gets that a budget refuses: "raise" is BudgetExceededError; "answer" a polite response without tool calls,
            whose mark has the `source` "budget_limit". An agent ends with it.
        tuning: the name of a configuration whose active version says otherwise how long answers are cached, and so on; see
            `thrift.configurations.follow`. An `Autopilot` changes what it says.

    Raises:
        ConfigurationError: not an LLM, a RouterLLM, or options that cannot be used.

    >>> from llama_index.core.llms import MockLLM
    >>> from llmthrift_core import Thrift
    >>> from llmthrift_llamaindex import thrifty
    >>> thrift = Thrift(":memory:")
    >>> llm = thrifty(MockLLM(max_tokens=2), thrift)
    >>> [llm.complete("Which?").text for _ in range(2)], isinstance(llm, MockLLM)
    (['text text', 'text text'], True)
    >>> thrift.report().total["cache_hits"]
    1
    """
    require_thrift(thrift, "thrifty")
    check_on_budget(on_budget)
    if not isinstance(llm, LLM):
        raise ConfigurationError(f"llm must be an LLM of LlamaIndex, not {type(llm).__name__}")
    if isinstance(llm, HasBudgetsOfItsOwn):
        raise ConfigurationError("a RouterLLM has cache, budgets and metering of its own: give it the options instead of wrapping it")
    if isinstance(llm, StructuredLLM):
        raise ConfigurationError("wrap the model itself: thrifty(llm, thrift).as_structured_llm(...)")
    options = {
        "cache": cache,
        "semantic": semantic,
        "semantic_ttl_seconds": semantic_ttl_seconds,
        "extract_question": extract_question,
        "shorten": shorten,
        "output": output,
        "on_budget": on_budget,
        "prompt_caching": prompt_caching,
        "tuning": getattr(tuning, "name", tuning),
    }
    answers = answers_of(thrift, cache, semantic, semantic_ttl_seconds, extract_question, shorten, prompt_caching, output, tuning)
    settings = _Settings(thrift, answers, options, on_budget)
    follow_runs()
    return cast("Model", _dressed(llm, settings))


@dataclass(frozen=True, slots=True)
class _Settings:
    """What a wrapped model was wrapped with. Shared by its copies."""

    thrift: Thrift
    answers: Answers
    options: Mapping[str, Any] = field(repr=False)
    on_budget: OnBudget = "raise"

    def __deepcopy__(self, memo: dict[int, Any]) -> _Settings:
        return self


class ThriftyLLM:
    """The calling methods of a wrapped model. A base of its class, in front of the model's own.

    Attributes:
        llmthrift_base: the model's own class.
    """

    llmthrift_base: ClassVar[type[LLM]]
    _llmthrift: _Settings

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """As the model's own, from the cache where it can be.

        Raises:
            BudgetExceededError: a budget refuses the call.
        """
        if self._passes:
            return cast("LLM", super()).chat(messages, **kwargs)
        return cast("ChatResponse", calling.answer(OneModel(self), "chat", messages, kwargs))

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """As `chat`, for a prompt."""
        if self._passes:
            return cast("LLM", super()).complete(prompt, formatted=formatted, **kwargs)
        return cast("CompletionResponse", calling.answer(OneModel(self), "complete", prompt, {"formatted": formatted, **kwargs}))

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """As `chat`, in pieces."""
        if self._passes:
            return cast("LLM", super()).stream_chat(messages, **kwargs)
        return calling.stream(OneModel(self), "stream_chat", messages, kwargs)

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """As `complete`, in pieces."""
        if self._passes:
            return cast("LLM", super()).stream_complete(prompt, formatted=formatted, **kwargs)
        return calling.stream(OneModel(self), "stream_complete", prompt, {"formatted": formatted, **kwargs})

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """As `chat`."""
        if self._passes:
            return await cast("LLM", super()).achat(messages, **kwargs)
        return cast("ChatResponse", await calling.aanswer(OneModel(self), "achat", messages, kwargs))

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """As `complete`."""
        if self._passes:
            return await cast("LLM", super()).acomplete(prompt, formatted=formatted, **kwargs)
        arguments = {"formatted": formatted, **kwargs}
        return cast("CompletionResponse", await calling.aanswer(OneModel(self), "acomplete", prompt, arguments))

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """As `stream_chat`."""
        if self._passes:
            return await cast("LLM", super()).astream_chat(messages, **kwargs)
        return await calling.astream(OneModel(self), "astream_chat", messages, kwargs)

    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """As `stream_complete`."""
        if self._passes:
            return await cast("LLM", super()).astream_complete(prompt, formatted=formatted, **kwargs)
        return await calling.astream(OneModel(self), "astream_complete", prompt, {"formatted": formatted, **kwargs})

    # --- structured output: of integrations that would pass `chat` by ---

    def structured_predict(self, output_cls: type[Any], prompt: Any, llm_kwargs: dict[str, Any] | None = None, **prompt_args: Any) -> Any:
        """As the model's own, through `chat`."""
        if (native := self._native(output_cls)) is None:
            return cast("LLM", super()).structured_predict(output_cls, prompt, llm_kwargs=llm_kwargs, **prompt_args)
        answer = self.chat(self._formatted(prompt, prompt_args), **{**native, **(llm_kwargs or {})})
        return output_cls.model_validate_json(answer.message.content or "")

    async def astructured_predict(
        self, output_cls: type[Any], prompt: Any, llm_kwargs: dict[str, Any] | None = None, **prompt_args: Any
    ) -> Any:
        """As `structured_predict`."""
        if (native := self._native(output_cls)) is None:
            return await cast("LLM", super()).astructured_predict(output_cls, prompt, llm_kwargs=llm_kwargs, **prompt_args)
        answer = await self.achat(self._formatted(prompt, prompt_args), **{**native, **(llm_kwargs or {})})
        return output_cls.model_validate_json(answer.message.content or "")

    def stream_structured_predict(
        self, output_cls: type[Any], prompt: Any, llm_kwargs: dict[str, Any] | None = None, **prompt_args: Any
    ) -> Generator[Any, None, None]:
        """As the model's own, through `chat`. A native answer comes in one piece."""
        if self._native(output_cls, stream=True) is None:
            yield from cast("LLM", super()).stream_structured_predict(output_cls, prompt, llm_kwargs=llm_kwargs, **prompt_args)
        else:
            yield self.structured_predict(output_cls, prompt, llm_kwargs, **prompt_args)

    async def astream_structured_predict(
        self, output_cls: type[Any], prompt: Any, llm_kwargs: dict[str, Any] | None = None, **prompt_args: Any
    ) -> AsyncGenerator[Any, None]:
        """As `stream_structured_predict`."""
        if self._native(output_cls, stream=True) is None:
            return await cast("LLM", super()).astream_structured_predict(output_cls, prompt, llm_kwargs=llm_kwargs, **prompt_args)

        async def whole() -> AsyncGenerator[Any, None]:
            yield await self.astructured_predict(output_cls, prompt, llm_kwargs, **prompt_args)

        return whole()

    def _native(self, output_cls: type[Any], *, stream: bool = False) -> Mapping[str, Any] | None:
        return None if self._passes else native_arguments(self, output_cls, stream=stream)

    def _formatted(self, prompt: Any, prompt_args: Mapping[str, Any]) -> list[ChatMessage]:
        return cast("LLM", self)._extend_messages(prompt.format_messages(**prompt_args))

    @property
    def _passes(self) -> bool:
        """Whether the model's own method is called as it is: an integration's `complete` calls its own `chat`."""
        return is_disabled() or owning_call(self._llmthrift.thrift) is not None

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Any:
        # Fields are copied; clients with their connections and locks, which no copy can have, are shared as `model_copy` shares them.
        twin = cast("LLM", self).model_copy()
        for name, value in vars(self).items():
            with suppress(TypeError):
                twin.__dict__[name] = deepcopy(value, memo)
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        settings = self._llmthrift
        return _rewrapped, (unwrapped(cast("LLM", self)), settings.thrift, dict(settings.options))


class OneModel:
    """The wrapped model, as a driven call sees it."""

    __slots__ = ("_llm", "answers", "on_budget", "thrift")

    def __init__(self, llm: ThriftyLLM) -> None:
        self._llm = llm
        self.thrift = llm._llmthrift.thrift
        self.answers = llm._llmthrift.answers
        self.on_budget = llm._llmthrift.on_budget

    @property
    def callback_manager(self) -> CallbackManager:
        return cast("LLM", self._llm).callback_manager

    def in_force(self) -> Self:
        return self

    def tuned(self, settings: DoorSettings) -> Self:
        other = copy(self)
        other.answers = self.answers.tuned(settings, self.thrift)
        return other

    def identity(self, arguments: Mapping[str, Any]) -> bytes:
        return identity_of(self._llm, arguments)

    def tiers_at_most(self, max_tier: str | None) -> Tiers | None:
        if max_tier is not None:
            raise ConfigurationError(f"max_tier={max_tier!r}: one wrapped model has no tiers; use a RouterLLM")
        return None

    def pin_of(self, asked: Asked, arguments: Mapping[str, Any]) -> str | None:
        return None

    def route(
        self,
        tiers: Tiers | None,
        asked: Asked,
        arguments: Mapping[str, Any],
        attribution: Attribution,
        *,
        max_tier: str | None,
        required: Requirements,
        pin: str | None,
        kept_tokens: Callable[[str], int | None] | None = None,
    ) -> RouteUse | None:
        return None

    def model(self, tier: str | None) -> Any:
        return self._llm

    def metered(self, tier: str | None) -> Any:
        return thrifty(self.model(tier), self.thrift, cache=False)

    def prepare(self, call: Call, method: str, asked: Asked, arguments: dict[str, Any]) -> tuple[Any, Asked, dict[str, Any]]:
        return super(ThriftyLLM, bounded(self._llm, call)), asked, arguments

    def after(self, error: BaseException, tier: str | None, tiers: Tiers | None, tried: Sequence[str], input_chars: int) -> str | None:
        return None

    def answered(self, tier: str | None, pin: str | None) -> None:
        """There is nothing to remember."""


@lru_cache(maxsize=256)
def _class_for(base: type[LLM]) -> type[LLM]:
    namespace = {"__module__": __name__, "__doc__": base.__doc__, "__annotations__": {"_llmthrift": _Settings}, "_llmthrift": PrivateAttr()}
    metaclass: Any = type(base)
    made = cast("type[Any]", metaclass(f"Thrifty{base.__name__}", (ThriftyLLM, base), namespace))
    made.llmthrift_base = base
    return made


def _dressed(llm: LLM, settings: _Settings) -> LLM:
    copy = llm.model_copy()
    base = llm.llmthrift_base if isinstance(llm, ThriftyLLM) else type(llm)
    if copy.__pydantic_private__ is None:
        object.__setattr__(copy, "__pydantic_private__", {})
    object.__setattr__(copy, "__class__", _class_for(base))
    cast("Any", copy)._llmthrift = settings
    return copy


def options_of(llm: ThriftyLLM) -> dict[str, Any]:
    """What a model was wrapped with."""
    return dict(llm._llmthrift.options)


def unwrapped(llm: LLM) -> LLM:
    """A copy of the model that was wrapped."""
    copy = llm.model_copy()
    private = copy.__pydantic_private__
    if private is not None:
        private.pop("_llmthrift", None)
    object.__setattr__(copy, "__class__", cast("ThriftyLLM", llm).llmthrift_base)
    return copy


def _rewrapped(llm: LLM, thrift: Thrift, options: dict[str, Any]) -> LLM:
    return thrifty(llm, thrift, **options)

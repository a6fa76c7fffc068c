"""`RouterLLM`: an LLM that sends each request to one of several, and caches, meters and falls back on the way."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
)
from llama_index.core.llms import LLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from pydantic import ConfigDict, Field, PrivateAttr

from llmthrift_core.calls.refusals import OnBudget
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing import Tiers, as_policy
from llmthrift_core.routing.clients import Missing, Order, clients_of, in_order, require_tiers
from llmthrift_core.routing.fallback_chain import chain_of
from llmthrift_core.routing.requirements import REQUIRED
from llmthrift_core.settings import is_disabled
from llmthrift_core.texts import require_thrift
from llmthrift_llamaindex import drive as calling
from llmthrift_llamaindex.codec import mark_of
from llmthrift_llamaindex.identity import model_of, provider_of
from llmthrift_llamaindex.named import by_name
from llmthrift_llamaindex.runs import follow_runs, owning_call
from llmthrift_llamaindex.target import HasBudgetsOfItsOwn, answers_of
from llmthrift_llamaindex.tiers import ManyModels
from llmthrift_llamaindex.tools import TOOLS, ToolUse, streams_objects

if TYPE_CHECKING:
    from llama_index.core.callbacks import CallbackManager
    from llama_index.core.tools.types import BaseTool

    from llmthrift_core.thrift import Thrift

_PASSED: Final[tuple[str, ...]] = ("cache", "max_tier", "shorten", "output", *REQUIRED, TOOLS)


class RouterLLM(FunctionCallingLLM, HasBudgetsOfItsOwn):
    """Answer each request with the cheapest model that is good enough.

    One agent run keeps its model, since its next call continues what the last one said.

    Args:
        thrift: prices, cache, budgets and ledger. May be given first, without a name.
        models: name of tier -> LLM, or a model's name such as "openai:gpt-4o-mini". Cheapest first: another order warns where prices are
            known. `order="price"` sorts. A list is one model from several sellers, of which the cheapest answers.
        missing: "skip" goes without models whose integration or key is missing, with a warning; "raise" an error.
        policy: decides the tier: None judges the request's complexity; a list of `Rule`, a `Rules`, a `Complexity`, or a callable that
            takes a `RouteRequest` and returns a tier's name.
        cache: True, False, or a CachePolicy. Streams and tool calls are cached too.
        semantic, semantic_ttl_seconds, extract_question: as for `thrifty`. A policy judges the question alone, without the documents.
        shorten: makes prompts shorter before they are sent, such as `llmthrift_core.prompts.Shorten.lossless()`. Default: nothing does.
        output: how long answers may be, as for `thrifty`.
        prompt_caching: True asks the provider's prompt cache to keep what should pay, as each takes that: marks, keys, retention.
        tuning: the name of a configuration that says some of this otherwise, as for `thrifty`.
        fallbacks: try another model when one fails with a rate limit, an outage or a timeout. True tries the stronger ones upwards, then
            the cheaper ones downwards; a list of tiers, or a `FallbackChain` with what a try may cost, says which.
        max_tier: never use a tier above this one. Per call: `chat(..., max_tier="simple")`.
        baseline: the tier that would answer without the router; savings are measured against it. Default: the last.
        on_budget: what a call gets that a budget refuses: "raise" is BudgetExceededError; "answer" a polite response without tool calls,
            whose mark has the `source` "budget_limit". An agent ends with it.

    Per call, `required_quality=0.9` and `max_latency_seconds=2` go to policies that know both of their models (as do tags of these names);
    `cache="off"` neither reads nor writes the cache, `cache="refresh"` replaces what is stored, `shorten="off"` sends the prompt as it is,
    and `output="off"` limits nothing; `output=OutputLimits(...)` takes these limits for the call.

    Raises:
        ConfigurationError: no models, something that is no LLM, or a tier that does not exist.

    >>> from llama_index.core.llms import MockLLM
    >>> from llmthrift_core import Thrift
    >>> from llmthrift_llamaindex import RouterLLM
    >>> llm = RouterLLM(Thrift(":memory:"), models={"simple": MockLLM(max_tokens=1), "complex": MockLLM(max_tokens=2)})
    >>> llm.complete("What is the capital of France?").text
    'text'
    """

    thrift: Any = Field(exclude=True)
    models: Mapping[str, Any] = Field(exclude=True)
    policy: Any = Field(default=None, exclude=True)
    cache: Any = Field(default=True, exclude=True)
    semantic: Any = Field(default=False, exclude=True)
    semantic_ttl_seconds: float | None = 7200.0
    extract_question: Any = Field(default=None, exclude=True)
    shorten: Any = Field(default=None, exclude=True)
    output: Any = Field(default=None, exclude=True)
    prompt_caching: Any = Field(default=False, exclude=True)
    tuning: Any = Field(default=None, exclude=True)
    order: Order = "given"
    missing: Missing = "raise"
    fallbacks: Any = Field(default=True, exclude=True)
    max_tier: str | None = None
    baseline: str | None = None
    on_budget: OnBudget = "raise"

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    _behind: ManyModels = PrivateAttr()

    def __init__(self, thrift: Thrift | None = None, **fields: Any) -> None:
        if thrift is not None:
            fields["thrift"] = thrift
        require_thrift(fields.get("thrift"), type(self).__name__)
        require_tiers(fields.get("models", {}))
        super().__init__(**fields)
        self._prepare()  # not in a validator, where pydantic would wrap our errors in its own

    def _prepare(self) -> None:
        prices = self.thrift.prices
        self.models = clients_of(
            self.models,
            lambda given: _usable(by_name(given, prices) if isinstance(given, str) else given),
            lambda llm: (model_of(llm), provider_of(llm)),
            prices,
            missing=self.missing,
        )
        follow_runs()
        named = {name: (model_of(llm), provider_of(llm)) for name, llm in self.models.items()}
        self.models = in_order(self.models, named, prices, order=self.order)
        tiers = Tiers(
            tuple(self.models), price_tier=lambda name: prices.tier(model_of(self.models[name]), provider=provider_of(self.models[name]))
        )
        if self.max_tier is not None:
            tiers.at_most(self.max_tier)
        if self.baseline is not None and self.baseline not in self.models:
            raise ConfigurationError(f"baseline={self.baseline!r} is not a tier of this router: {', '.join(self.models)}")
        if "callback_manager" in self.model_fields_set:
            self._share(self.callback_manager)
        self._behind = ManyModels(
            thrift=self.thrift,
            answers=answers_of(
                self.thrift,
                self.cache,
                self.semantic,
                self.semantic_ttl_seconds,
                self.extract_question,
                self.shorten,
                self.prompt_caching,
                self.output,
                self.tuning,
            ),
            models=dict(self.models),
            tiers=tiers,
            policy=as_policy(self.policy),
            fallbacks=chain_of(self.fallbacks, tiers.names),
            max_tier=self.max_tier,
            baseline=self.baseline,
            on_budget=self.on_budget,
        )

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "callback_manager":  # as `Settings` does
            self._share(value)

    def _share(self, callback_manager: CallbackManager) -> None:
        for llm in self.models.values():
            llm.callback_manager = callback_manager

    @classmethod
    def class_name(cls) -> str:
        """The class's name in events."""
        return "RouterLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """What every model can do: the smallest context window, and capabilities that all of them have."""
        told = [llm.metadata for llm in self.models.values()]
        baseline = self._behind.model(None).metadata
        outputs = [each.num_output for each in told if each.num_output > 0]
        return LLMMetadata(
            context_window=min(each.context_window for each in told),
            num_output=min(outputs) if outputs else baseline.num_output,
            is_chat_model=all(each.is_chat_model for each in told),
            is_function_calling_model=all(each.is_function_calling_model for each in told),
            model_name=baseline.model_name,
            system_role=baseline.system_role,
        )

    # --- calling: without LlamaIndex's decorators, so that only the chosen model emits events ---

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer with the chosen model, or from the cache.

        Raises:
            BudgetExceededError: a budget refuses the call.
        """
        if self._passes:
            llm, given, options = self._plain(messages, kwargs)
            return cast("ChatResponse", llm.chat(given, **options))
        return cast("ChatResponse", calling.answer(self._behind, "chat", messages, kwargs))

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """As `chat`, for a prompt."""
        arguments = {"formatted": formatted, **kwargs}
        if self._passes:
            llm, given, options = self._plain(prompt, arguments)
            return cast("CompletionResponse", llm.complete(given, **options))
        return cast("CompletionResponse", calling.answer(self._behind, "complete", prompt, arguments))

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """As `chat`, in pieces. A stream read to its end is stored."""
        if self._passes:
            llm, given, options = self._plain(messages, kwargs)
            return cast("ChatResponseGen", llm.stream_chat(given, **options))
        return calling.stream(self._behind, "stream_chat", messages, kwargs)

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """As `complete`, in pieces."""
        arguments = {"formatted": formatted, **kwargs}
        if self._passes:
            llm, given, options = self._plain(prompt, arguments)
            return cast("CompletionResponseGen", llm.stream_complete(given, **options))
        return calling.stream(self._behind, "stream_complete", prompt, arguments)

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """As `chat`."""
        if self._passes:
            llm, given, options = self._plain(messages, kwargs)
            return cast("ChatResponse", await llm.achat(given, **options))
        return cast("ChatResponse", await calling.aanswer(self._behind, "achat", messages, kwargs))

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """As `complete`."""
        arguments = {"formatted": formatted, **kwargs}
        if self._passes:
            llm, given, options = self._plain(prompt, arguments)
            return cast("CompletionResponse", await llm.acomplete(given, **options))
        return cast("CompletionResponse", await calling.aanswer(self._behind, "acomplete", prompt, arguments))

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """As `stream_chat`."""
        if self._passes:
            llm, given, options = self._plain(messages, kwargs)
            return cast("ChatResponseAsyncGen", await llm.astream_chat(given, **options))
        return await calling.astream(self._behind, "astream_chat", messages, kwargs)

    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """As `stream_complete`."""
        arguments = {"formatted": formatted, **kwargs}
        if self._passes:
            llm, given, options = self._plain(prompt, arguments)
            return cast("CompletionResponseAsyncGen", await llm.astream_complete(given, **options))
        return await calling.astream(self._behind, "astream_complete", prompt, arguments)

    # --- tools: prepared and read by the model that answers ---

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        messages = list(chat_history or [])
        if user_msg:
            messages.append(ChatMessage(role="user", content=user_msg) if isinstance(user_msg, str) else user_msg)
        passed = {name: kwargs.pop(name) for name in _PASSED if name in kwargs}
        if not tools:
            return {"messages": messages, **passed, **kwargs}
        use = ToolUse(list(tools), parallel=allow_parallel_tool_calls, required=tool_required, options=kwargs)
        return {"messages": messages, **passed, TOOLS: use}

    def _validate_chat_with_tools_response(
        self, response: ChatResponse, tools: Sequence[BaseTool], allow_parallel_tool_calls: bool = False, **kwargs: Any
    ) -> ChatResponse:
        llm = self._answering(response)
        return llm._validate_chat_with_tools_response(response, tools, allow_parallel_tool_calls=allow_parallel_tool_calls)

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """The tools that the model wants to be called, as the model that answered reads them."""
        return self._answering(response).get_tool_calls_from_response(response, error_on_no_tool_call=error_on_no_tool_call, **kwargs)

    # --- structured output: through tools, which every model has ---

    def stream_structured_predict(
        self, output_cls: type[Any], prompt: Any, llm_kwargs: dict[str, Any] | None = None, **prompt_args: Any
    ) -> Generator[Any, None, None]:
        """The object as it grows; whole, where one of the models cannot show it growing."""
        if all(streams_objects(llm) for llm in self.models.values()):
            yield from super().stream_structured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
        else:
            yield self.structured_predict(output_cls, prompt, llm_kwargs, **prompt_args)

    async def astream_structured_predict(
        self, output_cls: type[Any], prompt: Any, llm_kwargs: dict[str, Any] | None = None, **prompt_args: Any
    ) -> AsyncGenerator[Any, None]:
        """As `stream_structured_predict`."""
        if all(streams_objects(llm) for llm in self.models.values()):
            growing: AsyncGenerator[Any, None] = await super().astream_structured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
            return growing

        async def whole() -> AsyncGenerator[Any, None]:
            yield await self.astructured_predict(output_cls, prompt, llm_kwargs, **prompt_args)

        return whole()

    # --- steps ---

    @property
    def _passes(self) -> bool:
        """Whether the baseline's model is called as it is."""
        return is_disabled() or owning_call(self.thrift) is not None

    def _plain(self, asked: Any, kwargs: Mapping[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
        llm, options = self._behind.model(None), dict(kwargs)
        use = options.pop(TOOLS, None)
        for ours in ("cache", "max_tier", "shorten", "output", *REQUIRED):
            options.pop(ours, None)
        if use is not None:
            asked, prepared = use.prepared(llm, asked)
            options = {**prepared, **options}
        return llm, asked, options

    def _answering(self, response: ChatResponse) -> FunctionCallingLLM:
        tier = mark_of(response).get("tier")
        return cast("FunctionCallingLLM", self._behind.model(tier if tier in self.models else None))

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> RouterLLM:
        return self.model_copy()

    def __reduce__(self) -> tuple[Any, ...]:
        answers = ("cache", "semantic", "semantic_ttl_seconds", "extract_question", "shorten", "output", "prompt_caching", "tuning")
        names = ("models", "policy", *answers, "fallbacks", "max_tier", "baseline", "on_budget")
        return _remade, (self.thrift, {name: getattr(self, name) for name in names})


def _usable(llm: Any) -> LLM:
    if not isinstance(llm, LLM):
        raise ConfigurationError(f"a tier must be an LLM of LlamaIndex, not {type(llm).__name__}")
    if isinstance(llm, RouterLLM):
        raise ConfigurationError("routers do not nest: give the models of the inner router to the outer one")
    return llm


def _remade(thrift: Thrift, fields: dict[str, Any]) -> RouterLLM:
    return RouterLLM(thrift, **fields)

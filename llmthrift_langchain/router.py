"""`ChatRouter`: a chat model that sends each request to one of several, and caches, meters and falls back on the way.

The router overrides the calling methods and delegates to the chosen model, so that a call is one run with the right model name, and
tokens stream as they come. What is bound to the router (tools, structured output) is bound to each model in its provider's format.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, cast

from langchain_core.callbacks import CallbackManagerForLLMRun, Callbacks
from langchain_core.globals import get_llm_cache
from langchain_core.language_models.base import LangSmithParams, LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult, LLMResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config
from pydantic import ConfigDict, Field, SecretStr

from llmthrift_core.cache.keys import digest
from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.calls import limiting
from llmthrift_core.calls.adapter_call import aasked_again, abegin, aescalated, afailed, afinish, begin
from llmthrift_core.calls.prefix_planners import PrefixPlanners, planners_of
from llmthrift_core.calls.refusals import OnBudget
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing import Tiers, as_policy
from llmthrift_core.routing.clients import Missing, Order, clients_of, in_order, require_tiers
from llmthrift_core.routing.failsafe import policy_identity
from llmthrift_core.routing.fallback_chain import chain_of
from llmthrift_core.routing.requirements import REQUIRED
from llmthrift_core.settings import is_disabled
from llmthrift_core.texts import require_thrift
from llmthrift_core.versions.door_settings import tuning_of
from llmthrift_langchain import streaming
from llmthrift_langchain.cache import ThriftCache
from llmthrift_langchain.call import RoutedCall
from llmthrift_langchain.finishing import AsyncFinisher, Finisher
from llmthrift_langchain.identity import identity_of
from llmthrift_langchain.refusals import apolitely, astreams_politely, politely, streams_politely
from llmthrift_langchain.response import result_of
from llmthrift_langchain.run_metadata import config_of, with_handler
from llmthrift_langchain.runs import follow_runs
from llmthrift_langchain.tiers import Tier, bind_tools, common_profile, prepare

if TYPE_CHECKING:
    from uuid import UUID

    from llmthrift_core.routing import RoutingPolicy
    from llmthrift_core.thrift import Thrift


_OF_EVERY_MODEL: Final = {"lc_versions"}  # of metadata: LangChain gives it to each model, so that the chosen one has its own


class _Wiring:
    """What a router made of its fields. A plain object: pydantic's private attributes are slow to look up, and each call asks for all."""

    __slots__ = ("names", "planners", "routing", "tiers")

    tiers: dict[str, Tier]
    names: Tiers
    routing: RoutingPolicy
    planners: PrefixPlanners | None


class ChatRouter(BaseChatModel):
    """Answer each request with the cheapest model that is good enough.

    Args:
        thrift: prices, cache and ledger. May be given first, without a name.
        models: name of tier -> chat model, or a model's name such as "openai:gpt-4o-mini". Cheapest first: another order warns where prices
            are known. `order="price"` sorts. A list is one model from several sellers, of which the cheapest answers.
        missing: "skip" goes without models whose integration or key is missing, with a warning; "raise" an error.
        policy: decides the tier: None judges the request's complexity; a list of `Rule`, a `Rules`, a `Complexity`, or a callable that
            takes a `RouteRequest` and returns a tier's name.
        cache: None follows the global cache if that is a ThriftCache; True, False, or a ThriftCache say otherwise. Streams are cached too.
        fallbacks: try another model when one fails with a rate limit, an outage or a timeout. True tries the stronger ones upwards, then
            the cheaper ones downwards; a list of tiers, or a `FallbackChain` with what a try may cost, says which.
        max_tier: never use a tier above this one. Per call: `invoke(..., max_tier="simple")`.
        shorten: makes prompts shorter before they are sent, such as `llmthrift_core.prompts.Shorten.lossless()`. Default: nothing does.
        output: how long answers may be, an `llmthrift_core.prompts.OutputLimits`: caps where the application sets none, and a second try
            where an answer was paid and is empty.
        prompt_caching: True asks the provider's prompt cache to keep what should pay, as each takes that: marks, keys, retention.
        tuning: the name of a configuration whose active version says otherwise how long answers are cached, and so on; see
            `thrift.configurations.follow`. An `Autopilot` changes what it says.
        baseline: the tier that would answer without the router; savings are measured against it. Default: the last.
        on_budget: "answer" gives a polite message, marked with the `source` "budget_limit", where a budget refuses; "raise" an error.
        temperature, max_tokens, timeout, stop: defaults for the chosen model's calls.
        max_retries, api_key: for models given by name.
        streaming: as the chosen model's own field of that name.

    Per call, `required_quality=0.9` and `max_latency_seconds=2` go to policies that know both of their models (as do metadata and tags of
    these names); `cache="off"` neither reads nor writes the cache, `cache="refresh"` replaces what is stored, `shorten="off"` sends the
    prompt as it is, and `output="off"` limits nothing; `output=OutputLimits(...)` takes these limits for the call.

    >>> from langchain_core.language_models.fake_chat_models import FakeListChatModel
    >>> from llmthrift_core import Thrift
    >>> from llmthrift_langchain import ChatRouter
    >>> cheap, strong = FakeListChatModel(responses=["cheap"]), FakeListChatModel(responses=["strong"])
    >>> router = ChatRouter(Thrift(":memory:"), models={"simple": cheap, "complex": strong})
    >>> router.invoke("What is the capital of France?").content
    'cheap'
    """

    thrift: Any = Field(exclude=True)
    models: Mapping[str, Any] = Field(exclude=True)
    policy: Any = Field(default=None, exclude=True)
    order: Order = "given"
    missing: Missing = "raise"
    fallbacks: Any = Field(default=True, exclude=True)
    shorten: Any = Field(default=None, exclude=True)
    output: Any = Field(default=None, exclude=True)
    prompt_caching: Any = Field(default=False, exclude=True)
    tuning: Any = Field(default=None, exclude=True)
    max_tier: str | None = None
    baseline: str | None = None
    on_budget: OnBudget = "raise"
    temperature: float | None = None
    max_tokens: int | None = None
    timeout: float | None = None
    stop: list[str] | None = None
    max_retries: int | None = None
    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False)
    streaming: bool | None = None

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", ignored_types=(cached_property,))

    def __init__(self, thrift: Thrift | None = None, **fields: Any) -> None:
        if thrift is not None:
            fields["thrift"] = thrift
        require_thrift(fields.get("thrift"), type(self).__name__)
        require_tiers(fields.get("models", {}))
        super().__init__(**fields)
        self._prepare()  # not in a validator, where pydantic would wrap our errors in its own

    def _prepare(self) -> None:
        """Unwrap the models, bypass their caches, identify them."""
        defaults = {
            name: value
            for name, value in (("temperature", self.temperature), ("max_tokens", self.max_tokens), ("timeout", self.timeout))
            if value is not None
        }
        follow_runs()
        self.stop = self.stop or None
        named = {"max_retries": self.max_retries, "api_key": self.api_key}
        tiers = clients_of(
            self.models,
            lambda model: prepare(model, defaults, named=named, streaming=self.streaming),
            lambda tier: (tier.name, tier.provider),
            self.thrift.prices,
            missing=self.missing,
        )
        wiring = self._wiring
        wiring.tiers = in_order(
            tiers, {name: (tier.name, tier.provider) for name, tier in tiers.items()}, self.thrift.prices, order=self.order
        )
        wiring.names = Tiers(tuple(wiring.tiers), price_tier=self._price_tier)
        chain_of(self.fallbacks, wiring.names.names)  # which says what is wrong with it
        wiring.routing = as_policy(self.policy)
        self.output = limiting.checked(self.output)
        wiring.planners = planners_of(self.prompt_caching, self.thrift)
        if self.tuning is not None:
            self.tuning = tuning_of(self.tuning, self.thrift.configurations.follow)
        for name, tier in (("max_tier", self.max_tier), ("baseline", self.baseline)):
            if tier is not None:
                wiring.names.at_most(tier) if name == "max_tier" else self._require_tier(name, tier)
        if self.profile is None:
            self.profile = common_profile(wiring.tiers)

    @cached_property
    def _wiring(self) -> _Wiring:
        return _Wiring()

    # --- what a routed call asks of its router ---

    @property
    def tiers(self) -> Mapping[str, Tier]:
        """The prepared models by tier, cheapest first, with their fields as they are now."""
        known = self._wiring.tiers
        current = {name: tier.current() for name, tier in known.items()}
        if any(current[name] is not tier for name, tier in known.items()):
            self._wiring.tiers = known = current
        return known

    @property
    def tier_names(self) -> Tiers:
        """The order of the tiers."""
        return self._wiring.names

    @property
    def routing(self) -> RoutingPolicy:
        """The policy in force."""
        return self._wiring.routing

    @property
    def prefix_planners(self) -> PrefixPlanners | None:
        """What plans the provider's prompt cache, or None."""
        return self._wiring.planners

    def identity(self, policy: RoutingPolicy, tiers: Mapping[str, Tier], options: Callable[[str], Mapping[str, Any]]) -> bytes:
        """Hash of tiers, models, their arguments and policy: the model part of a cache key.

        Args:
            policy, tiers: those in force, as the call uses them.
            options: for a tier's name the keyword arguments of a call to its model.

        Raises:
            UncacheableError: a model, an argument or the policy cannot be told from another.
        """
        parts = [part for name, tier in tiers.items() for part in (name.encode(), identity_of(tier.model, options(name)))]
        return digest("router", policy_identity(policy), *parts)

    def baseline_within(self, tiers: Tiers) -> str:
        """The tier that would answer without routing, among those that the caller allows."""
        return self.baseline if self.baseline in tiers.names else tiers.names[-1]

    def metered(self, model: BaseChatModel) -> BaseChatModel:
        """A model that is metered and bounded alone: neither cached nor routed."""
        return ChatRouter(self.thrift, models={"model": model}, cache=False, fallbacks=False)

    def cache_policy(self) -> CachePolicy | None:
        """How answers are cached; None if they are not."""
        cache = self.answers
        if cache is not None:
            return cache.policy
        return CachePolicy() if self.cache is True else None

    @property
    def answers(self) -> ThriftCache | None:
        """The ThriftCache in force, this router's own or the global one."""
        cache = get_llm_cache() if self.cache is None else self.cache
        return cache if isinstance(cache, ThriftCache) else None

    def model_after(self, error: BaseException, tier: str | None, tiers: Tiers, tried: Sequence[str], input_chars: int) -> str | None:
        """The tier to try after `tier` failed with `error`, or None."""
        chain = chain_of(self.fallbacks, self._wiring.names.names)
        if chain is None:
            return None
        named = {name: (each.name, each.provider) for name, each in self._wiring.tiers.items()}
        return chain.next(error, tier, tiers, tried=tried, input_chars=input_chars, named=named, prices=self.thrift.prices)

    # --- calling ---

    def invoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, stop: list[str] | None = None, **kwargs: Any
    ) -> AIMessage:
        """Answer with the chosen model, or from the cache.

        Raises:
            BudgetExceededError: a budget refuses the call.
        """
        if is_disabled():
            return self._plain(kwargs).invoke(input, config, **self._plain_arguments(stop, kwargs))
        return self._whole(self._messages(input), config, stop, kwargs)[0]

    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, stop: list[str] | None = None, **kwargs: Any
    ) -> AIMessage:
        """As `invoke`."""
        if is_disabled():
            return await self._plain(kwargs).ainvoke(input, config, **self._plain_arguments(stop, kwargs))
        return (await self._awhole(self._messages(input), config, stop, kwargs))[0]

    @streams_politely
    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, stop: list[str] | None = None, **kwargs: Any
    ) -> Iterator[AIMessageChunk]:
        """Stream the chosen model's answer, or replay a cached one. A stream read to its end is stored."""
        if is_disabled():
            yield from self._plain(kwargs).stream(input, config, **self._plain_arguments(stop, kwargs))
            return
        yield from streaming.stream(self._routed(self._messages(input), config, stop, kwargs, stream=True))

    @astreams_politely
    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, stop: list[str] | None = None, **kwargs: Any
    ) -> AsyncIterator[AIMessageChunk]:
        """As `stream`."""
        if is_disabled():
            async for chunk in self._plain(kwargs).astream(input, config, **self._plain_arguments(stop, kwargs)):
                yield chunk
            return
        pieces = streaming.astream(self._routed(self._messages(input), config, stop, kwargs, stream=True))
        async with aclosing(cast("AsyncGenerator[AIMessageChunk, None]", pieces)):  # a reader who leaves ends the call, and waits for that
            async for chunk in pieces:
                yield chunk

    def stream_events(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As BaseChatModel's. The protocol of version "v3" is driven by its reader, so it cannot fall back to another model."""
        if kwargs.get("version") != "v3" or is_disabled():
            return super().stream_events(input, config, **kwargs)
        version = kwargs.pop("version")
        routed = self._routed(self._messages(input), config, kwargs.pop("stop", None), kwargs, stream=True)
        begin(routed)
        model, inner_config, arguments = routed.next()
        finisher = Finisher(routed)
        stream = model.stream_events(routed.messages, with_handler(inner_config, finisher), version=version, **arguments)
        finisher.follow(stream)
        return stream

    def astream_events(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As BaseChatModel's. The protocol of version "v3" is driven by its reader, so it cannot fall back to another model."""
        if kwargs.get("version") != "v3" or is_disabled():
            return super().astream_events(input, config, **kwargs)
        return self._astream_events_v3(input, config, **kwargs)

    async def _astream_events_v3(self, input: Any, config: RunnableConfig | None, *, version: Any, **kwargs: Any) -> Any:
        routed = self._routed(self._messages(input), config, kwargs.pop("stop", None), kwargs, stream=True)
        await abegin(routed)
        model, inner_config, arguments = routed.next()
        return await model.astream_events(routed.messages, with_handler(inner_config, AsyncFinisher(routed)), version=version, **arguments)

    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        *,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        run_name: str | None = None,
        run_id: UUID | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Answer several conversations, each routed by itself."""
        config = config_of(callbacks, tags, metadata, run_name, run_id)
        if is_disabled():
            return self._plain(kwargs).generate(messages, **config, **self._plain_arguments(stop, kwargs))
        return result_of([self._whole(conversation, config, stop, kwargs) for conversation in messages])

    async def agenerate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        *,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        run_name: str | None = None,
        run_id: UUID | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """As `generate`, concurrently."""
        config = config_of(callbacks, tags, metadata, run_name, run_id)
        if is_disabled():
            return await self._plain(kwargs).agenerate(messages, **config, **self._plain_arguments(stop, kwargs))
        return result_of(await asyncio.gather(*(self._awhole(conversation, config, stop, kwargs) for conversation in messages)))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=self.generate([messages], stop=stop, **kwargs).generations[0])

    # --- binding ---

    def bind_tools(self, tools: Sequence[Any], *, tool_choice: Any = None, **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools to every model, in its provider's format."""
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        return cast("Runnable[LanguageModelInput, AIMessage]", self.bind(llmthrift_bound=bind_tools(self.tiers, tools, **kwargs)))

    def with_structured_output(self, schema: Any, *, include_raw: bool = False, **kwargs: Any) -> Runnable[LanguageModelInput, Any]:
        """Structured output through whichever model is chosen, parsed as that model's own integration parses it."""
        from llmthrift_langchain.structured import routed_structure  # a pydantic class, which most programs never need

        return routed_structure(self, self.tiers, schema, include_raw=include_raw, **kwargs)

    # --- description ---

    @property
    def _llm_type(self) -> str:
        return "llmthrift-router"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {"models": {name: tier.name for name, tier in self.tiers.items()}, "policy": self._wiring.routing.version}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        tier = self.tiers[self.baseline_within(self._wiring.names)]
        params = tier.model._get_ls_params(stop=stop, **{**tier.parameters, **kwargs})
        if "model" in kwargs:
            params["ls_model_name"] = kwargs["model"]
        if self.temperature is not None:
            params["ls_temperature"] = self.temperature
        if self.max_tokens is not None:
            params["ls_max_tokens"] = self.max_tokens
        return params

    # --- steps ---

    @politely
    def _whole(
        self, messages: list[BaseMessage], config: RunnableConfig | None, stop: list[str] | None, kwargs: dict[str, Any]
    ) -> tuple[AIMessage, list[ChatGeneration]]:
        """The answer, and the others where several were asked for."""
        with self._routed(messages, config, stop, kwargs, stream=False) as routed:
            begin(routed)
            while True:
                given = routed.next()
                try:
                    message = routed.whole(*given)
                except BaseException as error:
                    if not routed.failed(error):
                        raise
                else:
                    if routed.asks_on(message):
                        continue
                    routed.finished(message)
                    return message, routed.others

    @apolitely
    async def _awhole(
        self, messages: list[BaseMessage], config: RunnableConfig | None, stop: list[str] | None, kwargs: dict[str, Any]
    ) -> tuple[AIMessage, list[ChatGeneration]]:
        async with self._routed(messages, config, stop, kwargs, stream=False) as routed:
            await abegin(routed)
            while True:
                given = routed.next()
                try:
                    message = await routed.awhole(*given)
                except BaseException as error:
                    if not await afailed(routed, error):
                        raise
                else:
                    if await aasked_again(routed, message) or await aescalated(routed, message):
                        continue
                    await afinish(routed, message)
                    return message, routed.others

    def _routed(
        self,
        messages: list[BaseMessage],
        config: RunnableConfig | None,
        stop: list[str] | None,
        kwargs: dict[str, Any],
        *,
        stream: bool,
    ) -> RoutedCall:
        own: RunnableConfig = {}
        if self.callbacks is not None:
            own["callbacks"] = self.callbacks
        if self.tags:
            own["tags"] = self.tags
        if self.metadata and self.metadata.keys() != _OF_EVERY_MODEL:
            own["metadata"] = self.metadata
        merged = ensure_config(config)
        if own:
            from langchain_core.runnables.config import merge_configs

            merged = merge_configs(own, merged)
        return RoutedCall(self, messages, merged, stop=stop, arguments=dict(kwargs), stream=stream)

    def _messages(self, given: LanguageModelInput) -> list[BaseMessage]:
        if type(given) is list and all(isinstance(each, BaseMessage) for each in given):
            return given.copy()
        return self._convert_input(given).to_messages()

    def _plain(self, kwargs: dict[str, Any]) -> BaseChatModel:
        return self.tiers[self.baseline_within(self._wiring.names)].model

    def _plain_arguments(self, stop: list[str] | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        tier = self.tiers[baseline := self.baseline_within(self._wiring.names)]
        arguments = dict(kwargs)
        bound = arguments.pop("llmthrift_bound", None) or {}
        if (asked := arguments.pop("llmthrift_asked", None)) is not None:
            asked.tier = baseline
        for ours in ("cache", "max_tier", "shorten", "output", *REQUIRED):
            arguments.pop(ours, None)
        if (stop := stop if stop is not None else self.stop) is not None:
            arguments["stop"] = stop
        return {**tier.parameters, **bound.get(baseline, {}), **arguments}

    def _price_tier(self, name: str) -> str | None:
        tier = self._wiring.tiers.get(name)
        return None if tier is None else self.thrift.prices.tier(tier.name, provider=tier.provider)

    def _require_tier(self, option: str, name: str) -> None:
        if name not in self._wiring.tiers:
            raise ConfigurationError(f"{option}={name!r} is not a tier of this router: {', '.join(self._wiring.tiers)}")

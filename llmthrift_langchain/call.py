"""One call through a router: what the four ways of calling (whole, stream, sync, async) have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.utils.uuid import uuid7

from llmthrift_core.attribution import Attribution, call_site_of_prompt, current_attribution, with_call_site
from llmthrift_core.budgets.sizes import StreamedText, limit_output, max_output_tokens
from llmthrift_core.cache.keys import UncacheableError, canonical_json, digest
from llmthrift_core.cache.rules import CacheRules, rules_in_force, rules_of
from llmthrift_core.cache.single_flight import time_limit_of, whoami
from llmthrift_core.calls.adapter_call import (
    DoorCall,
)
from llmthrift_core.calls.limiting import Came, Limiting, limits_of
from llmthrift_core.calls.marks import mark_of_call
from llmthrift_core.calls.prefix_planners import PrefixPlanners
from llmthrift_core.calls.prefixing import Prefixing
from llmthrift_core.calls.request import (
    CacheUse,
    Request,
    Response,
    RouteUse,
)
from llmthrift_core.calls.shortening import Shortening, ShorteningPolicy
from llmthrift_core.routing import AnswerContext
from llmthrift_core.routing.failsafe import allowed_tiers
from llmthrift_core.routing.requirements import take_requirements
from llmthrift_core.routing.types import Once
from llmthrift_core.usage.chunks import UsageOfChunks
from llmthrift_langchain import runs as lineage
from llmthrift_langchain.cache import marked_answer
from llmthrift_langchain.codec import decode_chat, mark_message
from llmthrift_langchain.described import described
from llmthrift_langchain.enforcement import count_tool_calls, text_of_blocks
from llmthrift_langchain.limiting import came_of, instructed, limiting_of
from llmthrift_langchain.messages import canonical_messages, features_of_messages, fields_of, system_of, text_of
from llmthrift_langchain.outgoing import count_outgoing
from llmthrift_langchain.prefixing import ClientOf, advised, sent_prompt
from llmthrift_langchain.response import (
    calls_of,
    conversation_of,
    logprobs_of,
    merge,
    requires_tool,
    response_of_message,
    schema_of,
    tools_of,
)
from llmthrift_langchain.run_metadata import attribution_of_metadata, cache_rules_of_metadata, for_generate, with_handler
from llmthrift_langchain.semantic import asked_texts, semantic_use
from llmthrift_langchain.shortening import prompt_of, restore
from llmthrift_langchain.usage import ChunkListener, take_report

if TYPE_CHECKING:
    from llmthrift_core.cache.policy import CachePolicy
    from llmthrift_core.outgoing import Outgoing
    from llmthrift_core.prompt_caching.misses import SentPrompt
    from llmthrift_core.prompts.output_limits import OutputLimits
    from llmthrift_core.versions.door_settings import DoorSettings
    from llmthrift_langchain.structured import Asked
    from llmthrift_langchain.tiers import Router


class RoutedCall(DoorCall[AIMessage]):
    """A call through a LangChain router."""

    def __init__(
        self,
        router: Router,
        messages: list[BaseMessage],
        config: RunnableConfig,
        *,
        stop: list[str] | None,
        arguments: dict[str, Any],
        stream: bool,
    ) -> None:
        super().__init__(router.thrift)
        self._router = router
        self._models = models = router.tiers  # as this call uses them, whatever becomes of their fields meanwhile
        self.messages = self._given = messages  # to send, and as the application gave them
        self._config = config
        self._run_id: UUID | None = config.get("run_id")
        bound: Mapping[str, Mapping[str, Any]] = arguments.pop("llmthrift_bound", None) or {}
        self._asked: Asked | None = arguments.pop("llmthrift_asked", None)
        own = rules_of(arguments.pop("cache", None))
        asked_tier = arguments.pop("max_tier", None)
        sends_as_is, limits = arguments.pop("shorten", None) == "off", arguments.pop("output", None)
        self._stops_at = stop if stop is not None else router.stop
        self._bound = bound
        self._arguments = arguments
        self._fields = self._sent = [fields_of(message) for message in messages]
        metadata = config.get("metadata") or {}
        rules = rules_in_force(own.over(cache_rules_of_metadata(metadata)))
        attribution = attribution_of_metadata(metadata).over(current_attribution())
        system = system_of(self._fields)
        if attribution.call_site is None and (site := config.get("run_name") or (call_site_of_prompt(system) if system else None)):
            attribution = with_call_site(attribution, site)
        required = take_requirements(arguments, metadata, attribution)
        tuned: DoorSettings | None = None
        if router.tuning is not None:
            tuned, attribution = router.tuning.for_call(attribution, lambda: canonical_json(canonical_messages(self._fields)).hex())
        self._tuned = tuned  # None: as the door was built
        self._shortens = None if sends_as_is else router.shorten if tuned is None else tuned.shortening(router.shorten)
        self._limits = limits_of(limits, router.output if tuned is None else tuned.limits(router.output))
        planners = router.prefix_planners if tuned is None else tuned.planners(router.prefix_planners, self._thrift)
        prefixing = None if planners is None else self._prefixing(planners, attribution.call_site)
        parent = _parent_of(config)
        # `with_retry` and `with_fallbacks` call again under the same parent.
        self._beside, root, path = lineage.around(parent)
        self.described = asks = described(
            self._fields,
            system,
            bound,
            arguments,
            attribution=attribution,
            required=required,
            max_tier=router.max_tier if asked_tier is None else asked_tier,
            metadata=metadata,
            run=None if root is None else str(root),
            kept_tokens=None if prefixing is None else prefixing.kept_tokens,
        )
        self._policy = router.routing.in_force()
        tiers = router.tier_names.within(router.max_tier, asked_tier)
        self._tiers = tiers = allowed_tiers(self._policy, asks, tiers if tuned is None else tuned.tiers(tiers))
        tools = next((sent for each in (arguments, *bound.values()) if (sent := each.get("tools"))), None)  # the same ones for each tier
        run_id = self._run_id or uuid7()
        self._run_id, self._first_run_id, identity = run_id, run_id.int, str(run_id)
        self._earlier: lineage.Attempt | None = None
        self.request = Request(
            attribution=attribution,
            request_id=identity,
            run_id=identity,
            trace_id=identity if parent is None else str(root or parent),
            parent_id=str(parent) if parent is not None else None,
            path=path,
            stream=stream,
            prompt=None if self._thrift.capture == "off" else features_of_messages(messages, self._thrift.capture, tools),
            cache=self._cache_use(rules, required.keyed(_limits(router.max_tier, asked_tier)), attribution),
            route=RouteUse(
                policy=self._policy,
                tiers=tiers,
                request=asks,
                # A call may override the model's name: model.invoke(..., model="other").
                models={name: (arguments.get("model") or tier.name, tier.provider) for name, tier in models.items()},
                baseline=router.baseline_within(tiers),
            ),
            outgoing=Once(self._outgoing),  # a refused call asks twice
            max_output_tokens=self._max_output_tokens,
            may_clamp=True,
            shortening=None if self._shortens is None else self._shortening(self._shortens),
            prefixing=prefixing,
            limiting=None if self._limits is None else self._limiting(self._limits),
        )
        self._streamed: StreamedText | None = None
        self.chunks: Sequence[AIMessageChunk] = ()  # of the stream under way
        self.others: list[ChatGeneration] = []  # beside the first answer, where several were asked for
        self._are_several = False
        self._reported: UsageOfChunks  # by the attempt under way
        self._advised: Mapping[str, Any] = {}  # the arguments of the call under way, marks for the provider's cache among them

    # --- life ---

    @property
    def _asks(self) -> str:
        return ", ".join(tier.name for tier in self._models.values())

    def begin(self) -> None:
        """As `DoorCall.begin`; what repeats a call that has failed is its next attempt."""
        if self._call is None and (earlier := lineage.continues(self._thrift.shared, self._first_run_id, self._beside)) is not None:
            self._earlier, request = earlier, self.request
            request.call_id, request.attempt = earlier.call_id, earlier.attempt + 1
            request.attempt_reason = earlier.followed_by(self._asks)
        super().begin()

    def close(self, error: BaseException | None = None) -> None:
        """As `DoorCall.close`; a call that failed may be repeated by what runs beside it."""
        super().close(error)
        if error is None or isinstance(error, GeneratorExit) or (self._call is not None and self._call.hit is not None):
            return
        ended = self._earlier
        if self._call is not None:  # else it was refused
            ended = lineage.Attempt(self._first_run_id, self._call.call_id, self._call.attempts, self._asks)
        if ended is not None:
            lineage.failed(self._thrift.shared, ended, self._beside)

    # --- attempts ---

    def next(self) -> tuple[BaseChatModel, RunnableConfig, dict[str, Any]]:
        """The model to call now, with its config and keyword arguments."""
        call = self.call
        metadata = {**(self._config.get("metadata") or {}), "llmthrift_call": call.call_id}
        config: RunnableConfig = {**self._config, "metadata": metadata, "run_id": self._run_id or uuid7()}
        self._run_id = None
        self._reported = UsageOfChunks()
        if call.hit is not None:
            self._tell(tier_of_hit := self._tier_of(call.hit.model, call.hit.provider))
            route = self.request.route
            generation, *others = marked_answer(call, tier_of_hit if route is not None and route.is_choice else None)
            from llmthrift_langchain.replay import CachedAnswer  # a pydantic model: 2 ms that a program without hits never spends

            answer = CachedAnswer.of(generation, call.hit.model, call.hit.provider, others)
            self._are_several = bool(others)
            return answer, config, {}
        if self._rejected is not None and self._is_kept:
            from llmthrift_langchain.replay import CachedAnswer

            tier_name, name, message = self._rejected
            assert tier_name is not None  # noqa: S101 - a router always routes
            self._tell(tier_name)
            return CachedAnswer.of(ChatGeneration(message=message), name), config, {}
        asked = call.tier
        assert asked is not None  # noqa: S101 - a router always routes
        self._tell(asked)
        self.messages = self._messages_to(asked)
        if self.messages is not self._given:
            self._sent = [fields_of(message) for message in self.messages]
        tier, arguments = self._models[asked], self._arguments_of(asked)
        if (prefixing := self.request.prefixing) is not None and (advice := prefixing.advice(asked)) is not None:
            self.messages, arguments = advised(self.messages, arguments, advice, self._parameters_of(asked))
        self._advised = arguments
        if (limit := call.max_output_tokens) is not None:
            limit_output(arguments, limit, vars(tier.model))
        if (effort := call.effort) is not None:
            arguments["reasoning_effort"] = effort
        if not self.request.stream and self._may_stream_inside(tier.model, arguments):
            config = with_handler(config, ChunkListener(self._reported))
        self._are_several = type(number := arguments.get("n") or getattr(tier.model, "n", None)) is int and number > 1
        return tier.model, config, arguments

    def whole(self, model: BaseChatModel, config: RunnableConfig, arguments: dict[str, Any]) -> AIMessage:
        """The model's answer; where several were asked for the first, with the others in `others`."""
        if not self._are_several:
            return model.invoke(self.messages, config, **arguments)
        return self._first_of(model.generate([self.messages], **for_generate(config), **arguments))

    async def awhole(self, model: BaseChatModel, config: RunnableConfig, arguments: dict[str, Any]) -> AIMessage:
        """As `whole`."""
        if not self._are_several:
            return await model.ainvoke(self.messages, config, **arguments)
        return self._first_of(await model.agenerate([self.messages], **for_generate(config), **arguments))

    def _first_of(self, result: LLMResult) -> AIMessage:
        (first, *self.others) = cast("list[ChatGeneration]", result.generations[0])
        return cast("AIMessage", first.message)

    def _tell(self, tier: str) -> None:
        """Who parses the answer needs to know whose it is."""
        if self._asked is not None:
            self._asked.tier = tier

    def _tier_of(self, model: str, provider: str | None) -> str:
        """The tier whose model gave a cached answer: by its name, which may have become a snapshot's, then by its provider."""
        tiers = self._models
        named = [name for name, tier in tiers.items() if model == tier.name or model.startswith(f"{tier.name}-")]
        alike = [name for name, tier in tiers.items() if provider is not None and provider == tier.provider]
        longest = sorted(named, key=lambda name: len(tiers[name].name), reverse=True)
        return next(iter([*longest, *alike]), self._router.baseline_within(self._tiers))

    def reported(self, chunk: Any) -> None:
        """Keep what a chunk says of the usage."""
        take_report(self._reported, chunk)

    def came(self, chunk: AIMessageChunk) -> None:
        """A chunk of a stream has come."""
        self.reported(chunk)
        self.came_text(chunk.content)

    def came_text(self, content: str | list[Any]) -> None:
        """A piece of a stream's text has come."""
        if self.call.holds_money:
            if self._streamed is None:
                self._streamed = StreamedText(self.call.model)
            self._streamed.add(content if isinstance(content, str) else text_of_blocks(content))

    def _streamed_tokens(self) -> int:
        return 0 if self._streamed is None else self._streamed.tokens_if_over(self.call.covered_tokens)

    def finished(self, answer: AIMessage | None) -> None:
        """As every door's; the answer is marked when its cost is known. Raises BudgetExceededError."""
        super().finished(answer)
        if answer is not None and self.call.hit is None:
            mark_message(answer, mark_of_call(self.call))

    def rest_of_stream(self, whole: AIMessageChunk | None, *, is_held: bool) -> Iterator[AIMessageChunk]:
        """What is still to be given on of a stream that has ended: all of it where it was held, and at last the mark."""
        if is_held:
            yield from self.chunks
        if self.call.hit is None and whole is not None:
            marked = AIMessageChunk(content="", id=whole.id, chunk_position="last")
            mark_message(marked, mark_of_call(self.call))
            yield marked

    def broken_off(self, error: BaseException) -> None:
        """A stream ended early: what had arrived is settled and recorded, and not stored."""
        call = self.call
        if call.hit is not None:
            call.finish_hit()
            return
        message = merge(self.chunks)
        partial = None if message is None else self._response_of(message, storable=False, is_broken=True)
        call.fail(error, partial)

    # --- what the steps ask for ---

    def _is_answered(self) -> None:
        lineage.answered(self._thrift.shared, self._beside)

    def _after(self, error: BaseException) -> str | None:
        return self._router.model_after(error, self.call.tier, self._tiers, self._tried, self.described.input_chars)

    def _model_of(self, tier: str) -> tuple[str, str | None]:
        chosen = self._models[tier]
        return self._arguments.get("model") or chosen.name, chosen.provider

    def _text_of(self, answer: AIMessage) -> str:
        return text_of(answer.content)

    def _tool_calls(self, answer: AIMessage) -> int:
        return count_tool_calls(answer)

    def _came_of(self, answer: AIMessage) -> Came:
        return came_of(answer)

    def _response_of(self, answer: AIMessage, *, storable: bool, is_broken: bool = False) -> Response:
        more: dict[str, Any] = {"storable": storable, "chunks": self._reported, "is_broken": is_broken, "sent": self.messages}
        more["parameters"] = (self._advised, *self._parameters_of(self.call.tier))
        return response_of_message(answer, self._sent, self.call.model, self.others, **more)

    def _may_stream_inside(self, model: BaseChatModel, arguments: Mapping[str, Any]) -> bool:
        """Whether `invoke` may stream by itself: the model is told to, or a callback handler asks for it, as LangGraph's does."""
        callbacks = self._config.get("callbacks") or model.callbacks
        return bool(callbacks or getattr(model, "streaming", False) or arguments.get("stream"))

    def _arguments_of(self, tier: str) -> dict[str, Any]:
        """The keyword arguments of a call to a tier's model."""
        arguments = {**self._models[tier].parameters, **self._bound.get(tier, {}), **self._arguments}
        if self._stops_at is not None:
            arguments["stop"] = self._stops_at
        return arguments

    def _begins_again(self) -> None:
        self._streamed = None
        self.others = []

    def _context(self, answer: AIMessage, tier: str, *, is_out: bool) -> AnswerContext:
        call = self.call
        return AnswerContext(
            logprobs=lambda: logprobs_of(answer),
            tool_calls=lambda: calls_of(answer),
            tools=lambda: tools_of(self._arguments_of(tier)),
            tool_required=lambda: requires_tool(self._arguments_of(tier)),
            schema=lambda: schema_of(self._arguments_of(tier)),
            conversation=lambda: conversation_of(self._fields),
            ask_again=lambda: partial(self._ask_again, tier),
            attribution=lambda: call.attribution,
            request_id=lambda: call.request_id,
            is_out=lambda: is_out,
        )

    def _ask_again(self, tier: str, temperature: float | None) -> str:
        """Another answer of a tier's model, as a call of its own."""
        arguments = self._arguments_of(tier)
        if temperature is not None:
            arguments["temperature"] = temperature
        model = self._router.metered(self._models[tier].model)
        return text_of(model.invoke(self.messages, **arguments).content)

    def _outgoing(self, tier: str | None) -> Outgoing:
        name = self._name_of(tier)
        messages = self._messages_to(name)
        fields = self._fields if messages is self._given else [fields_of(message) for message in messages]
        return count_outgoing(fields, self._model_of(name)[0], *self._parameters_of(name))

    def _shortening(self, policy: ShorteningPolicy) -> Shortening:
        given = self._given
        return Shortening(
            policy,
            prompt=partial(prompt_of, given),
            restore=partial(restore, messages=given),
            model_of=lambda tier: self._model_of(self._name_of(tier))[0],
            note=self._thrift.note_failure,
        )

    def _prefixing(self, planners: PrefixPlanners, call_site: str | None) -> Prefixing:
        return Prefixing(
            planners,
            self._thrift.prices,
            prompt=lambda tier: self._prompt_of(name := self._name_of(tier), self._messages_to(name)),
            model_of=lambda tier: self._model_of(self._name_of(tier)),
            call_site=call_site,
            now=self._thrift.now,
            note=self._thrift.note_failure,
            client=lambda tier: ClientOf(self._models[self._name_of(tier)].model, self._parameters_of(tier)),
            given=lambda tier: self._prompt_of(self._name_of(tier), self._given),
        )

    def _prompt_of(self, tier: str, messages: list[BaseMessage]) -> SentPrompt:
        return sent_prompt(messages, self._parameters_of(tier), self._model_of(tier)[0])

    def _messages_to(self, tier: str) -> list[BaseMessage]:
        """What is sent to a tier's model."""
        shortening = self.request.shortening
        shortened: list[BaseMessage] | None = None if shortening is None else shortening.messages(tier)
        messages = self._given if shortened is None else shortened
        limiting = self.request.limiting
        instruction = "" if limiting is None else limiting.instruction(tier)
        return instructed(messages, instruction) if instruction else messages

    def _limiting(self, limits: OutputLimits) -> Limiting:
        model_of = self._model_of
        return limiting_of(limits, self._given, lambda tier: model_of(self._name_of(tier))[0], self._target_of, self._thrift.note_failure)

    def _target_of(self, tier: str | None) -> tuple[BaseChatModel, Mapping[str, Any]]:
        return self._models[name := self._name_of(tier)].model, self._arguments_of(name)

    def _name_of(self, tier: str | None) -> str:
        return self._router.baseline_within(self._tiers) if tier is None else tier

    def _max_output_tokens(self, tier: str | None) -> int | None:
        return None if tier is None else max_output_tokens(*self._parameters_of(tier))

    def _parameters_of(self, tier: str | None) -> tuple[Mapping[str, Any], ...]:
        """What decides the call of a tier's model, in the order of precedence."""
        if tier is None:
            return (self._arguments,)
        chosen = self._models[tier]
        return self._arguments, self._bound.get(tier, {}), chosen.parameters, vars(chosen.model)

    def _cache_use(self, rules: CacheRules, max_tier: Any, attribution: Attribution) -> CacheUse | None:
        policy, tuned = self._router.cache_policy(), self._tuned
        if tuned is not None:
            policy = tuned.policy(policy)
        if policy is None or rules.mode == "off":
            return None
        try:
            identity = self._router.identity(self._policy, self._models, self._arguments_of)
            if self._shortens is not None:
                identity = digest("shortened", identity, self._shortens.identity().encode())
            if self._limits is not None:
                identity = digest("limited", identity, self._limits.identity().encode())
            return rules.ruled(self._keyed(policy, identity, rules, max_tier, attribution))
        except UncacheableError as error:
            self._thrift.cache.note_uncacheable(str(error))
        except Exception as error:  # a message of a shape that nobody foresaw is not worth a broken call
            self._thrift.note_failure("cache", error, (str(self._fields),))
        return None

    def _keyed(self, policy: CachePolicy, identity: bytes, rules: CacheRules, max_tier: Any, attribution: Attribution) -> CacheUse:
        tuned = self._tuned
        limits = canonical_json({"max_tier": max_tier} if tuned is None else {"max_tier": max_tier, **tuned.key})
        canonical = canonical_messages(self._fields)
        answers = self._router.answers
        asked = partial(asked_texts, self._fields, None if answers is None else answers.extract_question)
        key = policy.key(
            identity,
            rules.conversation(canonical_json(canonical)),
            digest("parameters", limits),
            attribution=attribution,
            asked=asked,
        )
        semantic = None
        if answers is not None and answers.semantic is not None and (tuned is None or tuned.semantic is not False):
            tier = self._models[self._router.baseline_within(self._tiers)]
            own = tier.parameters.get("temperature", getattr(tier.model, "temperature", None))
            semantic = semantic_use(
                answers.semantic,
                self._fields,
                canonical,
                digest("parameters", identity, limits),
                owner=policy.owner(asked, attribution),
                temperature=self._arguments.get("temperature", own),
                extract_question=answers.extract_question,
            )
        limit = partial(time_limit_of, *self._parameters_of(self._router.baseline_within(self._tiers)))
        return CacheUse(key, policy, decode_chat, rules.mode or "on", caller=whoami(), semantic=semantic, wait_seconds=limit)


def _limits(own: str | None, asked: str | None) -> str | list[str] | None:
    """What a cache key says of the highest tiers that the router and the call allow."""
    if own is None or asked is None or own == asked:
        return asked if own is None else own
    return [own, asked]


def _parent_of(config: RunnableConfig) -> UUID | None:
    callbacks = config.get("callbacks")
    return callbacks.parent_run_id if isinstance(callbacks, BaseCallbackManager) else None

"""One call through a router: what the four ways of calling (whole, stream, sync, async) have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import cache, partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs
from langchain_core.utils.uuid import uuid7

from llmthrift_core.attribution import Attribution, call_site_of_prompt, current_attribution, with_call_site
from llmthrift_core.budgets.output import max_output_tokens, name_of_output_limit, tokens_of_stream
from llmthrift_core.cache.flight import whoami
from llmthrift_core.cache.keys import UncacheableError, canonical_json, digest
from llmthrift_core.cache.mode import CacheMode, checked_cache_mode, current_cache_mode
from llmthrift_core.cache.parameters import relevant
from llmthrift_core.call import Call
from llmthrift_core.errors import BudgetExceededError
from llmthrift_core.request import CacheUse, Request, RouteUse
from llmthrift_core.routing import AnswerContext, RouteRequest, fallback_reason
from llmthrift_core.routing.off_loop import in_own_thread
from llmthrift_core.routing.unfailing import allowed_tiers, reviewed
from llmthrift_core.settings import is_observing
from llmthrift_langchain.answered import calls_of, conversation_of, logprobs_of, requires_tool, schema_of, tools_of
from llmthrift_langchain.cache import marked_answer
from llmthrift_langchain.codec import decode
from llmthrift_langchain.enforcement import text_of_event
from llmthrift_langchain.lineage import root_of
from llmthrift_langchain.messages import canonical_messages, fields_of, has_images, question_of, system_of, text_of
from llmthrift_langchain.prompt import features_of_messages
from llmthrift_langchain.response import count_input, merge, response_of_message
from llmthrift_langchain.run_metadata import attribution_of_metadata, cache_mode_of_metadata
from llmthrift_langchain.semantic import semantic_use

if TYPE_CHECKING:
    from llmthrift_core.cache.policy import CachePolicy
    from llmthrift_langchain.router import ChatRouter


class RoutedCall:
    """A call through a router, from its input to its row. A context manager: while it is open, inner doors yield to it."""

    def __init__(
        self,
        router: ChatRouter,
        messages: list[BaseMessage],
        config: RunnableConfig,
        *,
        stop: list[str] | None,
        arguments: dict[str, Any],
        stream: bool,
    ) -> None:
        self._router = router
        self._thrift = router.thrift
        self.messages = messages
        self._config = config
        self._run_id: UUID | None = config.get("run_id")
        bound: Mapping[str, Mapping[str, Any]] = arguments.pop("llmthrift_bound", None) or {}
        mode = arguments.pop("cache", None)
        max_tier = arguments.pop("max_tier", None) or router.max_tier
        self._stop = stop if stop is not None else router.stop
        self._bound = bound
        self._arguments = arguments
        self._fields = [fields_of(message) for message in messages]
        metadata = config.get("metadata") or {}
        if mode is None:
            mode = cache_mode_of_metadata(metadata)
        if mode is None:
            mode = current_cache_mode()
        attribution = attribution_of_metadata(metadata).over(current_attribution())
        system = system_of(self._fields)
        if attribution.call_site is None and (site := config.get("run_name") or (call_site_of_prompt(system) if system else None)):
            attribution = with_call_site(attribution, site)
        self.described = described = RouteRequest(
            question=question_of(self._fields),
            system=system,
            history_messages=len(messages),
            input_chars=sum(len(f["content"]) if isinstance(f["content"], str) else 0 for f in self._fields),
            has_tools=any("tools" in b for b in bound.values()) or "tools" in arguments,
            has_images=has_images(self._fields),
            structured=any("ls_structured_output_format" in b or "response_format" in b for b in bound.values()),
            attribution=attribution,
            max_tier=max_tier,
            metadata=metadata,
        )
        self._policy = router.routing.in_force()
        tiers = allowed_tiers(self._policy, described, router.tier_names.at_most(max_tier))
        self._left: list[str] = []
        self._tiers = tiers
        run_id = self._run_id or uuid7()
        self._run_id = run_id
        parent = _parent_of(config)
        self.request = Request(
            attribution=attribution,
            request_id=str(run_id),
            run_id=str(run_id),
            trace_id=str(root_of(parent) or parent or run_id),
            parent_id=str(parent) if parent is not None else None,
            stream=stream,
            prompt=None if self._thrift.capture == "off" else features_of_messages(messages, self._thrift.capture),
            cache=self._cache_use(checked_cache_mode(mode), max_tier, attribution),
            route=RouteUse(
                policy=self._policy,
                tiers=tiers,
                request=described,
                # A call may override the model's name: model.invoke(..., model="other").
                models={name: (arguments.get("model") or tier.name, tier.provider) for name, tier in router.tiers.items()},
                baseline=router.baseline_within(tiers),
            ),
            input_tokens=cache(self._input_tokens),  # a refused call asks twice
            max_output_tokens=self._max_output_tokens,
            may_clamp=True,
        )
        self._streamed_chars = 0
        self._call: Call | None = None
        self._is_closed = False
        self._answer: AIMessage | None = None  # which is whole, and not kept yet
        self._rejected: tuple[str, str, AIMessage] | None = None  # the tier, the model and the answer that was not good enough
        self._is_kept = False  # after all, since no better model can be had

    # --- life ---

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close(error)

    def close(self, error: BaseException | None = None) -> None:
        """End the call if nothing else has, and stop owning the runs inside it. An answer under review was paid for."""
        self._is_closed = True
        if self._call is not None:
            if self._call.is_open:
                paid = None if self._answer is None else response_of_message(self._answer, self._fields, self._call.model, storable=False)
                self._call.fail(error if error is not None else RuntimeError("the call was dropped"), paid)
            self._thrift.disown(self._call)

    def begin(self) -> None:
        """Look up, route and reserve; or find an identical call to wait for. Touches the database."""
        if self._call is None:
            self._call = self._thrift.begin(self.request)
            self._thrift.own(self._call)
        else:
            self._call.resume()
        if self._is_closed:  # the caller was cancelled while this went on, off the event loop
            self.close(asyncio.CancelledError())

    @property
    def call(self) -> Call:
        """The call, once begun."""
        assert self._call is not None  # noqa: S101 - begin() comes first
        return self._call

    @property
    def is_quick(self) -> bool:
        """Whether `begin` will find its answer in memory, and ask no model which one to call."""
        use = self.request.cache
        if use is not None and use.mode == "on":
            in_memory: bool = self._thrift.cache.holds(use.key)
            return in_memory
        return not self._thrift.budgets.are_kept and not self._policy.waits

    @property
    def writes(self) -> bool:
        """Whether `finished` will write to the cache or the budgets."""
        use = self.request.cache
        return self.call.holds_money or (self.call.hit is None and use is not None and use.mode != "off")

    # --- attempts ---

    def next(self) -> tuple[BaseChatModel, RunnableConfig, dict[str, Any]]:
        """The model to call now, with its config and keyword arguments."""
        call = self.call
        metadata = {**(self._config.get("metadata") or {}), "llmthrift_call": call.call_id}
        config: RunnableConfig = {**self._config, "metadata": metadata, "run_id": self._run_id or uuid7()}
        self._run_id = None
        if call.hit is not None:
            generation = marked_answer(call)[0]
            from llmthrift_langchain.replay import CachedAnswer  # a pydantic model: 2 ms that a program without hits never spends

            answer = CachedAnswer(generation=generation, model_name=call.hit.model, provider=call.hit.provider, cache=False)
            return answer, config, {}
        if self._rejected is not None and self._is_kept:
            from llmthrift_langchain.replay import CachedAnswer

            _, name, message = self._rejected
            return CachedAnswer(generation=ChatGeneration(message=message), model_name=name, cache=False), config, {}
        assert call.tier is not None  # noqa: S101 - a router always routes
        tier, arguments = self._router.tiers[call.tier], self._arguments_of(call.tier)
        if call.max_output_tokens is not None:
            arguments[name_of_output_limit(arguments, vars(tier.model))] = call.max_output_tokens
        return tier.model, config, arguments

    def failed(self, error: BaseException) -> bool:
        """A model failed before it answered. True if another one is to be tried, whose call has begun, or an answer that was rejected is
        kept after all, since no better model can be had.

        Raises:
            BudgetExceededError: a budget refuses the further attempt.
        """
        call = self.call
        following = self._router.model_after(error, call.tier, self._tiers, self._left) if call.hit is None else None
        if following is None:
            if self._rejected is not None and fallback_reason(error) is not None:
                self._is_kept = True
                call.note_route(f"it failed, and the answer of {self._rejected[0]} is kept")
            call.fail(error)
            return self._is_kept
        if call.tier is not None:
            self._left.append(call.tier)
        tier = self._router.tiers[following]
        call.attempt(following, self._arguments.get("model") or tier.name, tier.provider, reason="fallback", error=error)
        return True

    @property
    def is_reviewed(self) -> bool:
        """Whether the policy looks at answers."""
        return self._policy.reviews

    @property
    def review_waits(self) -> bool:
        """Whether the policy may ask a model what it thinks of an answer."""
        return self._policy.reviews_wait

    @property
    def holds_stream(self) -> bool:
        """Whether a stream is read to its end before it is given on, because the policy looks at whole answers."""
        return self._policy.holds_streams and self.call.hit is None and not is_observing()

    def escalated(self, message: AIMessage | None, *, is_out: bool = False) -> bool:
        """The policy finds the answer not good enough, and another model is to be asked: its call has begun.

        Args:
            is_out: the answer was streamed to its reader; what the policy says is only noted.
        """
        call = self.call
        if not self.is_reviewed or call.hit is not None or message is None or call.tier is None or is_observing():
            return False
        if self._is_kept:
            return False
        self._answer = message
        context = self._context(message, call.tier, is_out=is_out)
        answer, note = text_of(message.content), self._thrift.note_failure
        found = reviewed(self._policy, self.described, call.tier, answer, self._tiers, context, tried=self._left, note=note)
        if found is None or not call.is_open:  # a caller may have gone while a model was asked
            return False
        call.confidence = found.confidence
        if (decision := found.next) is None:
            return False
        if is_out:
            call.note_route(f"{decision.reason}, and was streamed")
            return False
        tier = self._router.tiers[decision.tier]
        name = self._arguments.get("model") or tier.name
        response = response_of_message(message, self._fields, call.model, storable=False)
        ended, rejected = call.tier, (call.tier, call.model, message)
        try:
            call.attempt(decision.tier, name, tier.provider, reason="escalation", rejected=response)
        except BudgetExceededError as refused:
            call.note_route(f"{decision.reason}, and budget {refused.budget!r} has no room for {decision.tier}")
            return False
        if self._is_closed:  # it was given up meanwhile: nobody would settle what was set aside for the next attempt
            call.abandon()
            return False
        self._answer, self._rejected = None, rejected
        self._left.append(ended)
        call.decision = decision
        return True

    def finished(self, message: AIMessage | None) -> None:
        """A model, or the cache, gave its whole answer. Touches the database."""
        call = self.call
        if call.hit is not None:
            call.finish_hit()
        elif message is None:
            call.fail(ValueError("the model answered nothing"))
        else:
            if message.tool_calls and call.request.cache is not None:
                call.request.cache.semantic = None  # what a tool is asked for depends on more than the meaning of the question
            call.finish(response_of_message(message, self._fields, self.call.model, storable=True))

    def grew(self, content: str | list[Any]) -> None:
        """A piece of a stream has come: its hold grows with it.

        Raises:
            BudgetExceededError: the budget has no room for more; the stream is to be stopped.
        """
        if self.call.holds_money:
            self._streamed_chars += len(content if isinstance(content, str) else str(content))
            self.call.extend(tokens_of_stream(self._streamed_chars))

    def broken_off(self, error: BaseException, chunks: Sequence[AIMessageChunk]) -> None:
        """A stream ended early: what had arrived is settled and recorded, and not stored."""
        call = self.call
        if call.hit is not None:
            call.finish_hit()
            return
        message = merge(chunks)
        partial = None if message is None else response_of_message(message, self._fields, self.call.model, storable=False)
        call.fail(error, partial)

    def _arguments_of(self, tier: str) -> dict[str, Any]:
        """The keyword arguments of a call to a tier's model."""
        arguments = {**self._router.tiers[tier].parameters, **self._bound.get(tier, {}), **self._arguments}
        if self._stop is not None:
            arguments["stop"] = self._stop
        return arguments

    def _context(self, message: AIMessage, tier: str, *, is_out: bool) -> AnswerContext:
        call = self.call
        return AnswerContext(
            logprobs=lambda: logprobs_of(message),
            tool_calls=lambda: calls_of(message),
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
        from llmthrift_langchain.router import thrifty

        arguments = self._arguments_of(tier)
        if temperature is not None:
            arguments["temperature"] = temperature
        model = thrifty(self._router.tiers[tier].model, self._thrift, cache=False, fallbacks=False)
        return text_of(model.invoke(self.messages, **arguments).content)

    def _input_tokens(self) -> int:
        baseline = self._router.baseline_within(self._tiers)
        parameters = {**self._bound.get(baseline, {}), **self._arguments}
        return count_input(self._fields, self._router.tiers[baseline].name, parameters)

    def _max_output_tokens(self, tier: str | None) -> int | None:
        if tier is None:
            return None
        chosen = self._router.tiers[tier]
        return max_output_tokens(self._arguments, self._bound.get(tier, {}), chosen.parameters, vars(chosen.model))

    def _cache_use(self, mode: CacheMode, max_tier: str | None, attribution: Attribution) -> CacheUse | None:
        policy = self._router.cache_policy()
        if policy is None or mode == "off":
            return None
        try:
            return self._keyed(policy, self._router.identity(self._policy), mode, max_tier, attribution)
        except UncacheableError as error:
            self._thrift.cache.note_uncacheable(str(error))
        except Exception as error:  # a message of a shape that nobody foresaw is not worth a broken call
            self._thrift.note_failure("cache", error)
        return None

    def _keyed(self, policy: CachePolicy, identity: bytes, mode: CacheMode, max_tier: str | None, attribution: Attribution) -> CacheUse:
        parameters = {
            "bound": {name: relevant(values) for name, values in self._bound.items()},
            "arguments": relevant(self._arguments),
            "stop": self._stop,
            "max_tier": max_tier,
        }
        canonical = canonical_messages(self._fields)
        key = policy.key(
            identity,
            canonical_json(canonical),
            digest("parameters", canonical_json(parameters)),
            attribution=attribution,
        )
        answers = self._router.answers
        semantic = None
        if answers is not None and answers.semantic is not None:
            tier = self._router.tiers[self._router.baseline_within(self._tiers)]
            own = tier.parameters.get("temperature", getattr(tier.model, "temperature", None))
            semantic = semantic_use(
                answers.semantic,
                self._fields,
                canonical,
                identity,
                canonical_json(parameters),
                temperature=self._arguments.get("temperature", own),
                extract_question=answers.extract_question,
            )
        return CacheUse(key, policy, decode, mode, caller=whoami(), semantic=semantic)


class Finisher(BaseCallbackHandler):
    """Ends a routed call whose model is driven by somebody else: an event stream that its reader pumps."""

    run_inline = True
    raise_error = True  # so that a budget stops the stream

    def __init__(self, routed: RoutedCall) -> None:
        super().__init__()
        self._routed = routed
        self._text: list[str] = []

    def on_stream_event(self, event: Any, **kwargs: Any) -> None:
        """A piece of the answer has come: its hold grows with it.

        Raises:
            BudgetExceededError: the budget has no room for more.
        """
        if text := text_of_event(event):
            if not self._text:
                self._routed.call.mark_first_token()
            self._text.append(text)
            self._routed.grew(text)

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        """The answer is whole."""
        message = getattr(response.generations[0][0], "message", None) if response.generations else None
        answer = message if isinstance(message, AIMessage) else None
        self._routed.escalated(answer, is_out=True)
        self._routed.finished(answer)
        self._routed.close()

    def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
        """The model failed, the reader stopped, or the budget ended: what had arrived is settled."""
        self._routed.broken_off(error, [AIMessageChunk(content="".join(self._text))] if self._text else [])
        self._routed.close()


def begin(routed: RoutedCall) -> None:
    """Begin a call, after identical ones under way."""
    routed.begin()
    while (waiting := routed.call.waiting) is not None:
        waiting.wait()
        routed.begin()


async def abegin(routed: RoutedCall) -> None:
    """As `begin`; the database is used off the event loop."""
    while True:
        if routed.is_quick:
            routed.begin()
        else:
            await asyncio.to_thread(routed.begin)
        waiting = routed.call.waiting
        if waiting is None:
            return
        await waiting.wait_async()


async def aescalated(routed: RoutedCall, message: AIMessage | None, *, is_out: bool = False) -> bool:
    """As `RoutedCall.escalated`, off the event loop."""
    if not routed.is_reviewed:
        return False
    if routed.review_waits:
        return await in_own_thread(partial(routed.escalated, message, is_out=is_out))
    return await asyncio.to_thread(routed.escalated, message, is_out=is_out)


async def afinish(routed: RoutedCall, message: AIMessage | None) -> None:
    """As `RoutedCall.finished`; the database is used off the event loop."""
    if routed.writes:
        await asyncio.to_thread(routed.finished, message)
    else:
        routed.finished(message)


def with_handler(config: RunnableConfig, handler: BaseCallbackHandler) -> RunnableConfig:
    """The config with one more callback handler."""
    return merge_configs(config, {"callbacks": [handler]})


def _parent_of(config: RunnableConfig) -> UUID | None:
    callbacks = config.get("callbacks")
    return callbacks.parent_run_id if isinstance(callbacks, BaseCallbackManager) else None

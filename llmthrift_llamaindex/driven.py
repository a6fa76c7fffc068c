"""One call through `thrifty` or a router: what the eight ways of calling a LlamaIndex model have in common."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from llmthrift_core.attribution import Attribution, call_site_of_prompt, current_attribution, with_call_site
from llmthrift_core.budgets.output import tokens_of_stream
from llmthrift_core.cache.flight import whoami
from llmthrift_core.cache.keys import UncacheableError, canonical_json, digest
from llmthrift_core.cache.mode import CacheMode, checked_cache_mode, current_cache_mode
from llmthrift_core.cache.parameters import relevant
from llmthrift_core.call import Call
from llmthrift_core.errors import BudgetExceededError
from llmthrift_core.ledger import request_ids
from llmthrift_core.request import CacheUse, Request
from llmthrift_core.routing import AnswerContext, fallback_reason
from llmthrift_core.routing.unfailing import reviewed
from llmthrift_core.settings import is_observing
from llmthrift_llamaindex.answered import calls_of, conversation_of, logprobs_of, requires_tool, schema_of, tools_of
from llmthrift_llamaindex.behind import Behind, can_be_limited, output_limit
from llmthrift_llamaindex.codec import decode, mark
from llmthrift_llamaindex.identity import model_of, provider_of
from llmthrift_llamaindex.messages import canonical_messages, system_of
from llmthrift_llamaindex.ownership import owned_by
from llmthrift_llamaindex.prompt import asked_question, features_of
from llmthrift_llamaindex.replay import CachedAnswer
from llmthrift_llamaindex.response import Answer, Asked, Pieces, answer_text, count_input, has_tool_calls, response_of
from llmthrift_llamaindex.runs import current_run
from llmthrift_llamaindex.semantic import semantic_use
from llmthrift_llamaindex.tags import active_tags, attribution_of_tags
from llmthrift_llamaindex.tools import TOOLS

if TYPE_CHECKING:
    from llmthrift_core.cache.policy import CachePolicy


class DrivenCall:
    """A call from its input to its row. A context manager: while it is open, inner doors and handlers yield to it.

    Args:
        behind: the model or models.
        method: the name of the called method, such as "astream_chat".
        asked: messages, or a completion's prompt.
        arguments: keyword arguments of the call.
    """

    def __init__(self, behind: Behind, method: str, asked: Asked, arguments: dict[str, Any]) -> None:
        self._call: Call | None = None
        self._is_closed = False
        self._behind = behind = behind.in_force()
        self._thrift = thrift = behind.thrift
        self._method = method
        self._given = asked
        # Integrations append to the list that they are given, some time after the key was made of it.
        self._asked: Asked = asked if isinstance(asked, str) else list(asked)
        mode = arguments.pop("cache", None)
        max_tier = arguments.pop("max_tier", None)
        self._arguments = arguments
        use = arguments.get(TOOLS)
        # What the arguments say, for keys and counts: tools have no provider's format yet.
        self._said = arguments if use is None else {**arguments, TOOLS: None, "tools": use.described()}
        self._pin = behind.pin_of(self._asked, arguments)
        self._tried: list[str] = []
        self._answer: Answer | None = None  # which is whole, and not kept yet
        self._rejected: tuple[str, str, Answer] | None = None  # the tier, the model and the answer that was not good enough
        self._is_kept = False  # after all, since no better model can be had
        attribution = attribution_of_tags(active_tags()).over(current_attribution())
        if attribution.call_site is None and not isinstance(self._asked, str) and (system := system_of(self._asked)):
            attribution = with_call_site(attribution, call_site_of_prompt(system))
        self._tiers = behind.tiers_at_most(max_tier)
        identity = request_ids.new_request_id()
        trace, parent = current_run()
        only = behind.model(None) if self._tiers is None else None
        route = behind.route(self._tiers, self._asked, arguments, attribution, max_tier=max_tier, pin=self._pin)
        self.request = Request(
            model="" if only is None else str(arguments.get("model") or model_of(only)),
            provider=None if only is None else provider_of(only),
            attribution=attribution,
            request_id=identity,
            run_id=identity,
            trace_id=trace or identity,
            parent_id=parent,
            stream="stream" in method,
            prompt=features_of(self._asked, thrift.capture, self._question() if route is None else route.request.question),
            cache=self._cache_use(current_cache_mode() if mode is None else checked_cache_mode(mode), max_tier, attribution),
            route=route,
            # Nothing that leads back here: a stream that nobody reads ends when the last reference to this call goes.
            input_tokens=partial(count_input, self._asked, model_of(behind.model(None)), self._said),
            max_output_tokens=partial(_output_limit, behind, arguments),
            may_clamp=can_be_limited(behind.model(None)),
        )

        if route is not None:
            self._tiers = route.tiers  # which the policy may have narrowed
        self._pieces = Pieces(keeps_raw=self.is_reviewed)

    # --- life ---

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close(error)

    def __del__(self) -> None:
        # A stream that nobody began to read: its generator goes without running.
        self.close(GeneratorExit())

    def close(self, error: BaseException | None = None) -> None:
        """End the call if nothing else has, and stop owning what happens inside it. An answer under review was paid for."""
        self._is_closed = True
        if self._call is not None:
            if self._call.is_open:
                paid = None
                if self._answer is not None:
                    paid = response_of(self._answer, self._asked, self._call.model, self._provider, storable=False)
                self._call.fail(error if error is not None else RuntimeError("the call was dropped"), paid)
            self._thrift.disown(self._call)

    def begin(self) -> None:
        """Look up, route and reserve; or find an identical call to wait for. Touches the database.

        Raises:
            BudgetExceededError: a budget refuses the call.
        """
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
        use, route = self.request.cache, self.request.route
        if use is not None and use.mode == "on":
            in_memory: bool = self._thrift.cache.holds(use.key)
            return in_memory
        return not self._thrift.budgets.are_kept and not (route is not None and route.policy.waits)

    @property
    def writes(self) -> bool:
        """Whether ending the call will write to the cache or the budgets."""
        use = self.request.cache
        return self.call.holds_money or (self.call.hit is None and use is not None and use.mode != "off")

    # --- attempts ---

    def owning(self) -> AbstractContextManager[None]:
        """While the model is called inside of this, nobody else records it."""
        return owned_by(self.call)

    def next(self) -> tuple[Any, Asked, dict[str, Any]]:
        """The function to call now, its input and its keyword arguments."""
        call = self.call
        if call.hit is not None:
            answer: Answer = call.answer
            mark(answer, _signs(call))
            replayed = CachedAnswer(answer, call.hit.model, self._behind.callback_manager)
            return getattr(replayed, self._method), self._given, {}
        if self._rejected is not None and self._is_kept:
            call.tier, name, answer = self._rejected
            return getattr(CachedAnswer(answer, name, self._behind.callback_manager), self._method), self._given, {}
        target, asked, arguments = self._behind.prepare(call, self._method, self._given, dict(self._arguments))
        return getattr(target, self._method), asked, arguments

    def failed(self, error: BaseException) -> bool:
        """A model failed before it answered. True if another one is to be tried, whose call has begun, or an answer that was rejected is
        kept after all, since no better model can be had.

        Raises:
            BudgetExceededError: a budget refuses the further attempt.
        """
        call = self.call
        following = self._behind.after(error, call.tier, self._tiers, self._tried) if call.hit is None else None
        if following is None:
            if self._rejected is not None and fallback_reason(error) is not None:
                self._is_kept = True
                call.note_route(f"it failed, and the answer of {self._rejected[0]} is kept")
            call.fail(error)
            return self._is_kept
        if call.tier is not None:
            self._tried.append(call.tier)
        model = self._behind.model(following)
        name = str(self._arguments.get("model") or model_of(model))
        call.attempt(following, name, provider_of(model), reason="fallback", error=error)
        return True

    @property
    def is_reviewed(self) -> bool:
        """Whether the policy looks at answers."""
        route = self.request.route
        return route is not None and route.policy.reviews

    @property
    def review_waits(self) -> bool:
        """Whether the policy may ask a model what it thinks of an answer."""
        route = self.request.route
        return route is not None and route.policy.reviews_wait

    @property
    def holds_stream(self) -> bool:
        """Whether a stream is read to its end before it is given on, because the policy looks at whole answers."""
        route = self.request.route
        return route is not None and route.policy.holds_streams and self.call.hit is None and not is_observing()

    def escalated(self, answer: Answer | None, *, is_out: bool = False) -> bool:
        """The policy finds the answer not good enough, and another model is to be asked: its call has begun.

        Args:
            is_out: the answer was streamed to its reader; what the policy says is only noted.
        """
        call, route = self.call, self.request.route
        if route is None or not self.is_reviewed or call.tier is None or call.hit is not None or answer is None or is_observing():
            return False
        if self._is_kept:
            return False
        self._answer = answer
        context = self._context(answer, call.tier, is_out=is_out)
        text, note = answer_text(answer), self._thrift.note_failure
        found = reviewed(route.policy, route.request, call.tier, text, route.tiers, context, tried=self._tried, note=note)
        if found is None or not call.is_open:  # a caller may have gone while a model was asked
            return False
        call.confidence = found.confidence
        if (decision := found.next) is None:
            return False
        if is_out:
            call.note_route(f"{decision.reason}, and was streamed")
            return False
        model = self._behind.model(decision.tier)
        name = str(self._arguments.get("model") or model_of(model))
        rejected = response_of(answer, self._asked, call.model, self._provider, storable=False)
        ended, kept = call.tier, (call.tier, call.model, answer)
        try:
            call.attempt(decision.tier, name, provider_of(model), reason="escalation", rejected=rejected)
        except BudgetExceededError as refused:
            call.note_route(f"{decision.reason}, and budget {refused.budget!r} has no room for {decision.tier}")
            return False
        if self._is_closed:  # it was given up meanwhile: nobody would settle what was set aside for the next attempt
            call.abandon()
            return False
        self._answer, self._rejected = None, kept
        self._tried.append(ended)
        call.decision = decision
        self._pieces = Pieces(keeps_raw=self.is_reviewed)
        return True

    def finished(self, answer: Answer | None) -> None:
        """A model, or the cache, gave its whole answer. Touches the database."""
        call = self.call
        if call.hit is not None:
            call.finish_hit()
        elif answer is None:
            call.fail(ValueError("the model answered nothing"))
        else:
            self._behind.answered(call.tier, self._pin)
            if call.request.cache is not None and has_tool_calls(answer):
                call.request.cache.semantic = None  # what a tool is asked for depends on more than the meaning of the question
            call.finish(response_of(answer, self._asked, call.model, self._provider, storable=True))

    def whole(self, answer: Answer) -> Answer:
        """The model's answer, with a note of the tier that gave it."""
        if self.call.tier is not None and self.call.hit is None:
            mark(answer, {"tier": self.call.tier})
        return answer

    # --- streams ---

    def came(self, piece: Answer) -> Answer:
        """A piece of a stream has come: its hold grows with it.

        Raises:
            BudgetExceededError: the budget has no room for more; the stream is to be stopped.
        """
        call = self.call
        call.mark_first_token()
        self._pieces.add(self.whole(piece))
        if call.holds_money:
            call.extend(tokens_of_stream(self._pieces.chars))
        return piece

    @property
    def has_begun(self) -> bool:
        """Whether a piece of the stream has come."""
        return self._pieces.have_come

    def together(self) -> Answer | None:
        """The answer that the pieces make."""
        return self._pieces.together()

    def broken_off(self, error: BaseException) -> None:
        """A stream ended early: what had come is settled and recorded, and not stored."""
        call, answer = self.call, self._pieces.together()
        if call.hit is not None:
            call.finish_hit()
            return
        partial = None
        if answer is not None:
            partial = response_of(answer, self._asked, call.model, self._provider, storable=False, broken_off=True)
        call.fail(error, partial)

    # --- what is known of an answer ---

    def _context(self, answer: Answer, tier: str, *, is_out: bool) -> AnswerContext:
        call, arguments, pieces = self.call, self._arguments, self._pieces
        return AnswerContext(
            logprobs=lambda: logprobs_of(pieces.raws or [answer.raw]),
            tool_calls=lambda: calls_of(answer),
            tools=lambda: tools_of(arguments),
            tool_required=lambda: requires_tool(arguments),
            schema=lambda: schema_of(arguments),
            conversation=lambda: conversation_of(self._asked),
            ask_again=lambda: partial(self._ask_again, tier),
            attribution=lambda: call.attribution,
            request_id=lambda: call.request_id,
            is_out=lambda: is_out,
        )

    def _ask_again(self, tier: str, temperature: float | None) -> str:
        """Another answer of a tier's model, as a call of its own."""
        from llmthrift_llamaindex.wrapped import thrifty

        model, asked, arguments = self._behind.prepare(self.call, self._method, self._given, dict(self._arguments))
        if temperature is not None:
            arguments["temperature"] = temperature
        model = thrifty(self._behind.model(tier), self._thrift, cache=False)
        return answer_text(model.complete(asked, **arguments) if isinstance(asked, str) else model.chat(asked, **arguments))

    # --- what the request says ---

    @property
    def _provider(self) -> str | None:
        return provider_of(self._behind.model(self.call.tier))

    def _question(self) -> str:
        try:
            return asked_question(self._asked, self._behind.answers.extract_question)
        except Exception as error:  # a function of the application's, which fails open where it serves the cache too
            self._thrift.note_failure("features", error)
            return ""

    def _cache_use(self, mode: CacheMode, max_tier: str | None, attribution: Attribution) -> CacheUse | None:
        policy = self._behind.answers.policy
        if policy is None or mode == "off":
            return None
        try:
            return self._keyed(policy, mode, max_tier, attribution)
        except UncacheableError as error:
            self._thrift.cache.note_uncacheable(str(error))
        except Exception as error:  # a message of a shape that nobody foresaw is not worth a broken call
            self._thrift.note_failure("cache", error)
        return None

    def _keyed(self, policy: CachePolicy, mode: CacheMode, max_tier: str | None, attribution: Attribution) -> CacheUse:
        asked, answers = self._asked, self._behind.answers
        identity = self._behind.identity()
        parameters = canonical_json({"arguments": relevant(self._said), "max_tier": max_tier})
        is_chat = not isinstance(asked, str)
        what = canonical_json(canonical_messages(asked)) if not isinstance(asked, str) else asked.encode("utf-8", "surrogatepass")
        key = policy.key(
            identity, digest("chat" if is_chat else "complete", what), digest("parameters", parameters), attribution=attribution
        )
        semantic = None
        if answers.semantic is not None:
            semantic = semantic_use(
                answers.semantic,
                asked,
                identity,
                parameters,
                temperature=self._arguments.get("temperature", getattr(self._behind.model(None), "temperature", None)),
                extract_question=answers.extract_question,
            )
        return CacheUse(key, policy, partial(decode, is_chat=is_chat), mode, caller=whoami(), semantic=semantic)


def _output_limit(behind: Behind, arguments: Mapping[str, Any], tier: str | None) -> int | None:
    return output_limit(behind.model(tier), arguments)


def _signs(call: Call) -> dict[str, Any]:
    """The kind of a hit, the model that had answered, and how many seconds ago."""
    entry = call.hit
    assert entry is not None  # noqa: S101 - callers check it
    age_ms = max(time.time_ns() // 1_000_000 - entry.created_us // 1000, 0)
    about: dict[str, Any] = {"cache": call.hit_kind, "model": entry.model, "age_seconds": age_ms / 1000}
    if (found := call.semantic_hit) is not None:
        about |= {"matched": found.matched, "similarity": round(found.similarity, 4), "hit_id": found.id}
    return about

"""One call through `thrifty` or a router: what the eight ways of calling a LlamaIndex model have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

from llmthrift_core.attribution import Attribution, call_site_of_prompt, current_attribution, with_call_site
from llmthrift_core.budgets.sizes import StreamedText
from llmthrift_core.cache.keys import UncacheableError, canonical_json, digest
from llmthrift_core.cache.rules import CacheRules, rules_in_force, rules_of
from llmthrift_core.cache.single_flight import time_limit_of, whoami
from llmthrift_core.calls.adapter_call import DoorCall
from llmthrift_core.calls.limiting import Came, Limiting, limits_of
from llmthrift_core.calls.marks import mark_of_call
from llmthrift_core.calls.prefixing import Prefixing
from llmthrift_core.calls.request import CacheUse, Request, Response
from llmthrift_core.calls.shortening import Shortening, ShorteningPolicy
from llmthrift_core.ledger import ids
from llmthrift_core.routing import AnswerContext
from llmthrift_core.routing.requirements import take_requirements
from llmthrift_core.routing.types import Once
from llmthrift_core.versions.door_settings import AS_BUILT
from llmthrift_llamaindex.codec import decode, mark, mark_of
from llmthrift_llamaindex.identity import model_of, provider_of
from llmthrift_llamaindex.limiting import came_of, instructed, limiting_of
from llmthrift_llamaindex.messages import Asked, canonical_messages, system_of
from llmthrift_llamaindex.outgoing import count_outgoing
from llmthrift_llamaindex.prefixing import Integration, advised, sent_prompt
from llmthrift_llamaindex.replay import CachedAnswer
from llmthrift_llamaindex.response import (
    Answer,
    Pieces,
    answer_text,
    calls_of,
    conversation_of,
    count_tool_calls,
    logprobs_of,
    requires_tool,
    response_of,
    schema_of,
    tools_of,
)
from llmthrift_llamaindex.runs import active_tags, attribution_of_tags, current_run, owned_by, path_to
from llmthrift_llamaindex.semantic import asked_question, asked_texts, features_of, semantic_use
from llmthrift_llamaindex.shortening import prompt_of, restore
from llmthrift_llamaindex.target import Behind, can_be_limited, output_limit
from llmthrift_llamaindex.tools import TOOLS

if TYPE_CHECKING:
    from llmthrift_core.cache.policy import CachePolicy
    from llmthrift_core.outgoing import Outgoing


class DrivenCall(DoorCall[Answer]):
    """A call of a LlamaIndex model, wrapped or behind a router.

    Args:
        behind: the model or models.
        method: the name of the called method, such as "astream_chat".
        asked: messages, or a completion's prompt.
        arguments: keyword arguments of the call.
    """

    def __init__(self, behind: Behind, method: str, asked: Asked, arguments: dict[str, Any]) -> None:
        super().__init__(thrift := behind.thrift)
        behind = behind.in_force()
        self._method = method
        self._given = asked
        # Integrations append to the list that they are given, some time after the key was made of it.
        self._asked: Asked = asked if isinstance(asked, str) else list(asked)
        self._sent: Asked = self._asked  # to the model that answers
        rules = rules_in_force(rules_of(arguments.pop("cache", None)))
        max_tier = arguments.pop("max_tier", None)
        sends_as_is, limits = arguments.pop("shorten", None) == "off", arguments.pop("output", None)
        self._arguments = arguments
        use = arguments.get(TOOLS)
        # What the arguments say, for keys and counts: tools have no provider's format yet.
        self._said = arguments if use is None else {**arguments, TOOLS: None, "tools": use.described()}
        tools = arguments.get("tools") if use is None else use.tools
        attribution = attribution_of_tags(active_tags()).over(current_attribution())
        if attribution.call_site is None and not isinstance(self._asked, str) and (system := system_of(self._asked)):
            attribution = with_call_site(attribution, call_site_of_prompt(system))
        required = take_requirements(arguments, active_tags(), attribution)
        self._tuned = AS_BUILT
        if behind.answers.tuning is not None:
            self._tuned, attribution = behind.answers.tuning.for_call(attribution, lambda: _said_by(self._asked).hex())
            behind = behind.tuned(self._tuned)
        self._behind = behind
        self._shortens = None if sends_as_is else behind.answers.shorten
        self._limits = limits_of(limits, behind.answers.output)
        self._pin = behind.pin_of(self._asked, arguments)
        self._tiers = behind.tiers_at_most(max_tier)
        identity = ids.new_request_id()
        trace, parent = current_run()
        only = behind.model(None) if self._tiers is None else None
        shortening = None if self._shortens is None else _shortening(behind, self._asked, self._said, self._shortens)
        limiting = None
        if self._limits is not None:
            limiting = limiting_of(behind, self._asked, self._said, self._limits, partial(_name_of, behind, self._said))
        prefixing = _prefixing(behind, self._asked, self._said, arguments, shortening, limiting, attribution.call_site)
        kept = None if prefixing is None else prefixing.kept_tokens
        route = behind.route(
            self._tiers, self._asked, arguments, attribution, max_tier=max_tier, required=required, pin=self._pin, kept_tokens=kept
        )
        self.request = Request(
            model="" if only is None else str(arguments.get("model") or model_of(only)),
            provider=None if only is None else provider_of(only),
            attribution=attribution,
            request_id=identity,
            run_id=identity,
            trace_id=trace or identity,
            parent_id=parent,
            path=path_to(parent),
            stream="stream" in method,
            prompt=features_of(self._asked, thrift.capture, self._question() if route is None else route.request.question, tools),
            cache=self._cache_use(rules, required.keyed(max_tier), attribution),
            route=route,
            # Nothing that leads back here: a stream that nobody reads ends when the last reference to this call goes.
            outgoing=Once(partial(_outgoing, behind, self._asked, self._said, shortening, limiting)),  # a refused call asks twice
            max_output_tokens=partial(_output_limit, behind, arguments),
            may_clamp=can_be_limited(behind.model(None)),
            shortening=shortening,
            prefixing=prefixing,
            limiting=limiting,
        )

        if route is not None:
            self._tiers = route.tiers  # which the policy may have narrowed
        self._pieces = Pieces(keeps_raw=self.is_reviewed)
        self._streamed: StreamedText | None = None

    def __del__(self) -> None:
        # A stream that nobody began to read: its generator goes without running.
        loop = asyncio._get_running_loop()
        if loop is not None and self.settles:
            loop.call_soon(loop.run_in_executor, None, self.close, GeneratorExit())
        else:
            self.close(GeneratorExit())

    # --- attempts ---

    def owning(self) -> AbstractContextManager[None]:
        """While the model is called inside of this, nobody else records it."""
        return owned_by(self.call)

    def next(self) -> tuple[Any, Asked, dict[str, Any]]:
        """The function to call now, its input and its keyword arguments."""
        call = self.call
        if call.hit is not None:
            answer: Answer = call.answer
            mark(answer, {**mark_of_call(call), "tier": mark_of(answer).get("tier")})
            replayed = CachedAnswer(answer, call.hit.model, self._behind.callback_manager)
            return getattr(replayed, self._method), self._given, {}
        if self._rejected is not None and self._is_kept:
            call.tier, name, answer = self._rejected
            return getattr(CachedAnswer(answer, name, self._behind.callback_manager), self._method), self._given, {}
        self._sent = _sent(self._asked, self.request.shortening, self.request.limiting, call.tier)
        more: dict[str, Any] = {}
        if (prefixing := self.request.prefixing) is not None and (advice := prefixing.advice(call.tier)) is not None:
            self._sent, more = advised(self._sent, self._said, advice, _parameters_of(self._behind, self._said, call.tier))
        given = self._given
        if self._sent is not self._asked:
            given = self._sent if isinstance(self._sent, str) else list(self._sent)  # integrations append to it
        target, asked, arguments = self._behind.prepare(call, self._method, given, {**self._arguments, **more})
        return getattr(target, self._method), asked, arguments

    def whole(self, answer: Answer) -> Answer:
        """The model's answer, with a note of the tier that gave it."""
        if self.call.tier is not None and self.call.hit is None:
            mark(answer, {"tier": self.call.tier})
        return answer

    def finished(self, answer: Answer | None) -> None:
        """As every door's; the answer, of a stream its last piece, is marked when its cost is known. Raises BudgetExceededError."""
        super().finished(answer)
        if self.call.hit is None:
            for each in (answer, self._pieces.last):
                if each is not None:
                    mark(each, mark_of_call(self.call))

    # --- streams ---

    def came(self, piece: Answer) -> None:
        """A piece of a stream has come."""
        self.call.mark_first_token()
        self._pieces.add(self.whole(piece))
        if self.call.holds_money:
            if self._streamed is None:
                self._streamed = StreamedText(self.call.model)
            self._streamed.add(piece.delta or "")

    def _streamed_tokens(self) -> int:
        return 0 if self._streamed is None else self._streamed.tokens_if_over(self.call.covered_tokens)

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
        call.fail(error, None if answer is None else self._response_of(answer, storable=False, is_broken=True))

    # --- what the steps ask for ---

    def _after(self, error: BaseException) -> str | None:
        route = self.request.route
        chars = 0 if route is None else route.request.input_chars
        return self._behind.after(error, self.call.tier, self._tiers, self._tried, chars)

    def _model_of(self, tier: str) -> tuple[str, str | None]:
        model = self._behind.model(tier)
        return str(self._arguments.get("model") or model_of(model)), provider_of(model)

    def _text_of(self, answer: Answer) -> str:
        return answer_text(answer)

    def _tool_calls(self, answer: Answer) -> int:
        return count_tool_calls(answer)

    def _came_of(self, answer: Answer) -> Came:
        return came_of(answer, self._pieces)

    def _response_of(self, answer: Answer, *, storable: bool, is_broken: bool = False) -> Response:
        parameters = _parameters_of(self._behind, self._said, self.call.tier)
        asked, model, pieces = self._sent, self.call.model, self._pieces
        return response_of(
            answer, asked, model, self._provider, storable=storable, parameters=parameters, pieces=pieces, is_broken=is_broken
        )

    def _begins_again(self) -> None:
        self._pieces = Pieces(keeps_raw=self.is_reviewed)
        self._streamed = None

    def _is_answered(self) -> None:
        self._behind.answered(self.call.tier, self._pin)

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
        model, asked, arguments = self._behind.prepare(self.call, self._method, self._given, dict(self._arguments))
        if temperature is not None:
            arguments["temperature"] = temperature
        model = self._behind.metered(tier)
        return answer_text(model.complete(asked, **arguments) if isinstance(asked, str) else model.chat(asked, **arguments))

    # --- what the request says ---

    @property
    def _provider(self) -> str | None:
        return provider_of(self._behind.model(self.call.tier))

    def _question(self) -> str:
        try:
            return asked_question(self._asked, self._behind.answers.extract_question)
        except Exception as error:  # a function of the application's, which fails open where it serves the cache too
            self._thrift.note_failure("features", error, (str(self._asked),))
            return ""

    def _cache_use(self, rules: CacheRules, max_tier: Any, attribution: Attribution) -> CacheUse | None:
        policy = self._behind.answers.policy
        if policy is None or rules.mode == "off":
            return None
        try:
            return rules.ruled(self._keyed(policy, rules, max_tier, attribution))
        except UncacheableError as error:
            self._thrift.cache.note_uncacheable(str(error))
        except Exception as error:  # a message of a shape that nobody foresaw is not worth a broken call
            self._thrift.note_failure("cache", error, (str(self._asked),))
        return None

    def _keyed(self, policy: CachePolicy, rules: CacheRules, max_tier: Any, attribution: Attribution) -> CacheUse:
        asked, answers = self._asked, self._behind.answers
        identity, parameters = self._behind.identity(self._said), canonical_json({"max_tier": max_tier, **self._tuned.key})
        if self._shortens is not None:
            identity = digest("shortened", identity, self._shortens.identity().encode())
        if self._limits is not None:
            identity = digest("limited", identity, self._limits.identity().encode())
        is_chat = not isinstance(asked, str)
        what = _said_by(asked)
        texts = partial(asked_texts, asked, answers.extract_question)
        conversation = rules.conversation(digest("chat" if is_chat else "complete", what))
        key = policy.key(identity, conversation, digest("parameters", parameters), attribution=attribution, asked=texts)
        semantic = None
        if answers.semantic is not None:
            semantic = semantic_use(
                answers.semantic,
                asked,
                identity,
                parameters,
                owner=policy.owner(texts, attribution),
                temperature=self._arguments.get("temperature", getattr(self._behind.model(None), "temperature", None)),
                extract_question=answers.extract_question,
            )
        limit = partial(time_limit_of, self._said, vars(self._behind.model(None)))
        decoded = partial(decode, is_chat=is_chat)
        return CacheUse(key, policy, decoded, rules.mode or "on", caller=whoami(), semantic=semantic, wait_seconds=limit)


def _said_by(asked: Asked) -> bytes:
    """All that was asked, in one form."""
    return asked.encode("utf-8", "surrogatepass") if isinstance(asked, str) else canonical_json(canonical_messages(asked))


def _outgoing(
    behind: Behind, asked: Asked, said: Mapping[str, Any], shortening: Shortening | None, limiting: Limiting | None, tier: str | None
) -> Outgoing:
    return count_outgoing(_sent(asked, shortening, limiting, tier), _name_of(behind, said, tier), *_parameters_of(behind, said, tier))


def _name_of(behind: Behind, said: Mapping[str, Any], tier: str | None) -> str:
    return str(said.get("model") or model_of(behind.model(tier)))


def _sent(asked: Asked, shortening: Shortening | None, limiting: Limiting | None, tier: str | None) -> Asked:
    """What is sent to a tier's model."""
    shortened: Asked | None = None if shortening is None else shortening.messages(tier)
    sent = asked if shortened is None else shortened
    instruction = "" if limiting is None else limiting.instruction(tier)
    return instructed(sent, instruction) if instruction else sent


def _prefixing(
    behind: Behind,
    asked: Asked,
    said: Mapping[str, Any],
    arguments: Mapping[str, Any],
    shortening: Shortening | None,
    limiting: Limiting | None,
    call_site: str | None,
) -> Prefixing | None:
    planners, thrift = behind.answers.planners, behind.thrift
    if planners is None:
        return None
    return Prefixing(
        planners,
        thrift.prices,
        prompt=lambda tier: sent_prompt(
            _sent(asked, shortening, limiting, tier), said, _parameters_of(behind, said, tier), _name_of(behind, said, tier)
        ),
        model_of=lambda tier: (_name_of(behind, said, tier), provider_of(behind.model(tier))),
        call_site=call_site,
        now=thrift.now,
        note=thrift.note_failure,
        client=lambda tier: Integration(behind.model(tier), arguments),
        given=lambda tier: sent_prompt(asked, said, _parameters_of(behind, said, tier), _name_of(behind, said, tier)),
    )


def _shortening(behind: Behind, asked: Asked, said: Mapping[str, Any], policy: ShorteningPolicy) -> Shortening:
    return Shortening(
        policy,
        prompt=partial(prompt_of, asked),
        restore=partial(restore, asked=asked),
        model_of=partial(_name_of, behind, said),
        note=behind.thrift.note_failure,
    )


def _parameters_of(behind: Behind, said: Mapping[str, Any], tier: str | None) -> tuple[Mapping[str, Any], ...]:
    """What decides the call of a tier's model, in the order of precedence."""
    return said, vars(behind.model(tier))


def _output_limit(behind: Behind, arguments: Mapping[str, Any], tier: str | None) -> int | None:
    return output_limit(behind.model(tier), arguments)

"""One call of a model that speaks OpenAI's protocol, from the request as it came to its row."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.attribution import Attribution, call_site_of_prompt, current_attribution, with_call_site
from llmthrift_core.budgets.sizes import StreamedText, max_output_tokens
from llmthrift_core.cache.keys import UncacheableError, canonical_json, digest
from llmthrift_core.cache.rules import CacheRules, rules_in_force, rules_of
from llmthrift_core.cache.semantic.question import MOST_TEMPERATURE, split_turn
from llmthrift_core.cache.single_flight import time_limit_of, whoami
from llmthrift_core.cache.wholeness import are_arguments, ends_in, flaw_of
from llmthrift_core.calls.adapter_call import DoorCall
from llmthrift_core.calls.limiting import Came, Limiting
from llmthrift_core.calls.request import CacheUse, PromptFeatures, Request, Response, RouteUse, SemanticUse
from llmthrift_core.calls.shortening import Shortening
from llmthrift_core.ledger import ids
from llmthrift_core.outgoing import Outgoing, outgoing_of
from llmthrift_core.routing import AnswerContext, RouteRequest
from llmthrift_core.routing.failsafe import allowed_tiers, policy_identity
from llmthrift_core.routing.requirements import take_requirements
from llmthrift_core.service.direct.upstream import PROVIDER
from llmthrift_core.service.direct.wire import (
    Chunks,
    Completion,
    Messages,
    before_tools,
    canonical,
    has_media,
    is_of_tools,
    pairs_of,
    question_of,
    sent_of,
    system_of,
    text_of,
)
from llmthrift_core.usage import Usage
from llmthrift_core.usage.block import billed_tier, read_usage
from llmthrift_core.usage.payloads import payload_cost_usd
from llmthrift_core.versions.door_settings import AS_BUILT

if TYPE_CHECKING:
    from llmthrift_core.cache.policy import CachePolicy
    from llmthrift_core.cache.semantic.cache import SemanticCache
    from llmthrift_core.prompts.output_limits import OutputLimits
    from llmthrift_core.service.backend import Asked
    from llmthrift_core.service.direct.models import Models

_VERSION: Final = b"oa1:"
_LIMITS: Final[tuple[str, ...]] = ("max_completion_tokens", "max_tokens")
_SHAPES: Final = ("tools", "response_format")
_UNKEPT: Final = ("id", "created", "usage", "object")


class DirectCall(DoorCall[Completion]):
    """A call of one of several models.

    Args:
        models: that may be asked, and how one is chosen.
        asked: the request.
        stream: the answer comes in chunks.
    """

    def __init__(self, models: Models, asked: Asked, *, stream: bool) -> None:
        super().__init__(thrift := models.thrift)
        models = models.in_force()
        self._loop = asyncio.get_running_loop()
        self._messages: Messages = asked.messages
        self._arguments = arguments = arguments_of(asked)
        attribution = current_attribution()
        if attribution.call_site is None and (system := system_of(self._messages)):
            attribution = with_call_site(attribution, call_site_of_prompt(system))
        required = take_requirements({}, {}, attribution)
        self._tuned = AS_BUILT
        if models.tuning is not None:
            self._tuned, attribution = models.tuning.for_call(attribution, lambda: canonical_json(canonical(self._messages)).hex())
            models = models.tuned(self._tuned)
        self._models = models
        shorten = models.shorten if asked.shorten else None
        max_tier = asked.max_tier if asked.tier is None else None
        allowed = self._tuned.tiers(models.tiers.within(models.max_tier, max_tier))
        self._shortening = shortening = None
        if shorten is not None:
            self._shortening = shortening = Shortening(
                shorten,
                prompt=lambda: [dict(each) for each in asked.messages],
                restore=lambda messages: messages,
                model_of=models.name_of,
                note=thrift.note_failure,
            )
        self._limiting = limiting = None if models.output is None else _limiting(models.output, models, self._messages, arguments)
        identity = ids.new_request_id()
        route = _route(models, allowed, self._messages, arguments, attribution, max_tier, required)
        self._tiers = route.tiers
        features = None
        if thrift.capture != "off":
            features = PromptFeatures.of(
                pairs_of(self._messages), thrift.capture, question=route.request.question, tools=arguments.get("tools")
            )
        rules = rules_in_force(rules_of(None if asked.use_cache else "off"))
        self.request = Request(
            attribution=attribution,
            request_id=identity,
            run_id=identity,
            trace_id=identity,
            stream=stream,
            prompt=features,
            cache=self._cache_use(rules, required.keyed(max_tier), attribution, shorten),
            route=route,
            outgoing=cache(partial(_outgoing, models, self._messages, arguments, shortening, limiting)),  # a refused call asks twice
            max_output_tokens=lambda tier: max_output_tokens(arguments, models.upstream(tier).parameters),
            may_clamp=True,
            shortening=shortening,
            limiting=limiting,
        )
        self._chunks = Chunks()
        self._streamed: StreamedText | None = None

    # --- attempts ---

    @property
    def ready(self) -> Completion | None:
        """The answer, where no model is to be asked: the cache has it, or one that was rejected is kept after all."""
        call = self.call
        if call.hit is not None:
            answer: Completion = call.answer
            answer.body |= {"id": f"chatcmpl-{call.request_id}", "object": "chat.completion", "created": int(time.time())}
            answer.body.setdefault("model", call.hit.model)
            return answer
        if self._rejected is not None and self._is_kept:
            call.tier, _, kept = self._rejected
            return kept
        return None

    def body(self) -> dict[str, Any]:
        """What is sent to the model of this attempt."""
        call = self.call
        upstream = self._models.upstream(call.tier)
        messages = _sent(self._messages, self._shortening, self._limiting, call.tier)
        parameters = dict(upstream.parameters)
        if not self._arguments.keys().isdisjoint(_LIMITS):
            parameters = {name: value for name, value in parameters.items() if name not in _LIMITS}
        body = {"model": upstream.name, "messages": list(messages), **parameters, **self._arguments}
        if (limit := call.max_output_tokens) is not None:
            stated = [name for name in _LIMITS if name in body] or [upstream.limit_name]
            body |= dict.fromkeys(stated, limit)
        if call.effort is not None:
            body["reasoning_effort"] = call.effort
        return body

    def came(self, chunk: Mapping[str, Any]) -> str:
        """A chunk of a stream has come. Returns the text that it brought."""
        self.call.mark_first_token()
        brought = self._chunks.add(chunk)
        if self.call.holds_money:
            if self._streamed is None:
                self._streamed = StreamedText(self.call.model)
            self._streamed.add(brought)
        return brought

    @property
    def has_begun(self) -> bool:
        """Whether a chunk of the stream has come."""
        return self._chunks.have_come

    def together(self) -> Completion | None:
        """The answer that the chunks make."""
        return self._chunks.together()

    def broken_off(self, error: BaseException) -> None:
        """A stream ended early: what had come is settled and recorded, and not stored."""
        if self.call.hit is not None:
            self.call.finish_hit()
            return
        answer = self._chunks.together()
        self.call.fail(error, None if answer is None else self._response_of(answer, storable=False, is_broken=True))

    def _streamed_tokens(self) -> int:
        return 0 if self._streamed is None else self._streamed.tokens_if_over(self.call.covered_tokens)

    # --- what the steps ask for ---

    def _after(self, error: BaseException) -> str | None:
        route = self.request.route
        return self._models.after(error, self.call.tier, self._tiers, self._tried, 0 if route is None else route.request.input_chars)

    def _model_of(self, tier: str) -> tuple[str, str | None]:
        return self._models.name_of(tier), PROVIDER

    def _text_of(self, answer: Completion) -> str:
        return answer.text

    def _tool_calls(self, answer: Completion) -> int:
        return len(answer.tool_calls)

    def _came_of(self, answer: Completion) -> Came:
        return Came(answer.content, answer.says, ends_in(answer.body))

    def _begins_again(self) -> None:
        self._chunks, self._streamed = Chunks(), None

    def _response_of(self, answer: Completion, *, storable: bool, is_broken: bool = False) -> Response:
        body, call = answer.body, self.call
        block = body.get("usage")
        usage = read_usage(block, provider=PROVIDER) if isinstance(block, Mapping) else None
        if usage is not None and (tier := billed_tier(body)) is not None:
            usage = replace(usage, service_tier=tier)
        cost = None if block is None else payload_cost_usd(block)
        response = Response(
            usage=usage,
            estimate=partial(_estimate, self.request.outgoing, call.tier, answer, call.model),
            model=body.get("model") if isinstance(body.get("model"), str) else None,
            provider_cost_usd=None if cost is None else float(cost),
            text=lambda: answer.text,
            is_broken=is_broken,
            response_id=body.get("id") if isinstance(body.get("id"), str) else None,
            called=lambda: [each.name for each in answer.tool_calls],
        )
        if storable:
            answer.tier = call.tier
            response.payload, response.flaw = partial(encode, answer), partial(_flaw, answer)
        return response

    def _context(self, answer: Completion, tier: str, *, is_out: bool) -> AnswerContext:
        call, arguments = self.call, self._arguments
        again = partial(self._models.again, self._loop, tier, self._messages, arguments)
        return AnswerContext(
            logprobs=lambda: answer.logprobs,
            tool_calls=lambda: answer.tool_calls,
            tools=lambda: _tools(arguments),
            tool_required=lambda: arguments.get("tool_choice") not in (None, "auto", "none"),
            schema=lambda: _schema(arguments),
            conversation=lambda: "\n".join(f"{role}: {text}" for role, text in pairs_of(self._messages)),
            ask_again=lambda: again,
            attribution=lambda: call.attribution,
            request_id=lambda: call.request_id,
            is_out=lambda: is_out,
        )

    # --- the cache ---

    def _cache_use(self, rules: CacheRules, limits: Any, attribution: Attribution, shorten: Any) -> CacheUse | None:
        policy = self._models.cache
        if policy is None or rules.mode == "off":
            return None
        try:
            return rules.ruled(self._keyed(policy, rules, limits, attribution, shorten))
        except UncacheableError as error:
            self._thrift.cache.note_uncacheable(str(error))
        except Exception as error:  # a message of a shape that nobody foresaw is not worth a broken call
            self._thrift.note_failure("cache", error, tuple(text for _, text in pairs_of(self._messages)))
        return None

    def _keyed(self, policy: CachePolicy, rules: CacheRules, limits: Any, attribution: Attribution, shorten: Any) -> CacheUse:
        models, messages = self._models, canonical(self._messages)
        identity = digest("direct", policy_identity(models.policy), canonical_json(models.max_tier), models.identity)
        if shorten is not None:
            identity = digest("shortened", identity, shorten.identity().encode())
        if models.output is not None:
            identity = digest("limited", identity, models.output.identity().encode())
        parameters = canonical_json({"limits": limits, "sent": self._arguments, **self._tuned.key})
        texts = partial(_texts_of_user, self._messages)
        key = policy.key(identity, rules.conversation(canonical_json(messages)), parameters, attribution=attribution, asked=texts)
        semantic = None
        if models.semantic is not None:
            owner = policy.owner(texts, attribution)
            semantic = _semantic_use(
                models.semantic, self._messages, messages, digest("beside", identity, parameters), owner, self._arguments
            )
        timeout = {"timeout": models.upstream(None).timeout_seconds}
        return CacheUse(
            key, policy, decode, rules.mode or "on", caller=whoami(), semantic=semantic, wait_seconds=partial(time_limit_of, timeout)
        )


def arguments_of(asked: Asked) -> dict[str, Any]:
    """What is sent beside the messages."""
    found = dict(asked.parameters)
    if asked.tools:
        found["tools"] = [dict(each) for each in asked.tools]
        if asked.tool_choice is not None:
            found["tool_choice"] = asked.tool_choice
    if asked.number > 1:
        found["n"] = asked.number
    return found


def encode(answer: Completion) -> bytes:
    """What is stored of an answer: all but its name, its time and its bill."""
    kept = {name: value for name, value in answer.body.items() if name not in _UNKEPT}
    return _VERSION + json.dumps({"tier": answer.tier, "body": kept}, allow_nan=False, separators=(",", ":")).encode()


def decode(payload: bytes) -> Completion:
    """A stored answer. Raises ValueError: it was not written by `encode`."""
    if not payload.startswith(_VERSION):
        raise ValueError("not written by this codec version")
    found = json.loads(payload[len(_VERSION) :])
    if not isinstance(found, dict) or not isinstance(body := found.get("body"), dict) or not isinstance(body.get("choices"), list):
        raise ValueError("not a stored answer")
    return Completion(body, found.get("tier"))


def _route(
    models: Models, tiers: Any, messages: Messages, arguments: Mapping[str, Any], attribution: Attribution, max_tier: Any, required: Any
) -> RouteUse:
    """How a call is routed. A loop of tools is judged by what it began with."""
    begun = messages if models.policy.decides_each_step else before_tools(messages)
    pairs = pairs_of(begun)
    request = RouteRequest(
        question=question_of(begun),
        system=system_of(begun),
        history_messages=len(pairs),
        input_chars=sum(len(text) for _, text in pairs),
        has_tools=bool(arguments.get("tools")),
        has_images=has_media(messages),
        structured=arguments.get("response_format") is not None,
        attribution=attribution,
        max_tier=max_tier,
        required_quality=required.required_quality,
        max_latency_seconds=required.max_latency_seconds,
        tool_calls=cache(lambda: Completion({"choices": [{"message": each} for each in messages[len(begun) :]]}).tool_calls),
    )
    allowed = allowed_tiers(models.policy, request, tiers)
    return RouteUse(models.policy, allowed, request, models.named, models.baseline_within(allowed))


def _sent(messages: Messages, shortening: Shortening | None, limiting: Limiting | None, tier: str | None) -> Messages:
    """What is sent to a tier's model."""
    shortened: Messages | None = None if shortening is None else shortening.messages(tier)
    sent = messages if shortened is None else shortened
    instruction = "" if limiting is None else limiting.instruction(tier)
    if not instruction:
        return sent
    for place, message in enumerate(sent):
        if message["role"] in ("system", "developer") and isinstance(message.get("content"), str):
            told = {**message, "content": f"{message['content']}\n{instruction}"}
            return [*sent[:place], told, *sent[place + 1 :]]
    return [{"role": "system", "content": instruction}, *sent]


def _outgoing(
    models: Models,
    messages: Messages,
    arguments: Mapping[str, Any],
    shortening: Shortening | None,
    limiting: Limiting | None,
    tier: str | None,
) -> Outgoing:
    sent = map(sent_of, _sent(messages, shortening, limiting, tier))
    return outgoing_of(sent, models.name_of(tier), arguments, models.upstream(tier).parameters)


def _limiting(output: OutputLimits, models: Models, messages: Messages, arguments: Mapping[str, Any]) -> Limiting:
    return Limiting(
        output,
        prompt=lambda: [dict(each) for each in messages],
        model_of=models.name_of,
        own_limit=lambda tier: max_output_tokens(arguments, models.upstream(tier).parameters),
        may_cap=lambda tier: True,
        may_weigh=lambda tier: arguments.get("reasoning_effort") is None,
        is_shaped=lambda tier: any(arguments.get(name) for name in _SHAPES),
        note=models.thrift.note_failure,
    )


def _semantic_use(
    cache: SemanticCache, messages: Messages, canonical_form: list[Any], beside: bytes, owner: str | None, arguments: Mapping[str, Any]
) -> SemanticUse | None:
    """How a request may be answered by meaning; None if it may not. Everything but the text of the last user message must be equal."""
    temperature = arguments.get("temperature")
    if isinstance(temperature, int | float) and temperature > MOST_TEMPERATURE:
        return None
    if not messages or messages[-1]["role"] != "user" or has_media(messages[-1:]) or any(map(is_of_tools, messages)):
        return None
    parts = split_turn(text_of(messages[-1]))
    if parts is None or not parts[1].strip():
        return None
    *earlier, last = canonical_form
    others = [*earlier, {name: value for name, value in last.items() if name != "content"}, *([{"owner": owner}] if owner else [])]
    context, question = parts
    scope = digest("semantic", b"direct", beside, canonical_json(others), context.encode("utf-8", "surrogatepass"))
    return SemanticUse(cache, question, scope)


def _texts_of_user(messages: Messages) -> list[str]:
    return [text_of(each) for each in messages if each["role"] == "user"]


def _estimate(outgoing: Any, tier: str | None, answer: Completion, model: str) -> Usage:
    """Count tokens offline, for servers that report no usage."""
    from llmthrift_core.usage.tokens import count_tokens

    text = answer.text
    received = count_tokens(text, model).tokens if text else 0
    return Usage(input_tokens=outgoing(tier).likely_tokens, output_tokens=received, estimated=True)


def _flaw(answer: Completion) -> str | None:
    """Why an answer must not be kept; None if it is whole and good."""
    whole = all(are_arguments(call.arguments) for call in answer.tool_calls)
    return flaw_of(ends_in(answer.body), says=answer.says, calls_are_whole=whole, must_end=True)


def _tools(arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    found = {}
    for tool in arguments.get("tools") or ():
        function = tool.get("function")
        if not isinstance(function, Mapping) or not isinstance(function.get("parameters"), Mapping):
            return None
        found[str(function.get("name"))] = function["parameters"]
    return found or None


def _schema(arguments: Mapping[str, Any]) -> Any:
    """What the answer's text must fit: a JSON schema, {} for any JSON, or None."""
    asked = arguments.get("response_format")
    if not isinstance(asked, Mapping):
        return None
    described = asked.get("json_schema")
    return described.get("schema") or {} if isinstance(described, Mapping) else {} if asked.get("type") == "json_object" else None

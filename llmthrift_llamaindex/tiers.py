"""Several models, as a driven call sees them: which one is called, and what is called after it failed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, cast

from llama_index.core.base.llms.types import ChatResponse

from llmthrift_core.background.forks import ForkedLock
from llmthrift_core.cache.keys import canonical_json, digest
from llmthrift_core.calls.request import RouteUse
from llmthrift_core.routing import RouteDecision, RouteRequest, RoutingPolicy, Tiers, ToolCall
from llmthrift_core.routing.failsafe import allowed_tiers, policy_identity
from llmthrift_core.routing.types import Once
from llmthrift_core.versions.door_settings import AS_BUILT
from llmthrift_llamaindex.identity import identity_of, model_of, provider_of
from llmthrift_llamaindex.messages import Asked, before_tools, has_media, has_tool_turns, system_of
from llmthrift_llamaindex.response import calls_of, pairs_of
from llmthrift_llamaindex.runs import active_tags, current_run, is_agent_step, workflow_run
from llmthrift_llamaindex.semantic import asked_question
from llmthrift_llamaindex.target import bounded
from llmthrift_llamaindex.thrifty_model import thrifty
from llmthrift_llamaindex.tools import TOOLS, ToolUse

if TYPE_CHECKING:
    from llama_index.core.callbacks import CallbackManager

    from llmthrift_core.attribution import Attribution
    from llmthrift_core.calls.call import Call
    from llmthrift_core.calls.refusals import OnBudget
    from llmthrift_core.routing.fallback_chain import FallbackChain
    from llmthrift_core.routing.requirements import Requirements
    from llmthrift_core.thrift import Thrift
    from llmthrift_core.versions.door_settings import DoorSettings
    from llmthrift_llamaindex.target import Answers

_MOST_RUNS: Final = 10_000


class Pins:
    """The tiers of the runs under way, the latest in memory. Safe to share between threads."""

    def __init__(self) -> None:
        self._tiers: OrderedDict[str, str] = OrderedDict()
        self._lock = ForkedLock()

    def of(self, run: str) -> str | None:
        """The tier that a run keeps; None before its first answer."""
        return self._tiers.get(run)

    def keep(self, run: str, tier: str) -> None:
        """A tier has answered in a run."""
        with self._lock:
            self._tiers[run] = tier
            self._tiers.move_to_end(run)
            if len(self._tiers) > _MOST_RUNS:
                self._tiers.popitem(last=False)


class Pinned(RoutingPolicy):
    """Stands in the place of a policy, to keep a tier which an earlier call of the run has taken. Its answers are not reviewed."""

    def __init__(self, tier: str, policy: RoutingPolicy) -> None:
        self._tier = tier
        self._policy = policy

    @property
    def version(self) -> str:
        """The policy's that chose."""
        return self._policy.version

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        """The kept tier; the strongest allowed one, should a caller's limit exclude it."""
        if self._tier in tiers.names:
            return RouteDecision(self._tier, "kept for the run of an agent")
        return RouteDecision(tiers.names[-1], f"{self._tier} is kept for the run, and not allowed to this call")


@dataclass(frozen=True, slots=True)
class ManyModels:
    """The models of a router, and how one of them is chosen.

    Attributes:
        models: by tier, cheapest first.
        tiers: their order.
        policy: decides.
        fallbacks, max_tier, baseline, on_budget: as for `RouterLLM`.
        settings: what `tuning` says of one call.
    """

    thrift: Thrift
    answers: Answers
    models: Mapping[str, Any]
    tiers: Tiers
    policy: RoutingPolicy
    fallbacks: FallbackChain | None = None
    max_tier: str | None = None
    baseline: str | None = None
    on_budget: OnBudget = "raise"
    settings: DoorSettings = AS_BUILT
    _pins: Pins = field(default_factory=Pins, repr=False)

    @property
    def callback_manager(self) -> CallbackManager:
        """Of the baseline's model."""
        return cast("CallbackManager", self.model(None).callback_manager)

    def in_force(self) -> Self:
        """With the policy as one call uses it."""
        policy = self.policy.in_force()
        return self if policy is self.policy else replace(self, policy=policy)

    def tuned(self, settings: DoorSettings) -> Self:
        """As the settings of one call say."""
        return replace(self, answers=self.answers.tuned(settings, self.thrift), settings=settings)

    def identity(self, arguments: Mapping[str, Any]) -> bytes:
        """Stands in a cache key for tiers, models, policy and the arguments of a call. Raises UncacheableError: one looks like another."""
        parts = [part for name, llm in self.models.items() for part in (name.encode(), identity_of(llm, arguments))]
        return digest("router", policy_identity(self.policy), canonical_json(self.max_tier), *parts)

    def tiers_at_most(self, max_tier: str | None) -> Tiers:
        """The tiers that both the router and the caller allow.

        Raises:
            ConfigurationError: no such tier, or none is left.
        """
        return self.settings.tiers(self.tiers.within(self.max_tier, max_tier))

    def pin_of(self, asked: Asked, arguments: Mapping[str, Any]) -> str | None:
        """The run whose calls keep one tier: an agent's, or any workflow's loop of tools."""
        tags = active_tags()
        run = workflow_run(tags)
        if run is None:
            return None
        in_loop = _has_tools(arguments) or is_agent_step(tags) or (not isinstance(asked, str) and has_tool_turns(asked))
        return run if in_loop else None

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
    ) -> RouteUse:
        """How a call is routed. A loop of tools is judged by what it began with."""
        each_step = self.policy.decides_each_step
        begun: Asked = asked if isinstance(asked, str) or each_step else before_tools(asked)
        pairs = pairs_of(begun)
        kept = None if pin is None or each_step else self._pins.of(pin)
        request = RouteRequest(
            question=asked_question(begun, self.answers.extract_question),
            system="" if isinstance(begun, str) else system_of(begun),
            history_messages=len(pairs),
            input_chars=sum(len(text) for _, text in pairs),
            has_tools=_has_tools(arguments),
            has_images=not isinstance(asked, str) and has_media(asked),
            structured=arguments.get("response_format") is not None,
            attribution=attribution,
            max_tier=max_tier,
            required_quality=required.required_quality,
            max_latency_seconds=required.max_latency_seconds,
            run=current_run()[0],
            tool_calls=Once(partial(_tool_calls, asked)),
            metadata=active_tags(),
            kept_tokens=kept_tokens,
        )
        allowed = allowed_tiers(self.policy, request, self.tiers if tiers is None else tiers)
        return RouteUse(
            policy=self.policy if kept is None else Pinned(kept, self.policy),
            tiers=allowed,
            request=request,
            # A call may override the model's name: llm.chat(messages, model="other").
            models={name: (str(arguments.get("model") or model_of(llm)), provider_of(llm)) for name, llm in self.models.items()},
            baseline=self._baseline_within(allowed),
        )

    def model(self, tier: str | None) -> Any:
        """The LLM of a tier; the baseline's where None is given."""
        return self.models[self._baseline_within(self.tiers) if tier is None else tier]

    def metered(self, tier: str | None) -> Any:
        """The model of a tier, metered and bounded alone."""
        return thrifty(self.model(tier), self.thrift, cache=False)

    def prepare(self, call: Call, method: str, asked: Asked, arguments: dict[str, Any]) -> tuple[Any, Asked, dict[str, Any]]:
        """The tier's model, with tools in its provider's format."""
        llm = bounded(self.model(call.tier), call)
        use: ToolUse | None = arguments.pop(TOOLS, None)
        if use is not None and not isinstance(asked, str):
            asked, prepared = use.prepared(llm, asked)
            arguments = {**prepared, **arguments}
        return llm, asked, arguments

    def after(self, error: BaseException, tier: str | None, tiers: Tiers | None, tried: Sequence[str], input_chars: int) -> str | None:
        """The tier to try after one failed, or None."""
        if self.fallbacks is None or tiers is None:
            return None
        named = {name: (model_of(llm), provider_of(llm)) for name, llm in self.models.items()}
        prices = self.thrift.prices
        return self.fallbacks.next(error, tier, tiers, tried=tried, input_chars=input_chars, named=named, prices=prices)

    def answered(self, tier: str | None, pin: str | None) -> None:
        """A tier has answered: the run keeps it."""
        if pin is not None and tier is not None:
            self._pins.keep(pin, tier)

    def _baseline_within(self, tiers: Tiers) -> str:
        return self.baseline if self.baseline in tiers.names and self.baseline is not None else tiers.names[-1]


def _tool_calls(asked: Asked) -> tuple[ToolCall, ...]:
    """The tools that were called since the last question, in order."""
    if isinstance(asked, str):
        return ()
    loop = asked[len(before_tools(asked)) :]
    return tuple(call for message in loop for call in calls_of(ChatResponse(message=message)))


def _has_tools(arguments: Mapping[str, Any]) -> bool:
    return TOOLS in arguments or bool(arguments.get("tools"))

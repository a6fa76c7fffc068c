"""The models of a service that all speak OpenAI's protocol: which one is asked, and which after it failed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.cache.keys import canonical_json, digest
from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.calls.limiting import checked
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing import RouteDecision, RouteRequest, RoutingPolicy, Tiers, as_policy
from llmthrift_core.routing.clients import in_order
from llmthrift_core.routing.fallback_chain import chain_of
from llmthrift_core.service.backend import Asked
from llmthrift_core.service.direct.upstream import PROVIDER, Upstream
from llmthrift_core.versions.door_settings import tuning_of

if TYPE_CHECKING:
    from llmthrift_core.cache.semantic.cache import SemanticCache
    from llmthrift_core.calls.shortening import ShorteningPolicy
    from llmthrift_core.prompts.output_limits import OutputLimits
    from llmthrift_core.routing.fallback_chain import FallbackChain
    from llmthrift_core.service.direct.wire import Messages
    from llmthrift_core.thrift import Thrift
    from llmthrift_core.versions.door_settings import DoorSettings, SettingsSource

OPTIONS: Final = frozenset({"policy", "cache", "shorten", "output", "fallbacks", "max_tier", "baseline", "tuning"})
"""What can be said of such models; whoever says more is served by a framework."""


class OnlyTier(RoutingPolicy):
    """The policy of a tier that is asked for by its name."""

    def __init__(self, tier: str) -> None:
        self._decision = RouteDecision(tier, "asked for by its name")

    @property
    def version(self) -> str:
        """The tier."""
        return f"only {self._decision.tier}"

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        """That tier."""
        return self._decision


@dataclass(frozen=True, slots=True)
class Models:
    """Models by tier, and how one of them is chosen.

    Attributes:
        upstreams: by tier, cheapest first.
        tiers: their order.
        policy: decides.
        cache: how answers are kept; None: they are not. semantic: asked after the exact cache has missed, or None.
        shorten, output, tuning, fallbacks, max_tier, baseline: as for a framework's router.
        ask: asks one of them once more, past the cache, for a policy that compares answers.
        named: by tier, the names of its model and provider.
        identity: stands for all of them in a cache key.
    """

    thrift: Thrift
    upstreams: Mapping[str, Upstream]
    tiers: Tiers
    policy: RoutingPolicy
    cache: CachePolicy | None = None
    semantic: SemanticCache | None = None
    shorten: ShorteningPolicy | None = None
    output: OutputLimits | None = None
    tuning: SettingsSource | None = None
    fallbacks: FallbackChain | None = None
    max_tier: str | None = None
    baseline: str | None = None
    ask: Callable[[Asked], Awaitable[str]] | None = None
    named: dict[str, tuple[str, str | None]] = field(init=False, repr=False)
    identity: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "named", {tier: (each.name, PROVIDER) for tier, each in self.upstreams.items()})
        told = {tier: [each.base_url, each.name, dict(each.parameters)] for tier, each in self.upstreams.items()}
        object.__setattr__(self, "identity", digest("models", canonical_json(told)))

    def in_force(self) -> Models:
        """With the policy as one call uses it."""
        policy = self.policy.in_force()
        return self if policy is self.policy else replace(self, policy=policy)

    def tuned(self, settings: DoorSettings) -> Models:
        """As the settings of one call say."""
        return replace(
            self,
            cache=settings.policy(self.cache),
            semantic=None if settings.semantic is False else self.semantic,
            shorten=settings.shortening(self.shorten),
            output=settings.limits(self.output),
        )

    def only(self, tier: str) -> Models:
        """One of them, which is asked for by its name."""
        return replace(
            self,
            upstreams={tier: self.upstreams[tier]},
            tiers=Tiers((tier,), self.tiers.price_tier),
            policy=OnlyTier(tier),
            fallbacks=None,
            max_tier=None,
            baseline=None,
        )

    def upstream(self, tier: str | None) -> Upstream:
        """The model of a tier; the baseline's where None is given."""
        return self.upstreams[self.baseline_within(self.tiers) if tier is None else tier]

    def name_of(self, tier: str | None) -> str:
        """The name of a tier's model."""
        return self.upstream(tier).name

    def baseline_within(self, tiers: Tiers) -> str:
        """The tier that would answer without routing."""
        return self.baseline if self.baseline is not None and self.baseline in tiers.names else tiers.names[-1]

    def after(self, error: BaseException, tier: str | None, tiers: Tiers, tried: Sequence[str], input_chars: int) -> str | None:
        """The tier to try after one failed, or None."""
        if self.fallbacks is None:
            return None
        prices = self.thrift.prices
        return self.fallbacks.next(error, tier, tiers, tried=tried, input_chars=input_chars, named=self.named, prices=prices)

    def again(
        self, loop: asyncio.AbstractEventLoop, tier: str, messages: Messages, arguments: Mapping[str, Any], temperature: float | None
    ) -> str:
        """Another answer of a tier's model, as a call of its own. For the threads of policies: it waits for the event loop."""
        assert self.ask is not None  # noqa: S101 - a backend gives it
        parameters = dict(arguments) if temperature is None else {**arguments, "temperature": temperature}
        asked = Asked(messages, tier=tier, parameters=parameters, use_cache=False, shorten=False)
        return asyncio.run_coroutine_threadsafe(self.ask(asked), loop).result()  # type: ignore[arg-type]


def models_of(
    thrift: Thrift, upstreams: Mapping[str, Upstream], *, ask: Callable[[Asked], Awaitable[str]] | None = None, **options: Any
) -> Models:
    """The models of a service, and how it chooses among them.

    Args:
        options: as for a framework's router; see OPTIONS. `cache` is True, False, a CachePolicy, or a mapping of options of one with
            `semantic` (True, or a similarity) and `semantic_ttl_seconds`.

    Raises:
        ConfigurationError: an option that cannot be used.
    """
    prices = thrift.prices
    named = {tier: (each.name, PROVIDER) for tier, each in upstreams.items()}
    ordered = in_order(upstreams, named, prices, order="given")
    tiers = Tiers(tuple(ordered), price_tier=lambda name: prices.tier(named[name][0], provider=PROVIDER))
    max_tier, baseline = options.get("max_tier"), options.get("baseline")
    if max_tier is not None:
        tiers.at_most(max_tier)
    if baseline is not None and baseline not in ordered:
        raise ConfigurationError(f"baseline={baseline!r} is not a tier: {', '.join(ordered)}")
    tuning = options.get("tuning")
    cache, semantic = _caches(thrift, options.get("cache", True))
    return Models(
        thrift,
        ordered,
        tiers,
        as_policy(options.get("policy")),
        cache=cache,
        semantic=semantic,
        shorten=options.get("shorten"),
        output=checked(options.get("output")),
        tuning=None if tuning is None else tuning_of(tuning, thrift.configurations.follow),
        fallbacks=chain_of(options.get("fallbacks", True), tiers.names),
        max_tier=max_tier,
        baseline=baseline,
        ask=ask,
    )


def _caches(thrift: Thrift, given: Any) -> tuple[CachePolicy | None, SemanticCache | None]:
    semantic: Any = False
    ttl: float | None = 7200.0
    if isinstance(given, Mapping):
        rest = dict(given)
        semantic, ttl = rest.pop("semantic", False), rest.pop("semantic_ttl_seconds", ttl)
        policy: CachePolicy | None = CachePolicy(**rest)
    elif isinstance(given, bool | CachePolicy):
        policy = CachePolicy() if given is True else given or None
    else:
        raise ConfigurationError(f"cache must be True, False, a CachePolicy or a mapping of its options, not {type(given).__name__}")
    if policy is None or semantic is False or semantic is None:
        return policy, None
    from llmthrift_core.cache import SemanticCache

    limits = replace(policy, ttl_seconds=ttl, max_bytes=None)
    return policy, SemanticCache(thrift, policy=None if semantic is True else semantic, limits=limits)

"""Abilities of models and limits on their cost: bounds that hold for the first choice, for fallbacks and for downgrades alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.display import counted
from llmthrift_core.errors import ConfigurationError, NoModelQualifiesError
from llmthrift_core.routing.models import ModelPrices, tokens_of
from llmthrift_core.routing.policies.rules import PolicyWrapper
from llmthrift_core.routing.types import RouteDecision, RouteRequest, Tiers

if TYPE_CHECKING:
    from llmthrift_core.pricing import PriceCatalog

_ANSWER_TOKENS: Final = 500


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a tier's model is able to do.

    Attributes:
        tools: it calls tools.
        images: it reads images, files and audio.
        structured: it answers in a given schema.
        context_tokens: the longest prompt and answer together; None is not known, and no limit.
    """

    tools: bool = True
    images: bool = True
    structured: bool = True
    context_tokens: int | None = None

    def lacks(self, request: RouteRequest, answer_tokens: int = _ANSWER_TOKENS) -> str | None:
        """What a request needs and the model cannot do; None if it can."""
        for needed, able, what in (
            (request.has_tools, self.tools, "tools"),
            (request.has_images, self.images, "images"),
            (request.structured, self.structured, "structured output"),
        ):
            if needed and not able:
                return f"has no {what}"
        needs = input_tokens_of(request) + answer_tokens
        if self.context_tokens is not None and needs > self.context_tokens:
            return f"a context of {counted(self.context_tokens, 'token')}, about {needs:,.0f} are needed"
        return None


class Bounds:
    """Which tiers may serve a request at all.

    Args:
        capabilities: by tier; a tier that is not named is able to do everything.
        max_usd_per_call: a tier whose call is expected to cost more is out. A tier without a price is out too: its cost is not known.
        prices: by tier, US dollars per million tokens or the name under which the price lists know the model; needed for the limit.
        answer_tokens: how long an answer is assumed to be, at four characters a token.
        catalog: where names are looked up; None is a `PriceCatalog` of its own.
        latency_seconds: by tier, of a typical call. Where a request allows less (`max_latency_seconds=` of the call, of its metadata, or of
            a tag), the tier is out; so is one that is not named.

    Raises:
        ConfigurationError: a limit that is no positive number or has no prices, or a name without a price.

    >>> from llmthrift_core.routing import Bounds, Capabilities, RouteRequest, Tiers
    >>> bounds = Bounds({"small": Capabilities(images=False)})
    >>> bounds.allowed(RouteRequest("What is this?", has_images=True), Tiers(("small", "large"))).names
    ('large',)
    """

    def __init__(
        self,
        capabilities: Mapping[str, Capabilities] | None = None,
        *,
        max_usd_per_call: float | None = None,
        prices: Mapping[str, float | str] | None = None,
        answer_tokens: int = _ANSWER_TOKENS,
        catalog: PriceCatalog | None = None,
        latency_seconds: Mapping[str, float] | None = None,
    ) -> None:
        for name, seconds in (latency_seconds or {}).items():
            if not (isinstance(seconds, int | float) and 0 <= seconds < float("inf")):
                raise ConfigurationError(f"latency_seconds of {name!r} must be 0 or more, not {seconds!r}")
        if max_usd_per_call is not None and not 0 < max_usd_per_call < float("inf"):
            raise ConfigurationError(f"max_usd_per_call must be a positive number of US dollars, not {max_usd_per_call!r}")
        if (max_usd_per_call is None) != (prices is None):
            raise ConfigurationError("max_usd_per_call= and prices= go together")
        self.capabilities = dict(capabilities or {})
        self.max_usd_per_call = max_usd_per_call
        self.answer_tokens = answer_tokens
        self.latency_seconds = None if latency_seconds is None else dict(latency_seconds)
        self._prices = None if prices is None else ModelPrices.of(prices, catalog)

    def rejected(self, request: RouteRequest, tiers: Tiers) -> tuple[tuple[str, str], ...]:
        """The tiers that may not serve a request, each with why not."""
        found = ((name, self._why_not(request, name)) for name in tiers.names)
        return tuple((name, why) for name, why in found if why is not None)

    def allowed(self, request: RouteRequest, tiers: Tiers) -> Tiers:
        """The tiers that may serve a request, in their order.

        Raises:
            NoModelQualifiesError: none may.
        """
        rejected = self.rejected(request, tiers)
        out = {name for name, _ in rejected}
        left = tuple(name for name in tiers.names if name not in out)
        if not left:
            raise NoModelQualifiesError("what the request needs within the routing bounds", rejected)
        return tiers if not out else Tiers(left, tiers.price_tier)

    def __repr__(self) -> str:
        prices = None if self._prices is None else sorted(self._prices.usd_per_million.items())
        times = "" if self.latency_seconds is None else f", {sorted(self.latency_seconds.items())}"
        return f"Bounds({sorted(self.capabilities.items())}, {self.max_usd_per_call}, {prices}, {self.answer_tokens}{times})"

    def _why_not(self, request: RouteRequest, name: str) -> str | None:
        able = self.capabilities.get(name)
        if able is not None and (lacking := able.lacks(request, self.answer_tokens)) is not None:
            return lacking
        if self.latency_seconds is not None and (most := request.max_latency_seconds) is not None:
            seconds = self.latency_seconds.get(name)
            if seconds is None or seconds > most:
                return f"takes {seconds:g} s, {most:g} s are allowed" if seconds is not None else "latency not known"
        if self.max_usd_per_call is None or self._prices is None:
            return None
        if name not in self._prices.names:
            return f"no price, and a call may cost at most {self.max_usd_per_call:g} USD"
        usd = self._prices.usd(name, input_tokens_of(request), self.answer_tokens)
        return None if usd <= self.max_usd_per_call else f"about {usd:.2g} USD, more than {self.max_usd_per_call:g} USD a call"


def input_tokens_of(request: RouteRequest) -> float:
    """About how many tokens all messages of a request have."""
    return tokens_of(max(request.input_chars, len(request.question) + len(request.system)))


class Bounded(PolicyWrapper):
    """A policy that sees only the tiers within the bounds. Adapters hold fallbacks and downgrades to the same bounds.

    Args:
        policy: decides among the tiers that are left: whatever a router takes as its policy.
        bounds: the bounds.
    """

    def __init__(self, policy: Any, bounds: Bounds) -> None:
        super().__init__(policy)
        self.bounds = bounds

    @property
    def version(self) -> str:
        """The policy's version, followed by a hash of the bounds."""
        return self._version_with(repr(self.bounds))

    def allowed(self, request: RouteRequest, tiers: Tiers) -> Tiers:
        """The tiers within the bounds, and within those of the inner policy.

        Raises:
            NoModelQualifiesError: there are none.
        """
        return super().allowed(request, self.bounds.allowed(request, tiers))

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        """The policy's choice among the tiers within the bounds.

        Raises:
            NoModelQualifiesError: there are none.
        """
        left = self.bounds.allowed(request, tiers)
        decision = self.policy.decide(request, left)
        if left is tiers:
            return decision
        return replace(decision, rejected=decision.rejected + self.bounds.rejected(request, tiers))

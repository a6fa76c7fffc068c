"""A session keeps its model, unless changing it is worth more than the provider's cached prefix."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.background.forks import ForkedLock
from llmthrift_core.errors import ConfigurationError, UnknownModelError
from llmthrift_core.prompt_caching.terms import terms_of
from llmthrift_core.routing.models import checked_names, tokens_of
from llmthrift_core.routing.policies.bounds import input_tokens_of
from llmthrift_core.routing.policies.rules import PolicyWrapper
from llmthrift_core.routing.policies.shared_sessions import SharedSessions
from llmthrift_core.routing.types import RouteDecision, RouteRequest, Tiers
from llmthrift_core.texts import require_thrift

if TYPE_CHECKING:
    from llmthrift_core.host import Host
    from llmthrift_core.pricing import PriceCatalog

_FEWEST_CACHED_TOKENS: Final = 1_024
"""The shortest prefix that is cached by a model whose terms are not known: that of OpenAI and of most models of Anthropic."""

Key = tuple[str | None, str, str | None]


@dataclass(frozen=True, slots=True)
class _Prices:
    """US dollars per million tokens, and the shortest prefix that is cached."""

    sent: float
    cached: float
    written: float
    made: float
    fewest: int

    def usd(self, prefix_tokens: float, further_tokens: float, answer_tokens: float, *, kept_tokens: float) -> float:
        if prefix_tokens < self.fewest:  # neither read nor written
            return (self.sent * (prefix_tokens + further_tokens) + self.made * answer_tokens) / 1e6
        kept = min(kept_tokens, prefix_tokens)
        prefix = self.cached * kept + self.written * (prefix_tokens - kept)
        return (prefix + self.sent * further_tokens + self.made * answer_tokens) / 1e6


class Sticky(PolicyWrapper):
    """A session or a tool loop keeps its model.

    What a change costs is the price of the call with the new model, which must read the conversation anew, less the price with the model
    in use, which reads all but the last message from the provider's cache. A change to a cheaper model is made where it still saves. A
    change to a stronger one is made where the expected gain in quality is worth its cost, or where the gain or its worth is not known: the
    policy asked for it. The next call is compared, not the rest of the session, whose length nobody knows.

    Calls belong together by user, session (or run, where there is no session) and call site; those with neither are decided one by one.
    What is remembered is the decision, not a fallback or a downgrade that followed. With `thrift=` sessions may move between processes: the
    first call of a session in a process reads one row of the database, and a change, or a third of `cache_seconds`, writes one.

    With `prompt_caching=True` the door knows what each model's provider keeps of this very prompt, whoever sent it: these tokens are
    counted then, and a session that is not known stays with the model that has most of its prompt.

    Args:
        policy: decides first: whatever a router takes as its policy.
        models: by tier, the name under which the price catalog knows the model. Between tiers without a price, the model is kept unless the
            policy asks for a stronger one.
        thrift: remembers sessions in its database too, for all processes; None: in this one.
        catalog: the prices, such as `thrift.prices`; None is a `PriceCatalog` of its own.
        answer_worth_usd: what a perfect answer is worth more than a useless one, in US dollars; None is not known.
        cache_seconds: how long a provider keeps a prefix after its last use: five minutes at Anthropic, five to ten at OpenAI.
        answer_tokens: how long an answer is assumed to be.
        most_sessions: how many are remembered; the ones idle for longest are forgotten.
        clock: seconds; for tests.

    Raises:
        ConfigurationError: an option that cannot be used.
    """

    def __init__(
        self,
        policy: Any,
        models: Mapping[str, str],
        *,
        thrift: Host | None = None,
        catalog: PriceCatalog | None = None,
        answer_worth_usd: float | None = None,
        cache_seconds: float = 300.0,
        answer_tokens: int = 300,
        most_sessions: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if thrift is not None:
            require_thrift(thrift, type(self).__name__)
        if answer_worth_usd is not None and not 0 <= answer_worth_usd < float("inf"):
            raise ConfigurationError(f"answer_worth_usd must be US dollars, 0 or more, or None; not {answer_worth_usd!r}")
        if not cache_seconds >= 0 or answer_tokens < 0 or most_sessions < 1:
            raise ConfigurationError(
                f"cache_seconds={cache_seconds!r} and answer_tokens={answer_tokens!r} must be 0 or more, "
                f"most_sessions={most_sessions!r} 1 or more"
            )
        super().__init__(policy)
        self._models = checked_names(models)
        if catalog is None:
            from llmthrift_core.pricing import PriceCatalog

            catalog = PriceCatalog()  # which reads its lists on first use
        self._catalog = catalog
        self._answer_worth_usd = answer_worth_usd
        self._cache_seconds = cache_seconds
        self._answer_tokens = answer_tokens
        self._most_sessions = most_sessions
        self._clock = clock
        self._sessions: OrderedDict[Key, tuple[str, float]] = OrderedDict()
        self._shared = None if thrift is None else SharedSessions(thrift, tuple(self._models), write_seconds=cache_seconds / 3)
        self._lock = ForkedLock()

    @property
    def version(self) -> str:
        """The policy's version, followed by a hash of the models and the options."""
        parts = (sorted(self._models.items()), self._answer_worth_usd, self._cache_seconds, self._answer_tokens)
        return self._version_with(repr(parts))

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        """The policy's choice, or the model in use.

        Raises:
            NoModelQualifiesError: the policy refuses.
        """
        decision = self.policy.decide(request, tiers)
        key = request.session_key
        if key is None:
            return decision
        now = self._clock()
        with self._lock:
            known = self._sessions.get(key)
        if known is None and self._shared is not None and (found := self._shared.read(key)) is not None:
            known = found[0], now - found[1]
        in_use, used_at = known or (_keeper(request, tiers) or decision.tier, now)
        is_warm = now - used_at <= self._cache_seconds
        if in_use != decision.tier and is_warm and in_use in self.allowed(request, tiers).names:
            decision = self._kept(decision, in_use, request, tiers) or decision
        with self._lock:
            self._sessions[key] = decision.tier, now
            self._sessions.move_to_end(key)
            while len(self._sessions) > self._most_sessions:
                self._sessions.popitem(last=False)
        if self._shared is not None:
            self._shared.write(key, decision.tier)
        return decision

    @property
    def waits(self) -> bool:
        """Whether it reads a database, or the policy inside waits."""
        return self._shared is not None or self.policy.waits

    decides_each_step: Final = True

    def _kept(self, decision: RouteDecision, in_use: str, request: RouteRequest, tiers: Tiers) -> RouteDecision | None:
        """The decision to stay; None to change."""
        stronger = tiers.names.index(decision.tier) > tiers.names.index(in_use)
        better = None
        if in_use in decision.qualities and decision.tier in decision.qualities:
            better = decision.qualities[decision.tier] - decision.qualities[in_use]
        worth = better * self._answer_worth_usd if better is not None and self._answer_worth_usd is not None else None
        if stronger and worth is None:
            return None
        costs = self._usd(decision.tier, in_use, request)
        if costs is None:
            why, stays_usd = "of one of them no price is known", None
        else:
            changes_usd, stays_usd = costs
            if (worth or 0.0) > changes_usd - stays_usd:
                return None
            why = f"{decision.tier} would cost {changes_usd:.2g} USD, {in_use} {stays_usd:.2g} USD with its cached prefix"
        return replace(
            decision,
            tier=in_use,
            model=None if decision.model is None else in_use,
            reason=f"{in_use} is in use: {why}",
            score=None,
            rejected=(*((name, why_not) for name, why_not in decision.rejected if name != in_use), (decision.tier, "not worth a change")),
            expected_quality=decision.qualities.get(in_use),
            expected_cost_usd=stays_usd,
            explored=False,
        )

    def _usd(self, wanted: str, in_use: str, request: RouteRequest) -> tuple[float, float] | None:
        """US dollars of the next call after a change, and without one; None where a price is not known."""
        new, old = self._prices(wanted), self._prices(in_use)
        if new is None or old is None:
            return None
        further = tokens_of(len(request.question))
        prefix = max(input_tokens_of(request) - further, 0.0)
        kept = _known(request, (wanted, in_use)) or {wanted: 0.0, in_use: prefix}
        changes = new.usd(prefix, further, self._answer_tokens, kept_tokens=kept[wanted])
        return changes, old.usd(prefix, further, self._answer_tokens, kept_tokens=kept[in_use])

    def _prices(self, tier: str) -> _Prices | None:
        if tier not in self._models:
            return None
        try:
            price = self._catalog.find(self._models[tier])
        except UnknownModelError:
            return None
        sent, made = price.input_usd_per_million, price.output_usd_per_million
        if sent is None or made is None:
            return None
        cached, written = price.cache_read_usd_per_million, price.cache_write_usd_per_million
        terms = terms_of(self._models[tier])
        return _Prices(
            sent=float(sent),
            cached=float(sent if cached is None else cached),
            written=float(sent if written is None else written),
            made=float(made),
            fewest=_FEWEST_CACHED_TOKENS if terms is None else terms.min_tokens,
        )


def _known(request: RouteRequest, names: Iterable[str]) -> dict[str, float]:
    """What the providers of some tiers keep of the prompt, in tokens; empty where nothing is kept, or not known of one of them."""
    if request.kept_tokens is None:
        return {}
    found = {name: request.kept_tokens(name) for name in names}
    known = {name: float(tokens) for name, tokens in found.items() if tokens is not None}
    return known if len(known) == len(found) and any(known.values()) else {}


def _keeper(request: RouteRequest, tiers: Tiers) -> str | None:
    """The tier whose provider keeps most of the prompt; None where none keeps any."""
    kept = _known(request, tiers.names)
    return max(kept, key=lambda name: kept[name]) if kept else None

"""Choosing by what answers turned out to be worth and to cost lately, with a little exploration."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.display import counted
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.money import NANO_PER_USD
from llmthrift_core.routing.adaptive.evidence import ModelScore
from llmthrift_core.routing.adaptive.exploration import Exploration
from llmthrift_core.routing.adaptive.scores import LedgerScores
from llmthrift_core.routing.models import checked_names
from llmthrift_core.routing.policy import RoutingPolicy, fingerprint
from llmthrift_core.routing.types import RouteDecision, RouteRequest, Tiers
from llmthrift_core.texts import require_thrift
from llmthrift_core.usage import Usage

if TYPE_CHECKING:
    from llmthrift_core.attachments import AccountHost

logger = logging.getLogger("llmthrift")

FEWEST_JUDGED: Final = 20.0
"""With fewer answers a mean is worth nothing. Kept below the least number after a change (25), of which some have aged."""
_SURE: Final = 1.0
"""So many standard errors are taken off what is known of a quality ..."""
_HOPE: Final = 2.0
"""... and so many are added where a tier is explored for what it could be."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a tier at a call site.

    Attributes:
        quality, judged: of the call site, or of all call sites where the site has too few answers.
        sure: the quality less its standard error.
        hope: the quality that the call site's own fresh answers do not rule out.
        cost_usd: of a call; None is not known.
    """

    quality: float
    judged: float
    sure: float
    hope: float
    cost_usd: float | None

    @property
    def is_enough(self) -> bool:
        return self.judged >= FEWEST_JUDGED


class Adaptive(RoutingPolicy):
    """The tier with the best `quality_weight` * quality - `cost_weight` * cost, by the judged answers of the call site in the ledger, or
    of all call sites where those are few.

    Quality comes from `thrift.feedback`, of users, judges and your own checks; for whoever never judges answers this policy is the
    strongest model. An answer counts half for every half-life of its age, and not at all from before a sudden change. Where a call site
    has fewer than twenty, the missing ones are taken to be as those of all call sites. Cost counts as a share of the most expensive allowed
    tier's. A standard error is taken off the quality; not of the last tier's, which is the reference: without enough answers, that one
    counts as perfect, and others are not chosen but for exploring.

    A share of the calls explores: it goes to the tier that could be worth most, if that is more than the best tier is known to be worth. A
    tier's quality could be as good as two standard errors above its mean at this call site, by answers that count less the older they are,
    and soon not at all where nothing was tried since. This is the discounted upper confidence bound of Garivier and Moulines ("On
    Upper-Confidence Bound Policies for Switching Bandit Problems", ALT 2011), with a smaller constant, as exploring costs money. What such
    calls are expected to cost is taken from an amount of a UTC day that is a budget, shared by all processes: `thrift.budgets.status()`
    shows what is left, `thrift.report(by="llmthrift.routing")` what they really cost.

    The ledger's judgements of until now are read when the policy is made; those that follow are read in the background. No decision waits
    for that, and a database that fails leaves the policy with what it knows. Nothing is explored then.

    Args:
        thrift: whose ledger and budgets.
        models: by tier, the model's name, such as {"small": "gpt-4o-mini"}; it stands for the model's dated releases too.
        quality_weight, cost_weight: how much a perfect answer, and the most expensive call, count.
        explore_usd_per_day: at most so many US dollars for explored calls; 0 does not explore, and then little is ever learned about models
            that are not in use.
        explore_share: of the calls.
        half_life_days: after which an answer counts half as much.
        refresh_seconds: how old what is known of the ledger may be.
        name: of the budget: policies of the same name share the amount.
        seed: of the chance to explore; None differs from process to process.

    Raises:
        ConfigurationError: an option out of its range.
        StorageError: the budget for exploring cannot be kept.
    """

    def __init__(
        self,
        thrift: AccountHost,
        models: Mapping[str, str],
        *,
        quality_weight: float = 1.0,
        cost_weight: float = 0.1,
        explore_usd_per_day: float = 0.0,
        explore_share: float = 0.2,
        half_life_days: float = 3.0,
        refresh_seconds: float = 60.0,
        name: str = "exploration",
        seed: int | None = None,
    ) -> None:
        require_thrift(thrift, type(self).__name__)
        self._models = checked_names(models)
        for option, value, least, most in (
            ("quality_weight", quality_weight, 0.0, math.inf),
            ("cost_weight", cost_weight, 0.0, math.inf),
            ("explore_usd_per_day", explore_usd_per_day, 0.0, 1e9),
            ("explore_share", explore_share, 0.0, 1.0),
            ("half_life_days", half_life_days, 1e-4, 1e5),
            ("refresh_seconds", refresh_seconds, 0.1, 1e6),
        ):
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (is_number and least <= value <= most and math.isfinite(value)):
                raise ConfigurationError(f"{option} must be a number from {least:g} to {most:g}, not {value!r}")
        self._thrift = thrift
        self._quality_weight = quality_weight
        self._cost_weight = cost_weight
        self._options = quality_weight, cost_weight, explore_usd_per_day, explore_share, half_life_days, sorted(models.items())
        self._warned = False
        self.scores = LedgerScores(thrift, models, half_life_days=half_life_days, refresh_seconds=refresh_seconds)
        self.exploration = Exploration(thrift, name=name, usd_per_day=explore_usd_per_day, share=explore_share, seed=seed)
        thrift.attach(self)

    @property
    def version(self) -> str:
        """Hash of the options; what is known changes from call to call."""
        return fingerprint(repr(self._options))

    @property
    def waits(self) -> bool:
        """Whether a call that explores asks the budget, which async doors do off the event loop."""
        return self.exploration.is_on

    def health(self) -> dict[str, Any]:
        """For `thrift.health()`: `scores` known of tiers and call sites, `changes` found, `errors` of readings, and what this process
        `explored`."""
        return {"policy": "adaptive", **self.scores.health(), **self.exploration.health()}

    def alerts(self) -> list[str]:
        """Nothing that calls for a person."""
        return []

    def close(self) -> None:
        """Read the ledger no more. The policy goes on with what it knows."""
        self.scores.close()

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        """The tier of best worth, or one to learn about."""
        known = self._known(request.attribution.call_site, tiers)
        reference = tiers.names[-1]
        highest = max((each.cost_usd for each in known.values() if each.cost_usd is not None), default=0.0)
        worth: dict[str, float] = {}
        hopes: dict[str, float] = {}
        for name, each in known.items():
            # A cost that is not known counts as the highest.
            share = (highest if each.cost_usd is None else each.cost_usd) / highest if highest > 0 else 0.0
            hopes[name] = self._quality_weight * each.hope - self._cost_weight * share
            if name == reference:
                quality = each.quality if each.is_enough else 1.0
            elif each.is_enough:
                quality = each.sure
            else:
                continue
            worth[name] = self._quality_weight * quality - self._cost_weight * share
        best = max(worth, key=lambda name: worth[name])
        explored = self._explored(best, worth[best], hopes, known)
        chosen = explored or best
        reason = (
            f"explored: could be worth {hopes[chosen]:.2f}, {best} is worth {worth[best]:.2f}"
            if explored
            else f"worth {worth[best]:.2f}: quality {known[best].quality:.2f} of {counted(round(known[best].judged), 'judged answer')}"
            if known[best].is_enough
            else "the strongest; too few judged answers"
        )
        return RouteDecision(
            chosen,
            reason,
            score=worth.get(chosen),
            rejected=tuple(
                (name, f"worth {worth[name]:.2f}" if name in worth else f"only {counted(round(known[name].judged), 'judged answer')}")
                for name in tiers.names
                if name != chosen
            ),
            expected_quality=known[chosen].quality if known[chosen].judged > 0 else None,
            expected_cost_usd=known[chosen].cost_usd,
            qualities={name: each.quality for name, each in known.items() if each.is_enough},
            explored=explored is not None,
        )

    def _known(self, call_site: str | None, tiers: Tiers) -> dict[str, _Known]:
        here = {name: self.scores.score(name, call_site) for name in tiers.names}
        everywhere = here if call_site is None else {name: self.scores.score(name, None) for name in tiers.names}
        if not self._warned and not self._models.keys() & set(tiers.names):
            self._warned = True
            logger.warning("Adaptive knows the tiers %s, none of %s: the last is used", ", ".join(self._models), ", ".join(tiers.names))
        # Of a model that was never called, a call is taken to be as long as those of the model that was called most.
        typical = max((score for score in (*here.values(), *everywhere.values()) if score), key=lambda score: score.judged, default=None)
        found = {}
        for name in tiers.names:
            site, every = here[name], everywhere[name]
            score = site.filled(every, FEWEST_JUDGED) if site is not None and every is not None else site or every
            cost_usd = next((each.cost_usd for each in (site, every) if each is not None and each.cost_usd is not None), None)
            if cost_usd is None and typical is not None:
                cost_usd = self._priced(name, typical)
            hope = 1.0 if site is None else site.at_most(_HOPE)
            if score is None:
                found[name] = _Known(0.0, 0.0, 0.0, hope, cost_usd)
            else:
                found[name] = _Known(score.quality, score.judged, score.at_least(_SURE), hope, cost_usd)
        return found

    def _priced(self, tier: str, like: ModelScore) -> float | None:
        if tier not in self._models or math.isnan(like.input_tokens):
            return None
        usage = Usage(input_tokens=round(like.input_tokens), output_tokens=round(like.output_tokens))
        priced = self._thrift.prices.price(usage, self._models[tier], None, self._thrift.now_us())
        return None if priced is None else priced.nano_usd / NANO_PER_USD

    def _explored(self, best: str, best_worth: float, hopes: Mapping[str, float], known: Mapping[str, _Known]) -> str | None:
        """A tier to learn about, if this call is to explore one and it is paid for."""
        others = [(hopes[name], name) for name in hopes if name != best and hopes[name] > best_worth]
        if not others or not self.exploration.is_due():
            return None
        for _, name in sorted(others, reverse=True):
            cost_usd = known[name].cost_usd
            if cost_usd is not None and self.exploration.is_within(cost_usd):
                return name if self.exploration.pay(cost_usd) else None
        return None

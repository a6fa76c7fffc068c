"""Refits of several routers that share one promise of quality: counted in the ledger, and spent where it saves most dollars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from sqlalchemy import func, select

from llmthrift_core.display import counted
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.ledger.judged import BY_APPLICATION
from llmthrift_core.moments import DAY_US, from_us
from llmthrift_core.quality.examples import examples_of_ledger
from llmthrift_core.routing.cascades.cascade import Cascade
from llmthrift_core.routing.examples import Example, Examples
from llmthrift_core.routing.learned.calibration import checked_min_quality
from llmthrift_core.routing.learned.observations import ANSWER_TOKENS
from llmthrift_core.routing.learned.router import LearnedRouter
from llmthrift_core.routing.learned.trade_offs import CascadeEvidence, Evidence, Pool, TradeOff, most_saved
from llmthrift_core.routing.models import ModelPrices, tokens_of
from llmthrift_core.storage.tables import calls
from llmthrift_core.versions.refit import Refit, RefitOutcome
from llmthrift_core.versions.refitting import RefitHost, divided, unfitted
from llmthrift_core.versions.store import Version

_TOO_FEW: Final = "too few answers were judged to learn from"


@dataclass
class _Traffic:
    """Calls that models answered for the application.

    Attributes:
        routed: by name of the router.
        sites: the call sites of these calls, by name.
        others: neither a router's nor of one of these call sites.
    """

    routed: dict[str, int] = field(default_factory=dict)
    sites: dict[str, set[str | None]] = field(default_factory=dict)
    others: int = 0

    @classmethod
    def of(cls, thrift: RefitHost, names: Mapping[str, Any], since_us: int) -> _Traffic:
        """The traffic of the ledger from a moment on. Raises StorageError."""
        answered = [calls.c.at_us >= since_us, BY_APPLICATION, calls.c.cache.is_(None), calls.c.error.is_(None), calls.c.escalated == 0]
        query = (
            select(calls.c.config_version, calls.c.call_site, func.count())
            .where(*answered)
            .group_by(calls.c.config_version, calls.c.call_site)
        )
        found = cls(dict.fromkeys(names, 0), {name: set() for name in names})
        unrouted: list[tuple[str | None, int]] = []
        with thrift.database.read() as connection:
            for version, site, count in connection.execute(query):
                name = (version or "").partition("@")[0]
                if name in names:
                    found.routed[name] += count
                    found.sites[name].add(site)
                else:
                    unrouted.append((site, count))
        routed_sites = set[str | None]().union(*found.sites.values())
        found.others = sum(count for site, count in unrouted if site not in routed_sites)
        return found


@dataclass
class _Fit:
    """A router that was fitted, and what its settings do."""

    router: LearnedRouter | Cascade
    evidence: Evidence | CascadeEvidence
    examples: int
    active: Version | None
    latest: int

    def settle(self, taken: TradeOff | None) -> None:
        """Have the router keep a setting."""
        if isinstance(self.router, LearnedRouter):
            self.router.settle(None if taken is None else taken.setting)
        elif isinstance(self.evidence, CascadeEvidence):
            self.router.settle(self.evidence.thresholds(1.0 if taken is None else taken.setting))


def refit_all(thrift: RefitHost, refits: Mapping[str, Refit], min_quality: float) -> dict[str, RefitOutcome]:
    """See `RouterVersions.refit_together`."""
    if not isinstance(refits, Mapping) or not refits or not all(isinstance(each, Refit) for each in refits.values()):
        raise ConfigurationError(f"refits must map names of routers to Refit(...), not {refits!r:.200}")
    checked_min_quality(min_quality, "default model")
    thrift.flush()
    since_us = thrift.now_us() - round(min(each.history_days for each in refits.values()) * DAY_US)
    traffic = _Traffic.of(thrift, refits, since_us)
    outcomes: dict[str, RefitOutcome] = {}
    fits: dict[str, _Fit] = {}
    found = {name: _examples(thrift, refit, traffic.sites[name], since_us) for name, refit in refits.items()}
    versions = {name: thrift.routers.versions(name) for name in refits}
    missing = _missing(refits, found, versions)
    if missing > 0:
        why = f"{counted(missing, 'more judged answer is', 'more judged answers are')} needed, of any of these routers"
        return {name: RefitOutcome(None, why, missing) for name in refits}
    for name, refit in refits.items():
        fit = _fitted(thrift, refit, found[name], versions[name]) if found[name] else None
        if fit is None:
            outcomes[name] = RefitOutcome(None, f"{_TOO_FEW}: {len(found[name]):,}")
        else:
            fits[name] = fit
    pools = {name: Pool(traffic.routed[name], fit.evidence.trade_offs()) for name, fit in fits.items()}
    kept = {name: traffic.routed[name] * fit.evidence.quality for name, fit in fits.items()}
    routed = sum(traffic.routed[name] for name in fits)
    usual = sum(kept.values()) / routed if routed else 0.0  # of answers that nobody judged, as of those that were
    unjudged = traffic.others + sum(traffic.routed[name] for name in outcomes)
    allowed = (1 - min_quality) * (sum(kept.values()) + unjudged * usual)
    taken = most_saved(pools, allowed)
    for name, fit in fits.items():
        outcomes[name] = _saved(
            thrift, name, fit, taken[name], pools[name], f"{min_quality:g} kept of all {counted(routed + unjudged, 'call')}"
        )
    return {name: outcomes[name] for name in refits}


def _missing(refits: Mapping[str, Refit], found: Mapping[str, Examples], versions: Mapping[str, list[Version]]) -> int:
    """How many more examples make a refit due: by the name that is nearest to it."""
    missing = []
    for name, refit in refits.items():
        before, untried = divided(found[name], versions[name][0] if versions[name] else None)
        missing.append(refit.needed(len(before)) - len(untried))
    return max(min(missing), 0)


def _examples(thrift: RefitHost, refit: Refit, sites: set[str | None], since_us: int) -> Examples:
    every = examples_of_ledger(thrift.database, since=from_us(since_us), models=refit.models)
    own = Examples()
    for each, at_us in zip(every, every.times_us, strict=True):
        if each.call_site in sites:
            own.append(each)
            own.times_us.append(at_us)
    return own


def _fitted(thrift: RefitHost, refit: Refit, examples: Examples, versions: list[Version]) -> _Fit | None:
    """The router and what its settings do; None where nothing was learned."""
    active, latest = next((each for each in versions if each.active), None), versions[0].version if versions else 0
    if not refit.cascade:
        router = unfitted(refit, thrift.prices).fit(examples)
        return None if router.evidence is None else _Fit(router, router.evidence, len(examples), active, latest)
    cascade = Cascade(list(refit.models), min_quality=refit.min_quality, seed=refit.seed)
    if not any(each.answer is not None and each.model in cascade.models[:-1] for each in examples):
        return None
    evidence = cascade.fit(examples).evidence(_usd(refit, examples, thrift))
    return None if evidence is None else _Fit(cascade, evidence, len(examples), active, latest)


def _usd(refit: Refit, examples: list[Example], thrift: RefitHost) -> list[float]:
    """What an answer of each model costs at list prices, to a prompt of the usual length."""
    prices = ModelPrices.of(refit.models, thrift.prices)
    sent = tokens_of(round(float(np.mean([len(each.prompt) for each in examples]))))
    lengths = {name: [each.length for each in examples if each.model == name and each.length is not None] for name in prices.names}
    return [prices.usd(name, sent, float(np.mean(lengths[name])) if lengths[name] else ANSWER_TOKENS) for name in prices.names]


def _saved(thrift: RefitHost, name: str, fit: _Fit, taken: TradeOff | None, pool: Pool, promise: str) -> RefitOutcome:
    fit.settle(taken)
    learned = f"refit on {counted(fit.examples, 'example')}: {promise}"
    if taken is None:
        if fit.active is None:
            return RefitOutcome(None, f"{learned}; no setting of this router has room in that")
        note = f"{learned}; no setting of this router has room in that: the default model answers"
    else:
        note = (
            f"{learned}; of these {pool.calls:,.0f} lose {taken.lost:+.3f} ± {taken.standard_error:.3f} of quality each "
            f"and save ${1000 * taken.saved_usd:.3g} a thousand"
        )
    saved = thrift.routers.store.add(name, fit.router.to_bytes(), note=note, latest=fit.latest)
    if saved is None:
        return RefitOutcome(None, f"{note}; but another version was saved meanwhile, and this one is dropped")
    return RefitOutcome(saved, note)

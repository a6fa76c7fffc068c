"""One refit: learn from what was judged, compare with the active version, save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from llmthrift_core.display import counted
from llmthrift_core.errors import ConfigurationError, StorageError
from llmthrift_core.host import Host
from llmthrift_core.moments import DAY_US, from_us, to_us
from llmthrift_core.quality.examples import examples_of_ledger
from llmthrift_core.routing.examples import Example, Examples
from llmthrift_core.routing.learned.calibration import Bound, gain, surplus
from llmthrift_core.routing.learned.observations import Observations
from llmthrift_core.routing.learned.quality_model import FEWEST_LABELS
from llmthrift_core.routing.learned.router import LearnedRouter
from llmthrift_core.routing.models import tokens_of
from llmthrift_core.routing.simulation.controls import split
from llmthrift_core.versions.refit import Refit, RefitOutcome
from llmthrift_core.versions.store import Version, VersionStore

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from llmthrift_core.pricing import PriceCatalog

    Floats = NDArray[np.float64]
    Choice = NDArray[np.intp]

Known = tuple[str, tuple[float, ...]]
_LEAST_SAVING: Final = 0.01


class RouterShelf(Protocol):
    """The versions of routers, as far as a refit needs them."""

    @property
    def store(self) -> VersionStore: ...

    def versions(self, name: str) -> list[Version]: ...

    def load(self, name: str, version: int | None = None) -> Any: ...


class RefitHost(Host, Protocol):
    """A `Host` whose routers are kept in versions."""

    @property
    def address(self) -> str | None: ...

    @property
    def routers(self) -> RouterShelf: ...


def unfitted(refit: Refit, catalog: PriceCatalog) -> LearnedRouter:
    """The router that is to be fitted.

    Raises:
        ConfigurationError: models, default or min_quality cannot be used.
    """
    if refit.cascade:
        raise ConfigurationError("a Refit with cascade=True is for thrift.routers.refit_together({name: Refit(...)})")
    return LearnedRouter(refit.models, refit.default, refit.min_quality, catalog=catalog, seed=refit.seed)


def refit_once(thrift: RefitHost, name: str, refit: Refit, router: LearnedRouter) -> RefitOutcome:
    """Fit a router on the ledger's examples and save it as the next version of a name; as the active one, if it is good enough.

    What was judged is what is saved: the held-out prompts are learned from by the next refit.

    Args:
        router: to be fitted, with its models' prices.

    Raises:
        ConfigurationError: the active version is no learned router, or answers were judged, but nothing is stored of their prompts.
        MissingExtraError: scikit-learn is not installed.
        StorageError: the database cannot be used.
    """
    thrift.flush()
    versions = thrift.routers.versions(name)
    in_use = next((each for each in versions if each.active), None)
    since = from_us(thrift.now_us() - round(refit.history_days * DAY_US))
    examples = examples_of_ledger(thrift.database, since=since, models=refit.models)
    before, untried = divided(examples, versions[0] if versions else None)
    missing = refit.needed(len(before)) - len(untried)
    if missing > 0:
        return RefitOutcome(
            None,
            f"{counted(len(untried), 'answer was', 'answers were')} judged since the last try; "
            f"{counted(missing, 'more is', 'more are')} needed",
            missing,
        )
    older, fresh = divided(examples, in_use)
    held_out = held_out_of(fresh, older, refit.held_out_share, refit.seed)
    learned_from = [each for each in examples if each.known not in held_out]
    router.fit(learned_from)
    active = None if in_use is None else _readable(thrift, name, in_use.version)
    verdict = judged(router, active, [each for each in fresh if each.known in held_out])
    note = f"refit on {counted(len(learned_from), 'example')}: {verdict.why}"
    latest = versions[0].version if versions else 0
    saved = thrift.routers.store.add(name, router.to_bytes(), note=note, activate=verdict.activate, latest=latest)
    if saved is None:
        return RefitOutcome(None, f"{note}; but another version was saved meanwhile, so this one was not compared with it and is dropped")
    return RefitOutcome(saved, note)


def divided(examples: Examples, version: Version | None) -> tuple[list[Example], list[Example]]:
    """The examples of calls before a version was saved, and those since; all of them are since where there is none."""
    saved_us = 0 if version is None else to_us(version.created_at)
    parts: tuple[list[Example], list[Example]] = [], []
    for example, at_us in zip(examples, examples.times_us, strict=True):
        parts[at_us >= saved_us].append(example)
    return parts


def _readable(thrift: RefitHost, name: str, version: int) -> LearnedRouter | None:
    """The active version; None where it is damaged, which is as if there were none."""
    try:
        active = thrift.routers.load(name, version)
    except StorageError:
        return None
    if not isinstance(active, LearnedRouter):
        raise ConfigurationError(
            f"version {version} of router {name!r} is a {type(active).__name__}: only learned routers are fitted again in the background"
        )
    return active


def described(refit: Refit) -> Mapping[str, object]:
    """The options as JSON, for another process."""
    return {field: getattr(refit, field) for field in refit.__dataclass_fields__} | {"models": dict(refit.models)}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a new router takes the place of the active one, and why in words with the figures."""

    activate: bool
    why: str


def held_out_of(fresh: Sequence[Example], older: Sequence[Example], share: float, seed: int) -> set[Known]:
    """A random part of the prompts that nobody has learned from, as `Example.known` tells them apart.

    Args:
        fresh: since the active version was saved.
        older: before.
        share: of the new prompts.
    """
    known = {each.known for each in older}
    prompts = sorted({each.known for each in fresh} - known)
    held, _ = split(len(prompts), round(share * len(prompts)), seed)
    return {prompts[place] for place in held}


def judged(new: LearnedRouter, active: LearnedRouter | None, examples: Sequence[Example]) -> Verdict:
    """Compare what both would choose.

    The promise is `min_quality` of the default model's quality, by a margin of one standard error, as in `fit`. Where the active router
    keeps it, the new one must keep it too and save 1% or more: a swap makes cached answers unreachable. Where the active one does not, the
    new one must keep it, or be better than the active one by the margin. The promise is always of the default model's quality, never of
    the last version's, so that small losses do not add up from version to version.

    Where they differ on fewer than 20 prompts there is nothing to gain that could be told from luck. On the others, a label is needed of
    what the new router would choose, and a router that runs gets labels of its own choices alone: where fewer than 20 of the prompts have
    one, the new router cannot be judged, and stays inactive.

    A router that learned from texts cannot say what it would choose where no text is stored: it is judged by the other prompts alone.

    Args:
        active: None before the first version: the default model answers everything.
        examples: those of the held-out prompts, by the models of the new router.
    """
    if not new.fitted:
        return Verdict(False, new.decide("").reason)
    if not examples:
        return Verdict(False, "no prompt was held out to judge it by")
    if new.needs_text or (active is not None and active.needs_text):
        examples = [each for each in examples if each.counts is None]
        if not examples:
            which = "it" if new.needs_text else "the active version"
            return Verdict(False, f"{which} learned from texts, and no text is stored of the prompts that were held out to judge by")
    seen = Observations.of(examples, new.models)
    rows, reference = np.arange(len(seen.prompts)), new.models.index(new.default)
    predicted, choice = _decided(new, seen)
    other = np.full(len(rows), reference) if active is None else _chosen(active, new, seen)
    differs = choice != other
    on = counted(len(rows), "held-out prompt")
    name = "the default model" if active is None else "the active version"
    if differs.sum() < FEWEST_LABELS:
        return Verdict(False, f"it decides as {name} on all but {int(differs.sum())} of {on}")
    labels = int((differs & ~np.isnan(seen.quality[rows, choice])).sum())
    if labels < FEWEST_LABELS:
        return Verdict(
            False,
            f"it would send {int(differs.sum())} of {on} elsewhere than {name}; only {labels} of them, of at least {FEWEST_LABELS}, have a "
            "judged answer of the model that it chooses: let that model answer a sample",
        )
    promise, before = (surplus(predicted, seen.quality, each, reference, new.min_quality) for each in (choice, other))
    better = gain(predicted, seen.quality, choice, other)
    usd, usd_before = _usd(new, seen, choice), _usd(new, seen, other)
    figures = (
        f"on {on} quality {better.mean:+.3f} ± {better.standard_error:.3f} against {name}, "
        f"{_dollars(usd)} a thousand calls instead of {_dollars(usd_before)}"
    )
    promised = f"{new.min_quality:g} of {new.default}'s quality kept for certain"
    saved = 1 - usd / usd_before if usd_before else 0.0
    return _verdict(promise, before, better, saved=saved, figures=figures, promised=promised)


def _verdict(promise: Bound, before: Bound, better: Bound, *, saved: float, figures: str, promised: str) -> Verdict:
    if before.lower >= 0:
        if promise.lower < 0:
            return Verdict(False, f"not {promised}: {promise.mean:+.3f} ± {promise.standard_error:.3f} from it; {figures}")
        if saved < _LEAST_SAVING:
            return Verdict(False, f"it saves less than {_LEAST_SAVING:.0%}: {figures}")
        return Verdict(True, f"{promised}, for less: {figures}")
    if promise.lower >= 0:
        return Verdict(True, f"{promised}, which was not certain before: {figures}")
    if better.lower > 0:
        return Verdict(True, f"better, though not {promised}: {figures}")
    return Verdict(False, f"not better for certain, and not {promised}: {figures}")


def _decided(router: LearnedRouter, seen: Observations) -> tuple[Floats, Choice]:
    """What a router expects, shape (rows, models), and its choices. What it has no estimate of is expected to be as usual."""
    usual = np.array([float(np.nanmean(column)) if not np.isnan(column).all() else 0.5 for column in seen.quality.T])
    predicted = np.tile(usual, (len(seen.prompts), 1))
    choice = np.zeros(len(seen.prompts), dtype=np.intp)
    for row, (prompt, site, counts) in enumerate(zip(seen.prompts, seen.call_sites, seen.counts, strict=True)):
        decision = router.decide(prompt, site, counts=counts)
        choice[row] = router.models.index(decision.tier)
        for name, quality in decision.qualities.items():
            predicted[row, router.models.index(name)] = quality
    return predicted, choice


def _chosen(router: LearnedRouter, new: LearnedRouter, seen: Observations) -> Choice:
    """The choices of the active router among the models of the new one."""
    if not set(router.models) & set(new.models):
        return np.full(len(seen.prompts), new.models.index(new.default))
    decided = (
        router.decide(prompt, site, allowed=new.models, counts=counts).tier
        for prompt, site, counts in zip(seen.prompts, seen.call_sites, seen.counts, strict=True)
    )
    return np.array([new.models.index(name) for name in decided], dtype=np.intp)


def _usd(router: LearnedRouter, seen: Observations, choice: Choice) -> float:
    """US dollars per thousand calls, at the prices that the new router knows."""
    tokens = seen.usual_answer_tokens
    spent = [
        router.prices.usd(router.models[model], tokens_of(chars), float(tokens[model]))
        for chars, model in zip(seen.chars, choice, strict=True)
    ]
    return 1_000 * float(np.mean(spent))


def _dollars(amount: float) -> str:
    return f"${amount:.3g}"

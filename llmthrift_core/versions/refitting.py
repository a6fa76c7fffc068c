"""One refit: learn from what was judged, compare with the active version, save."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from llmthrift_core.errors import ConfigurationError, StorageError
from llmthrift_core.moments import DAY_US, from_us, to_us
from llmthrift_core.quality.examples import examples_of_ledger
from llmthrift_core.routing.examples import Example, Examples
from llmthrift_core.routing.learned.router import LearnedRouter
from llmthrift_core.versions.held_out import held_out_of, judged
from llmthrift_core.versions.refit import Refit, RefitOutcome
from llmthrift_core.versions.store import Version

if TYPE_CHECKING:
    from llmthrift_core.pricing import PriceCatalog
    from llmthrift_core.thrift import Thrift


def unfitted(refit: Refit, catalog: PriceCatalog) -> LearnedRouter:
    """The router that is to be fitted.

    Raises:
        ConfigurationError: models, default or min_quality cannot be used.
    """
    return LearnedRouter(refit.models, refit.default, refit.min_quality, catalog=catalog, seed=refit.seed)


def refit_once(thrift: Thrift, name: str, refit: Refit, router: LearnedRouter) -> RefitOutcome:
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
    before, untried = _divided(examples, versions[0] if versions else None)
    missing = refit.needed(len(before)) - len(untried)
    if missing > 0:
        return RefitOutcome(None, f"{len(untried):,} answers were judged since the last try; {missing:,} more are needed", missing)
    older, fresh = _divided(examples, in_use)
    held_out = held_out_of(fresh, older, refit.held_out_share, refit.seed)
    learned_from = [each for each in examples if each.known not in held_out]
    router.fit(learned_from)
    active = None if in_use is None else _readable(thrift, name, in_use.version)
    verdict = judged(router, active, [each for each in fresh if each.known in held_out])
    note = f"refit on {len(learned_from):,} examples: {verdict.why}"
    latest = versions[0].version if versions else 0
    saved = thrift.routers.store.add(name, router.to_bytes(), note=note, activate=verdict.activate, latest=latest)
    if saved is None:
        return RefitOutcome(None, f"{note}; but another version was saved meanwhile, so this one was not compared with it and is dropped")
    return RefitOutcome(saved, note)


def _divided(examples: Examples, version: Version | None) -> tuple[list[Example], list[Example]]:
    """The examples of calls before a version was saved, and those since; all of them are since where there is none."""
    saved_us = 0 if version is None else to_us(version.created_at)
    parts: tuple[list[Example], list[Example]] = [], []
    for example, at_us in zip(examples, examples.times_us, strict=True):
        parts[at_us >= saved_us].append(example)
    return parts


def _readable(thrift: Thrift, name: str, version: int) -> LearnedRouter | None:
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

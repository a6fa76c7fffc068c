"""Replaying recorded traffic against a policy, on splits that it was not fitted on, beside controls at the same cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing.cascades.cascade import Cascade
from llmthrift_core.routing.learned.router import LearnedRouter
from llmthrift_core.routing.simulation.controls import apgr, control_scores, spread
from llmthrift_core.routing.simulation.replay import Replayed, Subject, replay
from llmthrift_core.routing.simulation.report import POLICY, Point, SimulatedRow, SimulationReport
from llmthrift_core.routing.simulation.traffic import Traffic

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Rows = NDArray[np.intp]

_SHARES: Final = tuple(step / 20 for step in range(21))
"""Of prompts to the most expensive model, in the curve."""


def simulate(
    traffic: Traffic, subject: Callable[[int], Subject], *, name: str, seeds: int = 5, learn_share: float = 0.5
) -> SimulationReport:
    """Fit on one part of the traffic, judge on the other, once for each seed.

    Controls divide the prompts between the cheapest and the most expensive model, and may spend what the policy spent, so that their
    quality can be compared. A `LearnedRouter` or a `Cascade` is fitted anew for each split; any other policy decides as it is.

    Args:
        subject: makes what is simulated, from a seed.
        name: what to call it.
        learn_share: of the prompts, to fit on.

    Raises:
        ConfigurationError: a number that cannot be used, or a policy that does not fit the traffic.
        MissingExtraError: scikit-learn is not installed.
    """
    if seeds < 1 or not 0.05 <= learn_share <= 0.95:
        raise ConfigurationError(f"seeds must be at least 1 and learn_share within 0.05..0.95, not {seeds!r} and {learn_share!r}")
    runs: dict[str, _Runs] = {}
    met: list[bool] = []
    min_quality: float | None = None
    unfitted = 0
    judged, reference = 0, len(traffic.models) - 1
    for seed in range(seeds):
        learn, judge = traffic.parts(learn_share, seed)
        made = subject(seed)
        if isinstance(made, LearnedRouter | Cascade):
            made.fit(traffic.examples(learn, judge))
            unfitted += not made.fitted
            min_quality = made.min_quality
            reference = _column(traffic, made.default if isinstance(made, LearnedRouter) else made.models[-1])
        split = _Split(traffic, judge, reference, replay(made, traffic, judge))
        quality = traffic.quality[judge]
        met.append(min_quality is None or float(split.policy_quality.mean()) >= min_quality * float(quality[:, reference].mean()))
        judged = len(judge)
        split.add_policy(runs)
        ends = traffic.quality[:, [0, -1]]
        for control, score in control_scores(traffic.prompts, traffic.sites, ends, learn, judge, seed).items():
            split.add_control(runs, control, score)
        for column, model in enumerate(traffic.models):
            split.add(runs, f"always {model}", quality[:, column], traffic.usd[judge, column], np.full(len(judge), column))
    return SimulationReport(
        policy=name,
        models=traffic.models,
        reference=traffic.models[reference],
        rows=tuple(each.row(title) for title, each in runs.items()),
        curves={title: each.curve() for title, each in runs.items() if each.curves},
        splits=seeds,
        judged=judged,
        min_quality=min_quality,
        target_met=sum(met),
        unfitted=unfitted,
    )


@dataclass(slots=True)
class _Runs:
    """One row of the report, split by split."""

    models: int
    quality: list[float] = field(default_factory=list)
    relative: list[float] = field(default_factory=list)
    usd: list[float] = field(default_factory=list)
    shares: list[Floats] = field(default_factory=list)
    escalated: list[float] = field(default_factory=list)
    gained: list[float] = field(default_factory=list)
    gained_error: list[float] = field(default_factory=list)
    error: list[float] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)
    curves: list[Floats] = field(default_factory=list)

    def row(self, title: str) -> SimulatedRow:
        return SimulatedRow(
            title,
            quality=_mean(self.quality),
            quality_interval=_interval(self.quality, self.error),
            relative_quality=_mean(self.relative),
            usd_per_thousand=1_000 * _mean(self.usd),
            shares=tuple(float(share) for share in np.mean(self.shares, axis=0)),
            escalated=_mean(self.escalated),
            apgr=_mean(self.areas) if self.areas else None,
            policy_gain=None if title == POLICY else _mean(self.gained),
            policy_gain_interval=None if title == POLICY else _interval(self.gained, self.gained_error),
        )

    def curve(self) -> tuple[Point, ...]:
        return tuple(Point(float(usd), float(quality)) for usd, quality in np.mean(self.curves, axis=0))


@dataclass(frozen=True, slots=True)
class _Split:
    """The judging part of one split, and what the policy did there."""

    traffic: Traffic
    judge: Rows
    reference: int
    replayed: Replayed

    @property
    def policy_quality(self) -> Floats:
        found: Floats = self.traffic.quality[self.judge, self.replayed.model]
        return found

    def add_policy(self, runs: dict[str, _Runs]) -> None:
        done = self.replayed
        self.add(runs, POLICY, self.policy_quality, done.usd, done.model, done.escalated)
        if done.score is not None:
            self._add_ranking(runs[POLICY], done.score, first_is_paid=done.first_is_paid)

    def add_control(self, runs: dict[str, _Runs], title: str, score: Floats) -> None:
        """The prompts of the highest score go to the most expensive model, as many as the policy's dollars pay for."""
        quality, usd = self.traffic.quality[self.judge], self.traffic.usd[self.judge]
        order = np.argsort(-score, kind="stable")
        spent = usd[:, 0].sum() + np.concatenate([[0.0], np.cumsum((usd[:, -1] - usd[:, 0])[order])])
        affordable = np.flatnonzero(spent <= self.replayed.usd.sum() * (1 + 1e-9))
        strong = np.zeros(len(order), dtype=bool)
        strong[order[: affordable[-1] if len(affordable) else 0]] = True
        column = np.where(strong, len(self.traffic.models) - 1, 0)
        self.add(runs, title, np.where(strong, quality[:, -1], quality[:, 0]), np.where(strong, usd[:, -1], usd[:, 0]), column)
        self._add_ranking(runs[title], score)

    def add(
        self, runs: dict[str, _Runs], title: str, quality: Floats, usd: Floats, column: Rows, escalated: NDArray[np.bool_] | None = None
    ) -> None:
        found = runs.setdefault(title, _Runs(len(self.traffic.models)))
        rows, gained = len(self.judge), self.policy_quality - quality
        reference = float(self.traffic.quality[self.judge, self.reference].mean())
        found.quality.append(float(quality.mean()))
        found.relative.append(float(quality.mean()) / reference if reference else float("nan"))
        found.usd.append(float(usd.mean()))
        found.shares.append(np.bincount(column, minlength=found.models) / rows)
        found.escalated.append(0.0 if escalated is None else float(escalated.mean()))
        found.error.append(float(quality.std() / np.sqrt(rows)))
        found.gained.append(float(gained.mean()))
        found.gained_error.append(float(gained.std() / np.sqrt(rows)))

    def _add_ranking(self, found: _Runs, score: Floats, *, first_is_paid: bool = False) -> None:
        quality, usd = self.traffic.quality[self.judge][:, [0, -1]], self.traffic.usd[self.judge][:, [0, -1]]
        found.areas.append(apgr(score, quality))
        order = np.argsort(-score, kind="stable")
        points = []
        for share in _SHARES:
            strong = np.zeros(len(order), dtype=bool)
            strong[order[: round(share * len(order))]] = True
            paid = np.where(strong, usd[:, 1] + first_is_paid * usd[:, 0], usd[:, 0])
            points.append((1_000 * paid.mean(), np.where(strong, quality[:, 1], quality[:, 0]).mean()))
        found.curves.append(np.array(points))


def _column(traffic: Traffic, model: str) -> int:
    if model not in traffic.models:
        raise ConfigurationError(f"the policy's reference {model!r} is not one of the models {', '.join(traffic.models)}")
    return traffic.models.index(model)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _interval(values: Sequence[float], errors: Sequence[float]) -> float:
    """Half of an interval of 95%. Splits that agree still share the luck of the prompts, so it is never below that of one split."""
    return float(np.nanmax([spread(values), 1.96 * float(np.mean(errors))]))

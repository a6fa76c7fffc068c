"""Verdicts on a canary, and on the version that everybody has, from the evidence. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from llmthrift_core.display import counted, percent
from llmthrift_core.statistics import Interval, RatioSums
from llmthrift_core.statistics.sequential import (
    FEWEST_UNITS,
    e_value,
    evidence_of_change,
    sequential_quality_difference,
    sequential_saving,
)

if TYPE_CHECKING:
    from llmthrift_core.autopilot.rules import AutopilotRules
    from llmthrift_core.autopilot.traffic import Slice
    from llmthrift_core.quality.experiment_results import ArmSums

_EXPECTED_HALF_WIDTHS: Final = 3.5
"""Of a standard error, about what a limit at all looks is wide: where a decision is expected."""
_EXPECTED_LOG_SAVING: Final = 0.1
_EXPECTED_DROP: Final = 0.03
FALSE_ALARM: Final = 0.002
"""A version that keeps its promise is taken back by mistake once in 500 looks or less often, on average."""
LEAST_MARGIN: Final = 0.003
"""Quality that is left of the promise, below which nothing more is tried."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do about a canary.

    Attributes:
        what: "keep" it for everybody, "give up", or "wait".
        why: in words, with figures.
        saving: share of the control's cost per request; None: nothing is known.
        quality_change: mean quality less the control's; None: nothing is known.
    """

    what: Literal["keep", "give up", "wait"]
    why: str
    saving: Interval | None = None
    quality_change: Interval | None = None


def of_canary(
    canary: ArmSums,
    control: ArmSums,
    *,
    margin: float,
    days: float,
    rules: AutopilotRules,
    unit: str = "unit",
    replayed: Interval | None = None,
) -> Verdict:
    """Keep a change whose saving and quality are certain; give up one that certainly saves too little or costs too much quality.

    Args:
        margin: the quality that it may lose, fixed when it began.
        days: with calls, since it began.
        unit: what was assigned to the arms, in words.
        replayed: what the change saves, where that is known from the calls themselves; None: as the arms differ.
    """
    wide = _EXPECTED_HALF_WIDTHS
    change = sequential_quality_difference(canary.quality, control.quality, alpha=rules.alpha, narrowest_at=(margin / wide) ** 2)
    saving = replayed
    if saving is None:
        saving = sequential_saving(canary.cost, control.cost, alpha=rules.alpha, narrowest_at=(_EXPECTED_LOG_SAVING / wide) ** 2)
    seen = f"cost {_share(saving)}, quality {_points(change)}, {counted(canary.requests, 'request')} against {control.requests:,}"

    def said(what: Literal["keep", "give up", "wait"], why: str) -> Verdict:
        return Verdict(what, f"{why}: {seen}", saving, change)

    if change.high < -margin:
        return said("give up", f"it loses more quality than the {margin:.3f} that it may")
    if saving.high < rules.min_saving:
        return said("give up", f"it does not save {percent(rules.min_saving)}")
    if days < rules.shortest_days:
        return said("wait", f"{days:g} of {counted(rules.shortest_days, 'day')} with calls")
    even = expected_units(canary, control)
    if even >= FEWEST_UNITS and saving.low > rules.min_saving and change.low > -margin:
        return said("keep", f"it saves more than {percent(rules.min_saving)}, and loses less quality than the {margin:.3f} that it may")
    uneven = f"a few {unit}s make most calls: the canary's weigh as {even:.1f} equal ones, {FEWEST_UNITS} are needed"
    if days >= rules.longest_days:
        return said("give up", f"still undecided after {counted(days, 'day')} with calls{'' if even >= FEWEST_UNITS else f'; {uneven}'}")
    judged = min(int(canary.quality.units), int(control.quality.units))
    if judged < FEWEST_UNITS:
        return said(
            "wait",
            f"only {counted(int(canary.quality.x), 'answer')} of the canary and {int(control.quality.x):,} of the others were judged",
        )
    if unpriced := canary.unpriced + control.unpriced:
        return said("wait", f"{counted(unpriced, 'call has', 'calls have')} no price")
    if even < FEWEST_UNITS:
        return said("wait", uneven)
    return said("wait", "nothing is certain yet")


def expected_units(canary: ArmSums, control: ArmSums) -> float:
    """How many units of equal weight a canary of this size has on average, whichever it happened to get.

    Its own weights do not show it: a tenth of the questions that has none of the most popular ones by chance looks as if all were as
    rare, and what a change does to the popular ones is not seen. So it is the share of the canary of what both arms have together.
    """
    both = canary.cost.plus(control.cost)
    return both.effective_units * canary.cost.units / both.units if both.units else 0.0


def of_version(slices: Sequence[Slice], *, promise: float) -> tuple[bool, str]:
    """Whether the answers under a version are worse than promised, since any of the moments that they are looked at from, and why.

    Args:
        slices: judged answers since the version came, oldest first.
        promise: the quality to keep.
    """
    since = RatioSums()
    values: list[float] = []
    worst = (0.0, "")
    for each in reversed(slices):
        since = since.plus(each.quality)
        if since.units < FEWEST_UNITS:
            continue
        smooth = since.smoothed(2)
        value = e_value(
            promise - smooth.ratio, smooth.variance, alpha=FALSE_ALARM, narrowest_at=(_EXPECTED_DROP / _EXPECTED_HALF_WIDTHS) ** 2
        )
        values.append(value)
        worst = max(
            worst,
            (
                value,
                (
                    f"{counted(int(since.x), 'judged answer has', 'judged answers have')} a quality of {since.ratio:.3f}, promised are "
                    f"{promise:.3f}"
                ),
            ),
        )
    return evidence_of_change(values) > 1 / FALSE_ALARM, worst[1]


def margin_left(quality: float, spent: float, min_quality: float) -> float:
    """The quality that a change may still lose.

    Args:
        quality: of the present answers.
        spent: what earlier changes have lost. The promise is of the answers before any of them.
    """
    return (1 - min_quality) * (quality + spent) - spent


def _share(interval: Interval) -> str:
    if not interval.low > float("-inf"):
        return "not known yet"
    return f"{-interval.estimate:+.1%} ({-interval.high:+.1%} to {-interval.low:+.1%})"


def _points(interval: Interval) -> str:
    if interval.low <= -1:
        return "not known yet"
    return f"{interval.estimate:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"

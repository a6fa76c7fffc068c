"""`ExperimentResults`: cost and quality per arm, the differences with their intervals, and what follows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from html import escape
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Connection, case, func, or_, select

from llmthrift_core.display import Printed, counted, html_table, percent, plain_table, usd
from llmthrift_core.ledger.judged import read_judged, tags_of, within
from llmthrift_core.model_calls.models import EVALUATION
from llmthrift_core.money import to_usd
from llmthrift_core.statistics import (
    Interval,
    RatioSums,
    deviation,
    quality_difference,
    quality_interval,
    ratio_interval,
    relative_saving,
    units_for_tail,
    units_needed,
)
from llmthrift_core.storage.tables import adjustments, calls

Verdict = Literal["recommended", "rejected", "undecided"]
_FEWEST_UNITS: Final = 30
# Six in ten thousand experiments that assign as they should deviate that far.
_UNEVEN: Final = 3.5
_PEEKING: Final = (
    "Each interval is for one look, at a size that was planned ahead. Whoever looks again and again, and stops at the first result that "
    "pleases, is misled more often than the confidence says."
)
_UNIT_COLUMNS: Final = {"user": calls.c.user, "session": calls.c.session, "request": calls.c.call_id, "question": calls.c.prompt_hash}


@dataclass(frozen=True, slots=True)
class ArmResult:
    """One arm, and how it compares with the control.

    Attributes:
        units: users, sessions or requests. requests: calls. unpriced: model attempts without a price, in no cost.
        cost_usd: of all requests. cost_per_request_usd: dollars, within limits.
        judged: requests that were judged. quality: their mean, within limits.
        saving: share of the control's cost per request that this arm saves; None for the control.
        quality_change: mean quality minus the control's; None for the control.
        verdict: None for the control.
        reasons: why, or what is missing.
    """

    name: str
    units: int
    requests: int
    unpriced: int
    cost_usd: Decimal
    cost_per_request_usd: Interval
    judged: int
    quality: Interval
    saving: Interval | None = None
    quality_change: Interval | None = None
    verdict: Verdict | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class ExperimentResults(Printed):
    """What an experiment says so far.

    Intervals treat units as independent, not their requests: a user's requests resemble each other. The cost per request is a ratio of
    sums over units (delta method); savings are compared as logarithms, since costs have long tails; qualities are smoothed by one answer
    of each kind in each arm, since a few equal scores would claim certainty. Student's t with Welch's degrees of freedom gives the limits.

    Attributes:
        name: of the experiment. control: the arm to compare with. unit: what was assigned. since: from when on.
        confidence: of every interval.
        arms: the control first.
        notes: what a reader should know about the numbers.
    """

    name: str
    control: str
    unit: str
    since: datetime
    confidence: float
    arms: tuple[ArmResult, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def recommendation(self) -> str:
        """In words, one line for each candidate."""
        return "\n".join(f"{arm.name}: {arm.verdict}. {' '.join(arm.reasons)}" for arm in self.arms if arm.verdict is not None)

    def to_dicts(self) -> list[dict[str, Any]]:
        """One dict for each arm; intervals as NAME, NAME_low and NAME_high."""
        return [
            {
                "arm": arm.name,
                "units": arm.units,
                "requests": arm.requests,
                "unpriced": arm.unpriced,
                "cost_usd": arm.cost_usd,
                **_flat("cost_per_request_usd", arm.cost_per_request_usd),
                "judged": arm.judged,
                **_flat("quality", arm.quality),
                **_flat("saving", arm.saving),
                **_flat("quality_change", arm.quality_change),
                "verdict": arm.verdict,
                "reasons": list(arm.reasons),
            }
            for arm in self.arms
        ]

    def to_text(self) -> str:
        """All of it as text."""
        return "\n".join([plain_table(*self._table()), "", self.recommendation, *self.notes])

    def _repr_html_(self) -> str:
        lines = [*self.recommendation.splitlines(), *self.notes]
        return html_table(*self._table()) + "".join(f"<p>{escape(line)}</p>" for line in lines)

    def _table(self) -> tuple[list[str], list[list[Any]]]:
        header = ["arm", f"{self.unit}s", "requests", "cost", "cost per request", "judged", "quality", "saving", "quality change"]
        if self.unit == "request":
            header[1] = "units"
        rows = [
            [
                arm.name,
                arm.units,
                arm.requests,
                arm.cost_usd,
                _dollars(arm.cost_per_request_usd),
                arm.judged,
                _shown(arm.quality, ".3f"),
                "" if arm.saving is None else _shown(arm.saving, ".1%"),
                "" if arm.quality_change is None else _shown(arm.quality_change, "+.3f"),
            ]
            for arm in self.arms
        ]
        return header, rows


def compare(
    name: str,
    found: Mapping[str, ArmSums],
    *,
    weights: Mapping[str, float],
    control: str,
    unit: str,
    since: datetime,
    confidence: float,
    min_saving: float,
    quality_margin: float,
) -> ExperimentResults:
    """Compare every arm with the control.

    A candidate is recommended when the whole interval of its saving is above `min_saving` and the whole interval of its quality's change
    is above `-quality_margin` (non-inferiority). It is rejected when either interval lies wholly on the other side.
    """
    rules = _Rules(confidence, min_saving, quality_margin, unit)
    base = found[control]
    arms = [_arm(control, base, confidence)]
    arms += [rules.candidate(_arm(other, sums, confidence), sums, base) for other, sums in found.items() if other != control]
    return ExperimentResults(name, control, unit, since, confidence, tuple(arms), _notes(found, weights, unit))


@dataclass(frozen=True, slots=True)
class _Rules:
    confidence: float
    min_saving: float
    margin: float
    unit: str

    def candidate(self, arm: ArmResult, sums: ArmSums, base: ArmSums) -> ArmResult:
        saving = relative_saving(sums.cost, base.cost, self.confidence)
        change = quality_difference(sums.quality, base.quality, self.confidence)
        verdict, reasons = self._verdict(saving, change, sums, base)
        return ArmResult(
            arm.name,
            arm.units,
            arm.requests,
            arm.unpriced,
            arm.cost_usd,
            arm.cost_per_request_usd,
            arm.judged,
            arm.quality,
            saving,
            change,
            verdict,
            tuple(reasons),
        )

    def _verdict(self, saving: Interval, change: Interval, sums: ArmSums, base: ArmSums) -> tuple[Verdict, list[str]]:
        missing = self._too_little(sums, base)
        if missing:
            return "undecided", missing
        least, margin = percent(self.min_saving), f"{self.margin:g}"
        saves, moves = _shown(saving, ".1%"), _shown(change, "+.3f")
        if change.high < -self.margin:
            return "rejected", [f"Its quality is lower by more than {margin}: {moves}."]
        if saving.high <= self.min_saving:
            return "rejected", [f"It does not save more than {least}: {saves}."]
        if saving.low <= self.min_saving:
            missing.append(f"That it saves more than {least} is not certain yet: {saves}.")
        if change.low <= -self.margin:
            judged = min(sums.quality.units, base.quality.units)
            needed = max(units_needed(sums.quality, base.quality, self.margin, self.confidence), judged + 1)
            missing.append(
                f"That its quality is not lower by {margin} is not certain yet: {moves}. Too few judged {self.unit}s: {judged:,} of about "
                f"{needed:,} in each arm."
            )
        if missing:
            return "undecided", missing
        return "recommended", [f"It saves {saves}, more than {least}, and its quality is not lower by {margin}: {moves}."]

    def _too_little(self, sums: ArmSums, base: ArmSums) -> list[str]:
        missing = []
        units, judged = min(sums.cost.units, base.cost.units), min(sums.quality.units, base.quality.units)
        if units < _FEWEST_UNITS:
            missing.append(f"Too few {self.unit}s: {units:,} of at least {_FEWEST_UNITS} in each arm.")
        if judged < _FEWEST_UNITS:
            needed = max(_FEWEST_UNITS, units_needed(sums.quality, base.quality, self.margin, self.confidence) if judged > 1 else 0)
            missing.append(f"Too few judged {self.unit}s: {judged:,} of about {needed:,} in each arm.")
        if unpriced := sums.unpriced + base.unpriced:
            missing.append(
                f"What it saves is not known: {counted(unpriced, 'call has', 'calls have')} no price. `llmthrift prices backfill` adds it."
            )
        elif units and not base.cost_nano_usd:
            missing.append("The control costs nothing: there is nothing to save.")
        return missing


def _arm(name: str, sums: ArmSums, confidence: float) -> ArmResult:
    return ArmResult(
        name,
        sums.cost.units,
        sums.requests,
        sums.unpriced,
        to_usd(sums.cost_nano_usd),
        ratio_interval(sums.cost, confidence),
        int(sums.quality.x),
        quality_interval(sums.quality, confidence),
    )


def _notes(found: Mapping[str, ArmSums], weights: Mapping[str, float], unit: str) -> tuple[str, ...]:
    notes = []
    total = sum(sums.cost.units for sums in found.values())
    for name, sums in found.items():
        share = weights[name]
        if deviation(sums.cost.units, total * share, math.sqrt(total * share * (1 - share))) > _UNEVEN:
            notes.append(
                f"{name} has {sums.cost.units:,} of {total:,} {unit}s where {total * share:,.0f} were to be expected: some calls of one "
                "arm are lost, and the comparison may be wrong."
            )
        if sums.cost.units < (needed := units_for_tail(sums.cost)):
            notes.append(
                f"A few {unit}s make up much of the cost of {name}: its limits hold well from about {needed:,} {unit}s on, and there "
                f"are {sums.cost.units:,}."
            )
    return (*notes, _PEEKING)


def _flat(name: str, interval: Interval | None) -> dict[str, float | None]:
    values = (None, None, None) if interval is None else (interval.estimate, interval.low, interval.high)
    return {
        key: None if value is None or not math.isfinite(value) else value
        for key, value in zip((name, f"{name}_low", f"{name}_high"), values, strict=True)
    }


def _shown(interval: Interval, form: str) -> str:
    if math.isnan(interval.estimate):
        return "unknown"
    return f"{interval.estimate:{form}} ({interval.low:{form}} to {interval.high:{form}})"


def _dollars(interval: Interval) -> str:
    if math.isnan(interval.estimate):
        return "unknown"
    shown = [usd(Decimal(repr(value))) if math.isfinite(value) else "unknown" for value in (interval.estimate, interval.low, interval.high)]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


@dataclass
class ArmSums:
    """One arm.

    Attributes:
        requests: calls. unpriced: model attempts without a price, in no cost.
        cost: dollars per request, by unit. quality: per judged request, by unit.
        cost_nano_usd: the exact cost.
    """

    requests: int = 0
    unpriced: int = 0
    cost_nano_usd: int = 0
    cost: RatioSums = field(default_factory=RatioSums)
    quality: RatioSums = field(default_factory=RatioSums)


def read_arms(
    connection: Connection,
    *,
    tag: str,
    arms: Sequence[str],
    unit: str,
    since_us: int,
    until_us: int | None,
    source: str | None,
    hits_at_price: bool = False,
) -> dict[str, ArmSums]:
    """The arms in the period [since_us, until_us), by name. Left out are calls of judges, which an arm is not to pay for, unlike what its
    router asks, and units that were erased.

    Args:
        hits_at_price: a hit counts as what its answer cost: for arms that are cached apart, of which the smaller one has fewer hits.
    """
    column = _UNIT_COLUMNS[unit]
    # Tags are stored as JSON without spaces. The pattern may find too much, such as other spellings: tags are read to be sure.
    name = json.dumps(tag, ensure_ascii=False)
    conditions = [
        calls.c.tags.contains(f"{name}:", autoescape=True),
        column.is_not(None),
        or_(calls.c.request_type.is_(None), calls.c.request_type != EVALUATION),
    ]
    found = {arm: ArmSums() for arm in arms}
    cost: ColumnElement[int] = func.coalesce(calls.c.cost_nano_usd, adjustments.c.cost_nano_usd)
    if hits_at_price:
        cost = case((calls.c.cache.is_not(None), func.coalesce(calls.c.cache_saved_nano_usd, cost)), else_=cost)
    query = (
        select(
            column,
            calls.c.tags,
            func.sum(case((calls.c.attempt == 1, 1), else_=0)),
            func.sum(func.coalesce(cost, 0)),
            func.sum(case((cost.is_(None), 1), else_=0)),
        )
        .select_from(calls.outerjoin(adjustments, adjustments.c.request_id == calls.c.request_id))
        .where(*within(since_us, until_us), *conditions)
        .group_by(column, calls.c.tags)
        .order_by(column)
    )
    costs: dict[tuple[str, str], list[int]] = {}
    for who, tags, requests, nano_usd, unpriced in connection.execute(query):
        arm = tags_of(tags).get(tag)
        if arm not in found:
            continue
        total = costs.setdefault((arm, who), [0, 0])
        total[0] += int(requests)
        total[1] += int(nano_usd)
        found[arm].unpriced += int(unpriced)
    for (arm, _), (requests, nano_usd) in costs.items():
        sums = found[arm]
        sums.requests += requests
        sums.cost_nano_usd += nano_usd
        sums.cost.add(requests, nano_usd / 1e9)
    qualities: dict[tuple[str, str], list[float]] = {}
    for judged in read_judged(connection, since_us=since_us, until_us=until_us, source=source, where=conditions):
        arm = judged.tags.get(tag)
        if arm in found:
            score = qualities.setdefault((arm, judged.call[column.name]), [0, 0.0])
            score[0] += 1
            score[1] += judged.quality
    for (arm, _), (count, quality) in qualities.items():
        found[arm].quality.add(count, quality)
    return found

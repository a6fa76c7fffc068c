"""The results of a shadow evaluation by configuration, and the verdict as soon as it is clear."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal

from llmthrift_core.display import Printed, counted, html_table, percent, plain_table, usd
from llmthrift_core.statistics import Interval, RatioSums
from llmthrift_core.statistics.sequential import FEWEST_UNITS, sequential_interval

Verdict = Literal["switch on", "leave off", "not clear yet"]
_STANDARD_ERRORS: Final = 3.0  # half of a sequential interval of 95%, about, where it is narrowest
_SAVING_ERROR: Final = 0.05
_MONTH_SECONDS: Final = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class Bar:
    """What a configuration must reach.

    Attributes:
        min_saving: a share of the present cost.
        max_loss: of quality: so many more of a hundred answers may be judged worse than better.
        alpha: errors that are allowed for one limit, over all looks.
    """

    min_saving: float
    max_loss: float
    alpha: float


@dataclass(slots=True)
class Compared:
    """One configuration against the present answers, added up.

    Attributes:
        better, same, worse: judgements.
        failed: answers or judgements that failed; in no figure.
        preference: for each judgement a unit of 1 (the candidate's answer is better), 0 or between.
        cost: present dollars and the candidate's.
    """

    better: int = 0
    same: int = 0
    worse: int = 0
    failed: int = 0
    preference: RatioSums = field(default_factory=RatioSums)
    cost: RatioSums = field(default_factory=RatioSums)

    @property
    def judged(self) -> int:
        """How many answers were compared."""
        return self.better + self.same + self.worse

    def add(self, value: float, present_usd: float, candidate_usd: float) -> None:
        """One more comparison: 1 where the candidate's answer is better, -1 where the present one is."""
        self.better += value > 0
        self.worse += value < 0
        self.same += value == 0
        self.preference.add(1, (value + 1) / 2)
        self.cost.add(present_usd, candidate_usd)

    def plus(self, other: Compared) -> Compared:
        """The comparisons of both."""
        return Compared(
            self.better + other.better,
            self.same + other.same,
            self.worse + other.worse,
            self.failed + other.failed,
            self.preference.plus(other.preference),
            self.cost.plus(other.cost),
        )

    def quality_change(self, bar: Bar) -> Interval:
        """Answers judged better less those judged worse, as a share, within limits that hold at all looks together."""
        if self.judged < FEWEST_UNITS:
            return Interval(2 * self.preference.ratio - 1 if self.judged else math.nan, -1.0, 1.0)
        smooth = self.preference.smoothed(1)
        narrowest = (bar.max_loss / _STANDARD_ERRORS) ** 2
        found = sequential_interval(2 * smooth.ratio - 1, 4 * smooth.variance, alpha=bar.alpha, narrowest_at=narrowest)
        plain = 2 * self.preference.ratio - 1
        return Interval(plain, max(-1.0, min(found.low, plain)), min(1.0, max(found.high, plain)))

    def saving(self, bar: Bar) -> Interval:
        """The share of the present dollars that it saves, likewise."""
        if self.judged < FEWEST_UNITS or not self.cost.x:
            return Interval(1 - self.cost.ratio if self.cost.x else math.nan, -math.inf, 1.0)
        found = sequential_interval(1 - self.cost.ratio, self.cost.variance, alpha=bar.alpha, narrowest_at=_SAVING_ERROR**2)
        return Interval(found.estimate, found.low, min(1.0, found.high))

    def verdict(self, bar: Bar) -> Verdict:
        """What is clear by now."""
        change, saving = self.quality_change(bar), self.saving(bar)
        if change.low > -bar.max_loss and saving.low > bar.min_saving:
            return "switch on"
        if change.high < -bar.max_loss or saving.high < bar.min_saving:
            return "leave off"
        return "not clear yet"


@dataclass(frozen=True, slots=True)
class ShadowRow:
    """One configuration in a report.

    Attributes:
        name: of the configuration.
        verdict: "switch on", "leave off" or "not clear yet".
        judged, better, same, worse, failed: counts.
        quality_change: answers judged better less those judged worse, as a share.
        saving: the share of the present dollars that it saves.
        monthly_usd: what that is a month, at the rate of the offered traffic; None: not known.
        note: why it is not asked any more; None: it is, or the verdict is clear.
    """

    name: str
    verdict: Verdict
    judged: int
    better: int
    same: int
    worse: int
    failed: int
    quality_change: Interval
    saving: Interval
    monthly_usd: Interval | None
    note: str | None

    def to_dict(self) -> dict[str, Any]:
        """Flat, with the limits under names of their own."""
        row: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        for name in ("quality_change", "saving", "monthly_usd"):
            found: Interval | None = row[name]
            row[name], row[f"{name}_low"], row[f"{name}_high"] = (
                (None, None, None) if found is None else (found.estimate, found.low, found.high)
            )
        return row


@dataclass(frozen=True, repr=False)
class ShadowReport(Printed):
    """What to switch on.

    Attributes:
        rows: the configurations.
        offered: calls that were seen; sampled: of those, taken.
        present_usd: what the seen calls cost; seconds: in which time.
        spent_usd: on the evaluation.
        stopped: why nothing is asked at the moment; None: it is.
        confidence: of all limits together.
    """

    rows: tuple[ShadowRow, ...]
    offered: int
    sampled: int
    present_usd: Decimal
    seconds: float
    spent_usd: Decimal
    stopped: str | None
    confidence: float
    skipped: Mapping[str, int] = field(default_factory=dict)

    @property
    def switch_on(self) -> tuple[str, ...]:
        """The configurations that keep the quality and save enough, for certain."""
        return tuple(each.name for each in self.rows if each.verdict == "switch on")

    def to_dicts(self) -> list[dict[str, Any]]:
        """The configurations as flat dicts."""
        return [each.to_dict() for each in self.rows]

    def to_text(self) -> str:
        """The configurations, and how much was looked at."""
        return "\n".join([plain_table(*self._table()), *self._remarks()])

    def _repr_html_(self) -> str:
        return html_table(*self._table()) + "".join(f"<p>{each}</p>" for each in self._remarks())

    def _table(self) -> tuple[list[str], list[list[Any]]]:
        header = ["configuration", "verdict", "better/same/worse", "quality", "saves", "usd a month"]
        rows: list[list[Any]] = []
        for each in self.rows:
            counts = f"{each.better}/{each.same}/{each.worse}"
            month = "" if each.monthly_usd is None else usd(Decimal(f"{each.monthly_usd.estimate:.6g}"))
            rows.append([each.name, each.verdict, counts, _limits(each.quality_change, sign=True), _limits(each.saving), month])
        return header, rows

    def _remarks(self) -> list[str]:
        hours = self.seconds / 3600
        seen = f"{self.sampled:,} of {counted(self.offered, 'call')} in {hours:,.1f} hours, which cost {usd(self.present_usd)}"
        lines = [
            f"{seen}; {usd(self.spent_usd)} were spent on this evaluation.",
            f"Limits hold together at {percent(self.confidence)}, however often they are looked at.",
        ]
        lines += [f"{counted(count, 'call was', 'calls were')} left out: {why}." for why, count in self.skipped.items()]
        lines += [f"{each.name}: {each.note}." for each in self.rows if each.note]
        return [*lines, *([f"Stopped: {self.stopped}."] if self.stopped else [])]


def monthly(saving: Interval, present_usd: Decimal, seconds: float) -> Interval | None:
    """Dollars a month, at the rate of the traffic that was seen; None where no time has passed."""
    if seconds <= 0 or not math.isfinite(saving.estimate):
        return None
    month = float(present_usd) / seconds * _MONTH_SECONDS
    return Interval(saving.estimate * month, saving.low * month, saving.high * month)


def _limits(found: Interval, *, sign: bool = False) -> str:
    if not math.isfinite(found.estimate):
        return "unknown"
    form = "+.1%" if sign else ".1%"
    if not math.isfinite(found.low):
        return format(found.estimate, form)
    return f"{found.estimate:{form}} ({found.low:{form}} to {found.high:{form}})"

"""The report of a simulation: a table, and the cost-quality curve as text and as a chart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from llmthrift_core.display import Printed, counted, html_table, percent, plain_table, usd
from llmthrift_core.errors import MissingExtraError

if TYPE_CHECKING:
    import altair

POLICY: Final = "the policy"
_LETTERS: Final = {
    "random": "r",
    "length (longest to strong)": "l",
    "shortest to strong": "s",
    "call-site table": "t",
    "oracle": "o",
    POLICY: "p",
}
_WIDTH: Final = 64
_HEIGHT: Final = 16


class Point(NamedTuple):
    """Of a curve: US dollars per thousand calls, and mean quality."""

    usd_per_thousand: float
    quality: float


@dataclass(frozen=True, slots=True)
class SimulatedRow:
    """One way to route, the mean over the splits.

    Attributes:
        quality: mean, 0 to 1; the interval is one half of it, at 95%.
        relative_quality: as a share of the reference model's.
        usd_per_thousand: US dollars per thousand calls.
        shares: of the calls that each model's answer was kept for, in the order of `SimulationReport.models`.
        escalated: share of the calls for which more than one model was asked.
        apgr: of the ranking; None where nothing is ranked.
        policy_gain: the policy's quality less this one's on the same prompts; None for the policy.
    """

    name: str
    quality: float
    quality_interval: float
    relative_quality: float
    usd_per_thousand: float
    shares: tuple[float, ...]
    escalated: float
    apgr: float | None
    policy_gain: float | None
    policy_gain_interval: float | None

    @property
    def is_noise(self) -> bool:
        """Whether the policy's gain cannot be told from none."""
        return self.policy_gain is not None and not abs(self.policy_gain) > (self.policy_gain_interval or 0.0)


@dataclass(frozen=True, slots=True, repr=False)
class SimulationReport(Printed):
    """A policy beside its controls.

    Attributes:
        policy: its name.
        models: cheapest first.
        reference: the model whose quality is to be kept: the default of a router, else the most expensive one.
        rows: the policy, the controls that spend what it spent, and each model alone.
        curves: by the name of a row, from all calls to the cheapest model to all calls to the most expensive one.
        splits: how many, each with `judged` rows to judge by.
        min_quality: what a fitted policy was to keep of the reference's quality; None of other policies.
        target_met: in how many splits it did.
        unfitted: in how many splits there was too little to learn from.
    """

    policy: str
    models: tuple[str, ...]
    reference: str
    rows: tuple[SimulatedRow, ...]
    curves: Mapping[str, tuple[Point, ...]]
    splits: int
    judged: int
    min_quality: float | None
    target_met: int
    unfitted: int

    def to_dicts(self) -> list[dict[str, Any]]:
        """The rows, as numbers."""
        return [asdict(row) | {"shares": dict(zip(self.models, row.shares, strict=True)), "is_noise": row.is_noise} for row in self.rows]

    def to_text(self) -> str:
        """All of it as text."""
        return "\n".join([self._title(), "", plain_table(*self._table()), "", *self.notes()])

    def _repr_html_(self) -> str:
        return html_table(*self._table()) + "".join(f"<p>{note}</p>" for note in self.notes())

    def notes(self) -> list[str]:
        """What follows from the figures, and what they cannot say."""
        policy, *others = self.rows
        found = []
        if self.unfitted:
            found.append(
                f"In {self.unfitted} of {counted(self.splits, 'split')} there was too little to learn from: the policy was not "
                "fitted there."
            )
        if self.min_quality is not None:
            found.append(
                f"{self.min_quality:g} of {self.reference}'s quality was promised and kept in {self.target_met} of "
                f"{counted(self.splits, 'split')}."
            )
        alone = next(row for row in others if row.name == f"always {self.reference}")
        if alone.usd_per_thousand:
            saved = 1 - policy.usd_per_thousand / alone.usd_per_thousand
            found.append(f"Against {self.reference} for every call {percent(saved)} of the dollars are saved.")
        if noise := [row.name for row in others if row.is_noise]:
            found.append(f"Not to be told from the policy's quality, the difference being within the noise: {', '.join(noise)}.")
        found.append("Controls spend what the policy spends at most. ± is half an interval of 95%; splits share their prompts.")
        return found

    def curve_text(self) -> str:
        """The curves as text. Where several meet, the policy is shown first, then the oracle and the table."""
        points = [point for curve in self.curves.values() for point in curve]
        own = Point(self.rows[0].usd_per_thousand, self.rows[0].quality)
        points.append(own)
        low, high = (Point(*(pick(point[axis] for point in points) for axis in (0, 1))) for pick in (min, max))
        grid = [[" "] * _WIDTH for _ in range(_HEIGHT)]

        def mark(point: Point, letter: str) -> None:
            across, up = ((point[axis] - low[axis]) / (high[axis] - low[axis]) if high[axis] > low[axis] else 0.5 for axis in (0, 1))
            grid[_HEIGHT - 1 - round(up * (_HEIGHT - 1))][round(across * (_WIDTH - 1))] = letter

        for name, letter in _LETTERS.items():
            for point in self.curves.get(name, ()):
                mark(point, letter)
        mark(own, "P")
        lines = [
            f"{low.quality + (high.quality - low.quality) * (1 - row / (_HEIGHT - 1)):6.3f} |{''.join(cells)}"
            for row, cells in enumerate(grid)
        ]
        ends = f"{_dollars(low.usd_per_thousand)} {'per thousand calls':^{_WIDTH - 20}} {_dollars(high.usd_per_thousand)}"
        legend = ", ".join(f"{letter} {name}" for name, letter in _LETTERS.items() if name in self.curves)
        return "\n".join(
            [*(line.rstrip() for line in lines), f"{'':6} +{'-' * _WIDTH}", f"{'':8}{ends}", f"{'':8}P {self.policy}; {legend}"]
        )

    def chart(self) -> altair.LayerChart | altair.FacetChart:
        """The curves as a chart of Altair.

        Raises:
            MissingExtraError: altair is not installed.
        """
        try:
            import altair
        except ImportError:
            raise MissingExtraError("notebook", "altair") from None

        def values(rows: list[dict[str, Any]]) -> altair.Data:
            return altair.Data(values=rows)  # type: ignore[no-untyped-call]

        lines = [
            {"routing": self.policy if name == POLICY else name, **point._asdict(), "step": step}
            for name, curve in self.curves.items()
            for step, point in enumerate(curve)
        ]
        own = self.rows[0]
        across = altair.X("usd_per_thousand:Q", title="US dollars per thousand calls")
        up = altair.Y("quality:Q", title="mean quality").scale(zero=False)
        curves = altair.Chart(values(lines)).mark_line().encode(across, up, color="routing:N", order="step:Q")
        dot = [{"routing": f"{self.policy}, as it decides", "usd_per_thousand": own.usd_per_thousand, "quality": own.quality}]
        decided = altair.Chart(values(dot)).mark_point(filled=True, size=120).encode(across, up, color="routing:N")
        return altair.layer(curves, decided).properties(width=560, height=360, title=self._title())

    def _title(self) -> str:
        return f"{self.policy}: {counted(self.splits, 'split')}, {counted(self.judged, 'judged call')} in each"

    def _table(self) -> tuple[list[str], list[list[str]]]:
        header = ["routed by", "quality", f"of {self.reference}'s", "a thousand calls", *self.models, "escalated", "APGR", "policy's gain"]
        return header, [
            [
                self.policy if row.name == POLICY else row.name,
                f"{row.quality:.3f} ± {row.quality_interval:.3f}",
                f"{row.relative_quality:.3f}",
                _dollars(row.usd_per_thousand),
                *(percent(share) for share in row.shares),
                percent(row.escalated),
                "" if row.apgr is None or math.isnan(row.apgr) else f"{row.apgr:.3f}",
                _gain(row),
            ]
            for row in self.rows
        ]


def _dollars(amount: float) -> str:
    return usd(Decimal(repr(amount)).quantize(Decimal("1e-9")))


def _gain(row: SimulatedRow) -> str:
    if row.policy_gain is None:
        return ""
    return f"{row.policy_gain:+.3f} ± {row.policy_gain_interval:.3f}{', noise' if row.is_noise else ''}"

"""`EvaluationReport`: what an evaluation judged, what it left, and what it cost."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from html import escape
from typing import Any

from llmthrift_core.display import Printed, plain_table, usd
from llmthrift_core.statistics import Interval, RatioSums, quality_interval


@dataclass(repr=False)
class EvaluationReport(Printed):
    """What became of the calls that may be judged.

    Attributes:
        considered: calls with a text, not judged before.
        chosen: of those, how many were to be judged, by reason: "feature", "canary" or "sample".
        judged: got a quality.
        escalated: of those that the cheap judge saw, how many went to the other one.
        not_judged: got none, by kind: "failed" or "unreadable"; "gone" where the text was deleted meanwhile.
        spent_usd: what the judges cost.
        stopped: why calls are left, or None.
    """

    considered: int = 0
    chosen: Counter[str] = field(default_factory=Counter)
    judged: int = 0
    escalated: int = 0
    not_judged: Counter[str] = field(default_factory=Counter)
    spent_usd: Decimal = Decimal(0)
    stopped: str | None = None
    qualities: RatioSums = field(default_factory=RatioSums, repr=False)

    @property
    def left(self) -> int:
        """Chosen, and not tried: another run takes them up."""
        return self.chosen.total() - self.judged - self.not_judged.total()

    @property
    def quality(self) -> Interval:
        """The mean quality of what was judged here, within limits of 95%. NaN where nothing was."""
        return quality_interval(self.qualities, 0.95)

    def add(self, other: EvaluationReport) -> None:
        """Take over the figures of another one, and why it stopped."""
        self.considered += other.considered
        self.chosen += other.chosen
        self.judged += other.judged
        self.escalated += other.escalated
        self.not_judged += other.not_judged
        self.spent_usd += other.spent_usd
        self.stopped = other.stopped
        self.qualities = self.qualities.plus(other.qualities)

    def to_dict(self) -> dict[str, Any]:
        """Every figure by name."""
        quality = self.quality
        return {
            "considered": self.considered,
            "chosen": dict(self.chosen),
            "judged": self.judged,
            "escalated": self.escalated,
            "not_judged": dict(self.not_judged),
            "left": self.left,
            "spent_usd": self.spent_usd,
            "quality": None if math.isnan(quality.estimate) else quality.estimate,
            "low": quality.low,
            "high": quality.high,
            "stopped": self.stopped,
        }

    def to_text(self) -> str:
        """All of it as text."""
        lines = plain_table(["evaluation", ""], self._lines())
        return lines if self.stopped is None else f"{lines}\nStopped: {self.stopped}"

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in self._lines())
        stopped = "" if self.stopped is None else f"<p>Stopped: {escape(self.stopped)}</p>"
        return f"<table><tbody>{rows}</tbody></table>{stopped}"

    def _lines(self) -> list[tuple[str, str]]:
        quality = self.quality
        lines = [
            ("calls with a text, not judged before", f"{self.considered:,}"),
            ("chosen", _counted(self.chosen)),
            ("judged", f"{self.judged:,}"),
            ("sent on by the cheap judge", f"{self.escalated:,}"),
            ("not judged", _counted(self.not_judged)),
            ("left", f"{self.left:,}"),
            ("spent", usd(self.spent_usd)),
        ]
        if self.judged:
            lines.append(("quality", f"{quality.estimate:.3f} ({quality.low:.3f} to {quality.high:.3f})"))
        return lines


def _counted(counts: Counter[str]) -> str:
    named = ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))
    return f"{counts.total():,} ({named})" if named else "0"

"""`QualityReport`: how good answers were, by model, feature, call site or prompt version, and whether that changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.display import Printed, counted, html_table, plain_table
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.ledger.judged import JudgedCall, count_unknown, read_judged
from llmthrift_core.moments import DAY_US, Moment, from_us, to_us
from llmthrift_core.statistics import Interval, RatioSums, exponential_mean, quality_difference, quality_interval

if TYPE_CHECKING:
    from llmthrift_core.host import Host

CHOICES: Final = (
    "model",
    "provider",
    "feature",
    "user",
    "session",
    "request_type",
    "prompt_version",
    "config_version",
    "call_site",
    "day",
)
# With one model in a hundred called changed that is not, a weekly look at a dozen models stays quiet most of the year.
_DRIFT_CONFIDENCE: Final = 0.99


@dataclass(frozen=True, slots=True)
class QualityScore:
    """The judged answers of one model, feature, call site, ...

    Attributes:
        value: which; None: not given.
        judged: how many answers.
        quality: the mean within its limits.
        recent_quality: the mean in which an answer counts half as much for every half-life of its age.
        effective_judged: how many equally weighted answers recent_quality is worth.
        change: mean of the last days minus the mean before, within limits of 99%; None where either has no answer.
    """

    value: str | None
    judged: int
    quality: Interval
    recent_quality: float
    effective_judged: float
    change: Interval | None

    @property
    def drift(self) -> str | None:
        """ "worse" or "better" where all of the interval of `change` is on one side of zero, else None."""
        if self.change is None:
            return None
        return "worse" if self.change.high < 0 else "better" if self.change.low > 0 else None


@dataclass(frozen=True, repr=False)
class QualityReport(Printed):
    """Quality, one row per value of `by`, the most judged first; days in their order.

    The limits of each mean are those of one look at answers that were chosen at random: who judges only what went wrong measures that.

    Attributes:
        by: what the rows stand for.
        confidence: of the limits of each mean.
        rows: the scores.
        notes: what a reader should know about the numbers.
    """

    by: str
    confidence: float
    rows: tuple[QualityScore, ...]
    notes: tuple[str, ...] = field(default=())

    def to_dicts(self) -> list[dict[str, Any]]:
        """The rows as dicts: the value under the name of `by`, judged, quality, low, high, recent_quality, effective_judged, change,
        change_low, change_high and drift."""
        return [
            {
                self.by: row.value,
                "judged": row.judged,
                "quality": row.quality.estimate,
                "low": row.quality.low,
                "high": row.quality.high,
                "recent_quality": row.recent_quality,
                "effective_judged": row.effective_judged,
                "change": None if row.change is None else row.change.estimate,
                "change_low": None if row.change is None else row.change.low,
                "change_high": None if row.change is None else row.change.high,
                "drift": row.drift,
            }
            for row in self.rows
        ]

    def __iter__(self) -> Iterator[QualityScore]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def to_text(self) -> str:
        """All of it as text."""
        if not self.rows:
            return "\n".join(["No answer was judged in this period.", *self.notes])
        return "\n".join([plain_table(*self._table()), *self.notes])

    def _repr_html_(self) -> str:
        return html_table(*self._table()) + "".join(f"<p>{escape(note)}</p>" for note in self.notes)

    def _table(self) -> tuple[list[str], list[list[Any]]]:
        header = [self.by, "judged", "quality", f"{self.confidence:.0%} limits", "lately", "drift"]
        rows = [
            [
                row.value,
                row.judged,
                f"{row.quality.estimate:.3f}",
                f"{row.quality.low:.3f} to {row.quality.high:.3f}",
                f"{row.recent_quality:.3f}",
                row.drift or "",
            ]
            for row in self.rows
        ]
        return header, rows


def quality_report(
    thrift: Host,
    *,
    by: str = "model",
    since: Moment | None = None,
    until: Moment | None = None,
    source: str | None = None,
    confidence: float = 0.95,
    recent_days: float = 7.0,
    half_life_days: float = 7.0,
) -> QualityReport:
    """Quality from `thrift.feedback`: of users, of judges, of your own checks. See `Thrift.quality`."""
    tag = None
    if by not in CHOICES:
        if not isinstance(by, str) or not by.startswith("tag:") or by == "tag:":
            raise ConfigurationError(f"cannot report quality by {by!r}; choose one of {', '.join(CHOICES)}, or tag:NAME")
        tag = by.removeprefix("tag:")
    checked_confidence(confidence)
    for name, days in (("recent_days", recent_days), ("half_life_days", half_life_days)):
        if isinstance(days, bool) or not isinstance(days, int | float) or not 0 < days < 100_000:
            raise ConfigurationError(f"{name} must be a positive number of days, not {days!r}")
    since_us = None if since is None else to_us(since)
    until_us = None if until is None else to_us(until)
    end_us = min(thrift.now_us(), until_us) if until_us is not None else thrift.now_us()
    groups: dict[str | None, list[tuple[int, float]]] = defaultdict(list)
    thrift.flush()
    with thrift.database.read() as connection:
        for judged in read_judged(connection, since_us=since_us, until_us=until_us, source=source):
            groups[_value(judged, by, tag)].append((judged.call["at_us"], judged.quality))
        unknown = count_unknown(connection, since_us=since_us, until_us=until_us)
    rows = [_score(value, judged, end_us, confidence, round(recent_days * DAY_US), half_life_days) for value, judged in groups.items()]
    rows.sort(key=lambda row: (str(row.value),) if by == "day" else (-row.judged, str(row.value)))
    return QualityReport(tag or by, confidence, tuple(rows), _notes(rows, unknown, recent_days, by))


def checked_window_us(window_days: float, refresh_seconds: float) -> int:
    """How far back a guard looks, in microseconds, where both its times can be used.

    Raises:
        ConfigurationError: one of them cannot.
    """
    if not 0 < window_days < 100_000 or not 0 <= refresh_seconds < float("inf"):
        raise ConfigurationError(
            f"window_days={window_days!r} must be positive, refresh_seconds={refresh_seconds!r} zero or more, and both finite"
        )
    return round(window_days * DAY_US)


def checked_confidence(confidence: float) -> float:
    """A confidence that limits can have.

    Raises:
        ConfigurationError: not from 0.5 to 0.9999.
    """
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0.5 <= confidence <= 0.9999:
        raise ConfigurationError(f"confidence must be from 0.5 to 0.9999, such as 0.95, not {confidence!r}")
    return confidence


def _value(judged: JudgedCall, by: str, tag: str | None) -> str | None:
    if tag is not None:
        return judged.tags.get(tag)
    if by == "day":
        return from_us(judged.call["at_us"]).strftime("%Y-%m-%d")
    value: str | None = judged.call[by]
    return value


def _score(
    value: str | None, judged: list[tuple[int, float]], end_us: int, confidence: float, recent_us: int, half_life_days: float
) -> QualityScore:
    every, recent, before = RatioSums(), RatioSums(), RatioSums()
    for at_us, quality in judged:
        every.add(1, quality)
        (recent if at_us >= end_us - recent_us else before).add(1, quality)
    lately, effective = exponential_mean(((end_us - at_us, quality) for at_us, quality in judged), half_life_days * DAY_US)
    change = quality_difference(recent, before, _DRIFT_CONFIDENCE) if recent.units and before.units else None
    return QualityScore(value, every.units, quality_interval(every, confidence), lately, effective, change)


def _notes(rows: list[QualityScore], unknown: int, recent_days: float, by: str) -> tuple[str, ...]:
    notes = []
    for row in rows if by != "day" else ():
        if row.drift is not None and row.change is not None:
            change = f"{row.change.estimate:+.3f} ({row.change.low:+.3f} to {row.change.high:+.3f})"
            notes.append(f"{row.value or '(none)'} got {row.drift} in the last {counted(recent_days, 'day')}: {change}.")
    if unknown:
        notes.append(f"{counted(unknown, 'judgement is', 'judgements are')} of calls that the ledger does not hold.")
    return tuple(notes)

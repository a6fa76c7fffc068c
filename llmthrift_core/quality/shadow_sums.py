"""`Tally`: what a shadow evaluation saw and compared, added up; in the database where all processes are to share it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import bindparam, select

from llmthrift_core.moments import MICROSECONDS
from llmthrift_core.quality.shadow_results import Bar, Compared, ShadowReport, ShadowRow, monthly
from llmthrift_core.statistics import RatioSums
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.side_tables import shadow_sums
from llmthrift_core.storage.statements import Statement

_COLUMNS: Final = ("evaluation", "configuration", "measure", "value")


def _upsert(value: Callable[[Any], Any]) -> Statement:
    """Writes a value; `value` makes the new one of what is given, where there is one already."""
    return Statement(
        lambda insert: (given := insert(shadow_sums).values({name: bindparam(name) for name in _COLUMNS})).on_conflict_do_update(
            index_elements=_COLUMNS[:3], set_={"value": value(given.excluded.value)}
        )
    )


ADD_SUM: Final = _upsert(lambda given: shadow_sums.c.value + given)
SET_VALUE: Final = _upsert(lambda given: given)
KEEP_VALUE: Final = _upsert(lambda _: shadow_sums.c.value)
GET_SUMS: Final = Statement(
    select(shadow_sums.c.configuration, shadow_sums.c.measure, shadow_sums.c.value).where(shadow_sums.c.evaluation == bindparam("of_name"))
)
_COUNTS: Final = ("better", "same", "worse", "failed")
_RATIOS: Final = ("preference", "cost")
_SEEN: Final = ("offered", "sampled", "present_usd", "spent_usd")
_LEFT_OUT: Final = "left out: "
_EVALUATION: Final = ""

Measure = tuple[str, str, float]  # configuration, measure, value


@dataclass(slots=True)
class Tally:
    """Sums over the traffic that an evaluation saw.

    Attributes:
        compared: by configuration.
        offered: calls that were seen; sampled: of those, taken.
        present_usd: what the seen calls cost; spent_usd: on the evaluation.
        first_us, last_us: when the first and the last call was seen; 0: none was.
        skipped: calls that were left out, by reason.
    """

    compared: dict[str, Compared]
    offered: int = 0
    sampled: int = 0
    present_usd: float = 0.0
    spent_usd: float = 0.0
    first_us: int = 0
    last_us: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, names: Iterable[str]) -> Tally:
        """Nothing yet."""
        return cls({name: Compared() for name in names})

    def plus(self, other: Tally) -> Tally:
        """What both saw, with the configurations of this one."""
        nothing = Compared()
        return Tally(
            {name: compared.plus(other.compared.get(name, nothing)) for name, compared in self.compared.items()},
            self.offered + other.offered,
            self.sampled + other.sampled,
            self.present_usd + other.present_usd,
            self.spent_usd + other.spent_usd,
            min(filter(None, (self.first_us, other.first_us)), default=0),
            max(self.last_us, other.last_us),
            self.skipped + other.skipped,
        )

    def report(self, bar: Bar, confidence: float, *, notes: Mapping[str, str] = {}, stopped: str | None = None) -> ShadowReport:
        """What is known by now.

        Args:
            notes: why a configuration is not asked any more, by its name.
            stopped: why nothing is asked at the moment.
        """
        seconds = (self.last_us - self.first_us) / MICROSECONDS
        present = _usd(self.present_usd)
        rows = []
        for name, each in self.compared.items():
            saving = each.saving(bar)
            counts = each.judged, each.better, each.same, each.worse, each.failed
            month = monthly(saving, present, seconds)
            rows.append(ShadowRow(name, each.verdict(bar), *counts, each.quality_change(bar), saving, month, notes.get(name)))
        seen = self.offered, self.sampled, present, seconds, _usd(self.spent_usd)
        return ShadowReport(tuple(rows), *seen, stopped, confidence, dict(self.skipped))


def add(database: Database, evaluation: str, tally: Tally, bar: Bar, confidence: float) -> None:
    """Add what one process saw since it last did.

    Raises:
        StorageError: the database cannot be written. Nothing was added.
    """
    fixed = (("min_saving", bar.min_saving), ("max_loss", bar.max_loss), ("confidence", confidence), ("last_us", tally.last_us))
    written = [
        *((ADD_SUM, *each) for each in _measures(tally) if each[2] or each[1] == "better"),  # one that nothing was compared with is there
        *((SET_VALUE, _EVALUATION, measure, value) for measure, value in fixed if value),
        *([(KEEP_VALUE, _EVALUATION, "first_us", tally.first_us)] if tally.first_us else []),
    ]
    with database.transaction() as transaction:
        for statement, configuration, measure, value in written:
            given = {"evaluation": evaluation, "configuration": configuration, "measure": measure, "value": float(value)}
            transaction.execute(statement, statement.in_order(**given))


def read(database: Database, evaluation: str, names: Iterable[str] = ()) -> Tally:
    """What all processes saw; of these configurations, and of others that are there.

    Raises:
        StorageError: the database cannot be read.
    """
    return _tally(database.fetch_all(GET_SUMS, (evaluation,)), names)[0]


def kept_report(database: Database, evaluation: str) -> ShadowReport | None:
    """The report of an evaluation that is kept in the database, from any process; None: there is none of this name.

    Raises:
        StorageError: the database cannot be read.
    """
    tally, fixed = _tally(database.fetch_all(GET_SUMS, (evaluation,)), ())
    if not tally.compared or "confidence" not in fixed:
        return None
    confidence = fixed["confidence"]
    return tally.report(bar_of(fixed.get("min_saving", 0.0), fixed["max_loss"], confidence, len(tally.compared)), confidence)


def bar_of(min_saving: float, max_loss: float, confidence: float, configurations: int) -> Bar:
    """What each configuration must reach, where all limits of all of them together are to hold at a confidence."""
    return Bar(min_saving, max_loss, (1 - confidence) / (2 * configurations))


def _measures(tally: Tally) -> Iterator[Measure]:
    for name in _SEEN:
        yield _EVALUATION, name, float(getattr(tally, name))
    for why, count in tally.skipped.items():
        yield _EVALUATION, _LEFT_OUT + why, float(count)
    for name, compared in tally.compared.items():
        for counted in _COUNTS:
            yield name, counted, float(getattr(compared, counted))
        for ratio in _RATIOS:
            sums: RatioSums = getattr(compared, ratio)
            for part in RatioSums.__slots__:
                yield name, f"{ratio}.{part}", float(getattr(sums, part))


def _tally(rows: Iterable[tuple[str, str, float]], names: Iterable[str]) -> tuple[Tally, dict[str, float]]:
    tally, fixed = Tally.of(names), dict[str, float]()
    for configuration, measure, value in rows:
        if configuration != _EVALUATION:
            compared = tally.compared.setdefault(configuration, Compared())
            ratio, _, part = measure.partition(".")
            if part:
                setattr(getattr(compared, ratio), part, int(value) if part == "units" else value)
            else:
                setattr(compared, measure, int(value))
        elif measure.startswith(_LEFT_OUT):
            tally.skipped[measure.removeprefix(_LEFT_OUT)] = int(value)
        elif measure in ("present_usd", "spent_usd"):
            setattr(tally, measure, value)
        elif measure in ("offered", "sampled", "first_us", "last_us"):
            setattr(tally, measure, int(value))
        else:
            fixed[measure] = value
    return tally, fixed


def _usd(amount: float) -> Decimal:
    return Decimal(f"{amount:.9f}")

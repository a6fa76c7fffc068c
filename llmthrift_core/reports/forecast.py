"""`Forecast`: what a day, week, month, quarter or year will have cost when it ends, with an interval."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from html import escape
from typing import Any, Final, Literal, get_args

from llmthrift_core.budgets.budgets import Budgets
from llmthrift_core.display import Printed, counted, html_table, plain_table, usd
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.ledger.retention import pruned_until_us
from llmthrift_core.moments import DAY_US, Moment, from_us, to_us, zone_of
from llmthrift_core.money import to_usd
from llmthrift_core.reports.daily_spend import Days, Spend, SpendReader, dimension_of, midnight_us, of_days, rest_of
from llmthrift_core.reports.forecast_budgets import BudgetForecast, Limits, reached_budgets
from llmthrift_core.reports.forecast_days import PROFILE_DAYS, bounds, share_passed
from llmthrift_core.reports.projection import HISTORY_DAYS, DailyAmount, in_usd, project
from llmthrift_core.storage.database import Database

Period = Literal["day", "week", "month", "quarter", "year"]
_MOST_VALUES: Final = 20
_LITTLE_DAYS: Final = 14
_QUIET_DAYS: Final = 7
_FIRST_US: Final = to_us("0002-01-01")
_LAST_US: Final = to_us("9998-01-01") - 1
OTHERS: Final = "(others)"


@dataclass(frozen=True, repr=False)
class Forecast(Printed):
    """Spend of a period at its end: of model calls and of recorded other costs.

    It iterates over `parts`, and `forecast["chat"]` is the part of a value.

    Attributes:
        period: "day", "week", "month", "quarter" or "year"; from `first_day` to `last_day`, both included.
        at: when it was made. tz: of the days.
        spent_usd: in the period, until then.
        projected_usd: expected at its end; low_usd, high_usd: the amount lies between them in 80 of 100 cases.
        daily: one row a day of the period.
        history_days: whole days from the first spend of the last months on, from which it was made.
        by, value: what this is a part of; None for the whole.
        parts: one forecast for each of the 20 values on which most was spent, and one for the rest.
        budgets: when limits in dollars are reached.
        notes: what a reader should know.
    """

    period: str
    first_day: date
    last_day: date
    at: datetime
    tz: str
    spent_usd: Decimal
    projected_usd: Decimal
    low_usd: Decimal
    high_usd: Decimal
    daily: tuple[DailyAmount, ...]
    history_days: int
    by: str | None = None
    value: str | None = None
    parts: tuple[Forecast, ...] = ()
    budgets: tuple[BudgetForecast, ...] = ()
    notes: tuple[str, ...] = field(default=())
    unpriced: int = 0

    def __iter__(self) -> Iterator[Forecast]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, value: str | None) -> Forecast:
        for part in self.parts:
            if part.value == value:
                return part
        raise KeyError(value)

    def to_dict(self) -> dict[str, Any]:
        """The figures by name, without days and parts."""
        names = ("period", "first_day", "last_day", "spent_usd", "projected_usd", "low_usd", "high_usd", "history_days")
        return {**({} if self.by is None else {self.by: self.value}), **{name: getattr(self, name) for name in names}}

    def to_dicts(self) -> list[dict[str, Any]]:
        """A row for each part; for the whole where there is none."""
        return [part.to_dict() for part in self.parts] or [self.to_dict()]

    def to_text(self) -> str:
        """All of it as text."""
        lines = [self._sentence()]
        if self.parts:
            lines += ["", plain_table(*self._table())]
        lines += [budget.sentence for budget in self.budgets]
        return "\n".join([*lines, *self.notes])

    def _repr_html_(self) -> str:
        table = html_table(*self._table()) if self.parts else ""
        sentences = (self._sentence(), *(budget.sentence for budget in self.budgets), *self.notes)
        return (
            "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences[:1])
            + table
            + "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences[1:])
        )

    def _sentence(self) -> str:
        days = f"{self.first_day}" if self.period == "day" else f"{self.first_day} to {self.last_day}"
        if self.unpriced and not self.spent_usd and not self.projected_usd:
            return f"This {self.period} ({days}, {self.tz}): what is spent is not known, since no call has a price."
        left = f"{usd(self.projected_usd)} expected by its end, {usd(self.low_usd)} to {usd(self.high_usd)} in 8 of 10 cases"
        return f"This {self.period} ({days}, {self.tz}): {usd(self.spent_usd)} spent, {left}."

    def _table(self) -> tuple[list[str], list[list[Any]]]:
        rows = [[part.value, part.spent_usd, part.projected_usd, part.low_usd, part.high_usd] for part in self.parts]
        return [str(self.parts[0].by), "spent", "expected", "low", "high"], rows


def forecast(
    database: Database,
    budgets: Budgets | None = None,
    *,
    now_us: int,
    period: str = "month",
    at: Moment | None = None,
    by: str | None = None,
    tz: str | None = None,
) -> Forecast:
    """Project what was spent, from the sums of at most 120 days. See `Thrift.forecast`.

    Args:
        budgets: those whose end is told; None tells of none.
        now_us: the time of the forecast where `at` is None.

    Raises:
        ConfigurationError: a period, an attribute, a time or a zone that cannot be used.
        StorageError: the database cannot be read.
    """
    if period not in get_args(Period):
        raise ConfigurationError(f"period must be one of {', '.join(map(repr, get_args(Period)))}, not {period!r}")
    zone = zone_of(tz)
    at_us = now_us if at is None else to_us(at)
    if not _FIRST_US <= at_us <= _LAST_US:
        raise ConfigurationError(f"at must be a time of the years 2 to 9997, not {at!r}")
    until_us = at_us + 1 if at is None else at_us  # what was recorded just now counts
    today = from_us(at_us).astimezone(zone).date()
    first, last = bounds(period, today)
    since_us = midnight_us(min(first, today - timedelta(days=HISTORY_DAYS)), zone)
    pruned_us = pruned_until_us(database)
    limits = None if budgets is None else Limits.of(budgets)
    with database.read() as connection:
        reader = SpendReader(connection, zone, since_us, until_us, pruned_us)
        total = reader.total(hours_since_us=at_us - PROFILE_DAYS * DAY_US)
        series: dict[str | None, Days] = {} if by is None else _values(reader, dimension_of(by, connection), total.days)
        share = share_passed(total.hours, at_us, zone)
        reached = [] if limits is None else reached_budgets(connection, limits, at_us=at_us, is_now=at is None, whole_before_us=pruned_us)

    def made(days: Days, **more: Any) -> Forecast:
        found = project(days, today=today, last=last, share_passed=share)
        spent, band = to_usd(of_days(days, first, today)), found.until(last)
        expected, low, high = (spent + in_usd(amount) for amount in (band.expected, band.low, band.high))
        daily = tuple(found.daily(first, last))
        made_at, shown = from_us(at_us), str(tz or "UTC")
        return Forecast(period, first, last, made_at, shown, spent, expected, low, high, daily, found.history_days, **more)

    parts = tuple(made(days, by=str(by).removeprefix("tag:"), value=value) for value, days in series.items())
    return made(total.days, parts=parts, budgets=tuple(reached), notes=_notes(total, today), unpriced=total.unpriced)


def _values(reader: SpendReader, dimension: str, total: Days) -> dict[str | None, Days]:
    largest = reader.largest(dimension, _MOST_VALUES + 1)
    found: dict[str | None, Days] = {}
    found.update((value, days) for value, days in reader.of_values(dimension, largest[:_MOST_VALUES]).items())
    rest = rest_of(total, found.values())
    if rest:
        found[OTHERS if len(largest) > _MOST_VALUES else None] = rest
    return found


def _notes(total: Spend, today: date) -> tuple[str, ...]:
    notes = []
    spending = sorted(day for day, nano_usd in total.days.items() if nano_usd > 0)
    if total.unpriced:
        notes.append(
            f"{counted(total.unpriced, 'call without a price is', 'calls without a price are')} in no amount: set one with "
            "thrift.prices.override(...)."
        )
    elif not spending:
        notes.append(f"Nothing was spent in the last {HISTORY_DAYS} days: there is nothing to project.")
    if not spending:
        return tuple(notes)
    if (today - spending[-1]).days >= _QUIET_DAYS:
        notes.append(f"Nothing was spent since {spending[-1]}.")
    elif (known := (today - spending[0]).days) < _LITTLE_DAYS:
        what = "Today is the first day with spend" if known == 0 else f"Spend is known of {counted(known, 'whole day')}"
        notes.append(f"{what}: the interval is wide, and no weekly rhythm is known before {_LITTLE_DAYS} days.")
    return tuple(notes)

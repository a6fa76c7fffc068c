"""When limits in dollars are reached, as far as the spend that they count has stored sums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Self

from sqlalchemy import Connection

from llmthrift_core.budgets.budget import Budget
from llmthrift_core.budgets.budgets import Budgets
from llmthrift_core.budgets.windows import window_at
from llmthrift_core.display import cell, usd
from llmthrift_core.ledger.rollups import DIMENSIONS
from llmthrift_core.moments import DAY_US, from_us, zone_of
from llmthrift_core.money import to_usd
from llmthrift_core.reports.daily_spend import Days, SpendReader, midnight_us, of_days
from llmthrift_core.reports.forecast_days import PROFILE_DAYS, share_passed
from llmthrift_core.reports.projection import HISTORY_DAYS, Projection, in_usd, project

_WINDOWS: Final = ("day", "week", "month", "total")
_MOST_SPENDERS: Final = 10
_MOST_DAYS: Final = 120  # ahead, of budgets that never reset


@dataclass(frozen=True, slots=True)
class BudgetForecast:
    """When a budget's limit in dollars is reached.

    Attributes:
        budget: its name. scope: whose spend: attributes and their values; {} is everybody's.
        spent_usd: in the window of now. resets_at: its end, or None.
        projected_usd, low_usd, high_usd: spent at the end of the window, as far as 120 days ahead.
        reached_on: the day on which the limit is expected to be reached; earliest and latest: of 80% of cases. None: not in this window.
    """

    budget: str
    scope: Mapping[str, str | None]
    limit_usd: Decimal
    spent_usd: Decimal
    resets_at: datetime | None
    projected_usd: Decimal
    low_usd: Decimal
    high_usd: Decimal
    reached_on: date | None
    earliest: date | None
    latest: date | None
    last_day: date

    @property
    def is_over(self) -> bool:
        """Whether the limit is expected to be reached in this window."""
        return self.reached_on is not None

    @property
    def sentence(self) -> str:
        """When, in words."""
        who = ", ".join(cell(value) for value in self.scope.values() if value is not None)
        budget = f"budget {cell(self.budget)!r} of {usd(self.limit_usd)}"
        whose = f"{who} reaches its {budget}" if who else f"The {budget} is reached"
        span = f"{usd(self.low_usd)} to {usd(self.high_usd)}"
        if self.spent_usd >= self.limit_usd:
            return f"{f'{who} has reached its {budget}' if who else f'The {budget} has been reached'}: {usd(self.spent_usd)} spent."
        if self.earliest is None:
            return f"{f'{who} does not reach its {budget}' if who else f'The {budget} is not reached'} by {self.last_day}: {span} expected."
        if self.reached_on is None:
            return f"{whose} perhaps, and not before {self.earliest}: {span} expected by {self.last_day}."
        if self.latest is None:
            early = "" if self.earliest == self.reached_on else f", not before {self.earliest}"
            late = (
                f", if at all: {span} expected"
                if self.reached_on == self.last_day
                else f"{' and' if early else ','} perhaps not by {self.last_day}"
            )
            return f"{whose} on {self.reached_on}{early}{late}."
        between = "" if self.earliest == self.latest else f", between {self.earliest} and {self.latest}"
        return f"{whose} on {self.reached_on}{between}."


@dataclass(frozen=True, slots=True)
class Limits:
    """The budgets and their state, read beforehand: they may be in another store than the ledger."""

    budgets: Sequence[Budget]
    status: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, budgets: Budgets) -> Self:
        """As they are now."""
        kept = [budget for budget in budgets.all() if budget.limit_usd is not None]
        return cls(kept, budgets.status() if kept else ())


def reached_budgets(
    connection: Connection, limits: Limits, *, at_us: int, is_now: bool, whole_before_us: int | None
) -> list[BudgetForecast]:
    """A row for each budget in dollars of a day, week or month, or without a window, and each of the ten who spent most of it.

    Budgets that count by two attributes or by runs have no sums of their own, and are left out.

    Args:
        is_now: what was spent is what the budget says, which may count other calls than the ledger has; else what the ledger does.
    """
    found = []
    readers: dict[str, tuple[SpendReader, list[int]]] = {}
    for budget in limits.budgets:
        named = [*budget.match, *(name for name in budget.per or () if name not in budget.match)]
        if budget.limit_usd is None or budget.window not in _WINDOWS or len(named) > 1 or "run" in named:
            continue
        if budget.tz not in readers:
            zone = zone_of(budget.tz)
            today = from_us(at_us).astimezone(zone).date()
            since_us = midnight_us(today - timedelta(days=HISTORY_DAYS), zone)
            reader = SpendReader(connection, zone, since_us, at_us + is_now, whole_before_us)
            readers[budget.tz] = reader, reader.total(hours_since_us=at_us - PROFILE_DAYS * DAY_US).hours
        reader, hours = readers[budget.tz]
        told = _told(limits, budget) if is_now else {}
        for scope, days in _series(reader, budget, named[0] if named else None):
            found.append(_reached(budget, scope, days, reader, hours, at_us, told.get(tuple(scope.values()))))
    return found


def _series(reader: SpendReader, budget: Budget, name: str | None) -> Iterator[tuple[dict[str, str | None], Days]]:
    if name is None:
        yield {}, reader.total().days
        return
    dimension = name if name in DIMENSIONS else f"tag:{name}"
    values = [budget.match[name]] if name in budget.match else reader.largest(dimension, _MOST_SPENDERS)
    for value, days in reader.of_values(dimension, values).items():
        yield {name: value}, days


def _told(limits: Limits, budget: Budget) -> dict[tuple[Any, ...], Decimal]:
    """What the budget counted, by the values of its scope; of a budget that is not divided, by those that it matches."""
    matched = tuple(budget.match.values()) if not budget.per else None
    return {
        matched if matched is not None else tuple(row["scope"].values()): row["spent"]
        for row in limits.status
        if row["name"] == budget.name and row["unit"] == "usd"
    }


def _reached(
    budget: Budget, scope: dict[str, str | None], days: Days, reader: SpendReader, hours: list[int], at_us: int, told: Decimal | None
) -> BudgetForecast:
    today = from_us(at_us).astimezone(reader.zone).date()
    start_us, resets_us = window_at(budget.window, budget.tz, at_us)
    first = from_us(start_us).astimezone(reader.zone).date()
    last = today + timedelta(days=_MOST_DAYS) if resets_us is None else from_us(resets_us - 1).astimezone(reader.zone).date()
    found = project(days, today=today, last=last, share_passed=share_passed(hours, at_us, reader.zone))
    spent = to_usd(of_days(days, first, today)) if told is None else told
    limit = Decimal(budget.limit_usd or 0)
    band = found.until(last)
    expected, low, high = (spent + in_usd(amount) for amount in (band.expected, band.low, band.high))
    on, latest, earliest = _days_of(found, float(limit - spent), today, last)
    resets_at = None if resets_us is None else from_us(resets_us)
    return BudgetForecast(budget.name, scope, limit, spent, resets_at, expected, low, high, on, earliest, latest, last)


def _days_of(found: Projection, room: float, today: date, last: date) -> list[date | None]:
    """The days on which the expected, the low and the high sum first take up the room."""
    reached: list[date | None] = [None, None, None]
    if room <= 0:
        return [today, today, today]
    for number in range((last - today).days + 1):
        day = today + timedelta(days=number)
        band = found.until(day)
        for index, amount in enumerate((band.expected, band.low, band.high)):
            if reached[index] is None and amount >= room:
                reached[index] = day
        if None not in reached:
            break
    return reached

"""`SpendRate`: how fast money is spent now."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from html import escape
from typing import Any, Final

from llmthrift_core.display import Printed, cell, cost_shown, counted, plain_table, usd
from llmthrift_core.ledger.retention import pruned_until_us
from llmthrift_core.ledger.statements import MEASURES
from llmthrift_core.moments import DAY_US
from llmthrift_core.money import to_usd
from llmthrift_core.reports.sums import SumsReader
from llmthrift_core.storage.database import Database

_HOUR_US: Final = DAY_US // 24
_WEEK: Final = 7
_DAYS_OF_MONTH: Final = 30


@dataclass(frozen=True, repr=False)
class SpendRate(Printed):
    """What model calls and other costs took lately, and what that comes to if it goes on.

    Attributes:
        last_hour_usd, last_day_usd, last_week_usd: of the 60 minutes, 24 hours and 7 days until now.
        requests_last_hour, requests_last_day: how many requests these were.
        unpriced: how many calls of the hour, the day and the week have no price, and are in no amount.
        usd_per_hour: the rate of the last hour.
        usd_per_day: the rate of the last 24 hours.
        usd_per_month: 30 times the mean day of the last week, in which nights and weekends are. No forecast: nothing says that it goes on.
    """

    last_hour_usd: Decimal
    last_day_usd: Decimal
    last_week_usd: Decimal
    requests_last_hour: int
    requests_last_day: int
    unpriced: tuple[int, int, int] = (0, 0, 0)

    @property
    def usd_per_hour(self) -> Decimal:
        """The rate of the last hour."""
        return self.last_hour_usd

    @property
    def usd_per_day(self) -> Decimal:
        """The rate of the last 24 hours."""
        return self.last_day_usd

    @property
    def usd_per_month(self) -> Decimal:
        """30 times the mean day of the last week."""
        return (self.last_week_usd * _DAYS_OF_MONTH / _WEEK).quantize(Decimal("1e-9"))

    def to_dict(self) -> dict[str, Any]:
        """Every figure by name."""
        return {name: getattr(self, name) for name in _FIGURES}

    def to_text(self) -> str:
        """All of it as text."""
        return plain_table(["spend rate", ""], self._lines())

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in self._lines())
        return f"<table><tbody>{rows}</tbody></table>"

    def _lines(self) -> list[tuple[str, str]]:
        hour, day, week = (
            cell(cost_shown(amount, unpriced))
            for amount, unpriced in zip((self.last_hour_usd, self.last_day_usd, self.last_week_usd), self.unpriced, strict=True)
        )
        month = f", which is {usd(self.usd_per_month)} in 30 days" if self.last_week_usd or not self.unpriced[2] else ""
        return [
            ("last hour", f"{hour}{'' if hour == 'unpriced' else ' an hour'}, {counted(self.requests_last_hour, 'request')}"),
            ("last 24 hours", f"{day}{'' if day == 'unpriced' else ' a day'}, {counted(self.requests_last_day, 'request')}"),
            ("last 7 days", f"{week}{month}"),
        ]


_FIGURES: Final = (
    "last_hour_usd",
    "last_day_usd",
    "last_week_usd",
    "requests_last_hour",
    "requests_last_day",
    "usd_per_hour",
    "usd_per_day",
    "usd_per_month",
)


def spend_rate(database: Database, *, now_us: int) -> SpendRate:
    """Read how fast money is spent.

    Raises:
        StorageError: the database cannot be read.
    """
    pruned_us = pruned_until_us(database)
    spent: list[Decimal] = []
    requests: list[int] = []
    unpriced: list[int] = []
    with database.read() as connection:
        for length_us in (_HOUR_US, DAY_US, _WEEK * DAY_US):
            reader = SumsReader(connection, since_us=now_us - length_us, until_us=now_us + 1, whole_before_us=pruned_us)
            sums = dict(zip(MEASURES, reader.total(), strict=True))
            spent.append(to_usd(sums["cost_nano_usd"] + sums["other_cost_nano_usd"]))
            requests.append(sums["requests"])
            unpriced.append(sums["unpriced"])
    hour, day, week = spent
    return SpendRate(hour, day, week, requests[0], requests[1], (unpriced[0], unpriced[1], unpriced[2]))

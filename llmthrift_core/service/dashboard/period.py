"""The period that a page is about, as its address tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from llmthrift_core.moments import from_us
from llmthrift_core.service.dashboard.view import Choice, href

_CHOICES: Final = (("7", "7 days"), ("30", "30 days"), ("90", "90 days"), ("all", "all"))
_USUAL: Final = "30"
_MOST_DAYS: Final = 3_660


@dataclass(frozen=True, slots=True)
class Period:
    """Whole days until now, UTC.

    Attributes:
        days: as the address has it: a count, or "all".
        since: its first day; None: everything that is recorded.
    """

    days: str
    since: date | None

    @property
    def words(self) -> str:
        """For sentences."""
        return "of everything that is recorded" if self.since is None else f"of the last {self.days} days (since {self.since}, UTC)"

    def choice(self, path: str, **query: object) -> Choice:
        """Links to the same page with other periods."""
        named = _CHOICES if self.days in dict(_CHOICES) else (*_CHOICES, (self.days, f"{self.days} days"))
        return Choice("Period", [(name, href(path, **query, days=days), days == self.days) for days, name in named])


def period_of(query: Mapping[str, str], now_us: int) -> Period:
    """The period of a request; what is no count of days is the usual one."""
    days = query.get("days", _USUAL)
    if days == "all":
        return Period("all", None)
    if not (days.isascii() and days.isdecimal() and 1 <= int(days[:5]) <= _MOST_DAYS):
        days = _USUAL
    return Period(str(int(days[:5])), from_us(now_us).date() - timedelta(days=int(days[:5]) - 1))

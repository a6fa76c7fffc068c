"""`LedgerViews`: the reports of a ledger, as methods of `Thrift`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmthrift_core.budgets.budgets import Budgets
    from llmthrift_core.ledger import Ledger
    from llmthrift_core.moments import Moment
    from llmthrift_core.pricing import PriceCatalog
    from llmthrift_core.reports.anomalies import Anomaly
    from llmthrift_core.reports.forecast import Forecast
    from llmthrift_core.reports.report import Report
    from llmthrift_core.reports.savings import SavingsReport
    from llmthrift_core.storage.database import Database


class LedgerViews(ABC):
    """What the numbers of a ledger say. Every view commits first what this process recorded, then reads."""

    @property
    @abstractmethod
    def database(self) -> Database: ...

    @property
    @abstractmethod
    def prices(self) -> PriceCatalog: ...

    @property
    @abstractmethod
    def ledger(self) -> Ledger: ...

    @property
    @abstractmethod
    def budgets(self) -> Budgets: ...

    @abstractmethod
    def now_us(self) -> int:
        """Now, in microseconds since the epoch."""

    def report(self, by: str = "model", since: Moment | None = None, until: Moment | None = None, *, tz: str | None = None) -> Report:
        """Cost and use, one row per value of `by`.

        Args:
            by: "model", "provider", "feature", "user", "session", "run", "request_type", "prompt_version", "config_version",
                "call_site", "day", "hour", "month", or the name of a tag.
            since, until: the half-open period [since, until); a datetime, a date or an ISO string; UTC unless it says otherwise.
            tz: the time zone of days, hours and months.
        """
        from llmthrift_core.reports.report import report

        self.ledger.catch_up()
        return report(self.database, by=by, since=since, until=until, tz=tz)

    def savings(self, since: Moment | None = None, until: Moment | None = None, baseline: str | None = None) -> SavingsReport:
        """What was spent, and what the cache and the router saved. Nothing is counted twice.

        Args:
            baseline: compare with what every call would have cost on this model.
        """
        from llmthrift_core.reports.savings import savings

        self.ledger.catch_up()
        return savings(self.database, self.prices, since=since, until=until, baseline=baseline)

    def forecast(self, period: str = "month", at: Moment | None = None, by: str | None = None, tz: str | None = None) -> Forecast:
        """What a period will have cost when it ends, with an interval that holds it in 8 of 10 cases, and when budgets are reached.

        Args:
            period: "day", "week", "month", "quarter" or "year": the one that `at` lies in.
            at: forecast as at this time, from what was recorded of the time before; None is now.
            by: also a forecast for each value of an attribute, such as "feature", or of a tag.
            tz: the time zone of the days; None is UTC.
        """
        from llmthrift_core.reports.forecast import forecast

        self.ledger.catch_up()
        return forecast(self.database, self.budgets, now_us=self.now_us(), period=period, at=at, by=by, tz=tz)

    def anomalies(self, since: Moment | None = None, *, tz: str | None = None) -> list[Anomaly]:
        """Requests, hours and days that took far more than usual, the newest first, each with what it was spent on.

        A request: at least ten times the mean of the hundred requests of its feature before it. An hour or day: at least $20 and two usual
        days, and far above the median of the same hours or days before; also days of one feature or user where the whole is calm. What goes
        on for days is told once.

        Args:
            since: hours, days and requests from then on. None: the last 90 days with calls, and the newest 20,000 requests.
            tz: the time zone of hours and days; None is UTC.
        """
        from llmthrift_core.reports.anomalies import anomalies

        self.ledger.catch_up()
        return anomalies(self.database, now_us=self.now_us(), since=since, tz=tz)

"""`LedgerViews`: the reports of a ledger, as methods of `Thrift`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from llmthrift_core.budgets.budgets import Budgets
    from llmthrift_core.ledger import Ledger
    from llmthrift_core.moments import Moment
    from llmthrift_core.pricing import PriceCatalog
    from llmthrift_core.prompts.anatomy import Anatomy
    from llmthrift_core.reports.anomalies import Anomaly
    from llmthrift_core.reports.forecast import Forecast
    from llmthrift_core.reports.observed import ObservedReport
    from llmthrift_core.reports.optimizations.report import OptimizationReport
    from llmthrift_core.reports.page.review import Review
    from llmthrift_core.reports.prefix_misses import PrefixMisses
    from llmthrift_core.reports.prompt_anatomy import PromptAnatomies
    from llmthrift_core.reports.reconciliation import Reconciliation
    from llmthrift_core.reports.report import Report
    from llmthrift_core.reports.run_costs import RunCosts
    from llmthrift_core.reports.savings import SavingsReport
    from llmthrift_core.reports.spend_rate import SpendRate
    from llmthrift_core.reports.top import CostliestCalls
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

    def report(
        self,
        by: str = "model",
        since: Moment | None = None,
        until: Moment | None = None,
        *,
        tz: str | None = None,
        details: bool = False,
    ) -> Report:
        """Cost and use, one row per value of `by`.

        Args:
            by: "model", "provider", "feature", "user", "session", "run", "request_type", "prompt_version", "config_version",
                "call_site", "day", "hour", "month", or the name of a tag.
            since, until: the half-open period [since, until); a datetime, a date or an ISO string; UTC unless it says otherwise.
            tz: the time zone of days, hours and months.
            details: each row also has its share of the cost, its trend against the time before, and how slow its slowest answers are; it
                shows what input, output, retries, fallbacks and rejected answers cost.
        """
        from llmthrift_core.reports.details import detailed_report
        from llmthrift_core.reports.report import report

        self.ledger.catch_up()
        if details:
            return detailed_report(self.database, by=by, since=since, until=until, tz=tz, now_us=self.now_us())
        return report(self.database, by=by, since=since, until=until, tz=tz)

    def top(self, n: int = 20, by: str = "user", since: Moment | None = None, until: Moment | None = None) -> Report | CostliestCalls:
        """The users, features, models, sessions, calls, ... that cost most.

        Args:
            n: how many.
            by: as for `report`, such as "user", "session", "run" or a tag; or "call": single calls, each with why it is expensive.
            since, until: as for `report`. With `since`, rows have a trend: against the period of the same length before.
        """
        from llmthrift_core.reports.top import top

        self.ledger.catch_up()
        return top(self.database, self.prices, n=n, by=by, since=since, until=until, now_us=self.now_us())

    def prefix_misses(self, since: Moment | None = None, until: Moment | None = None) -> PrefixMisses:
        """What was lost of providers' prompt caches, by reason and call site: misses, and writes that nobody read."""
        from llmthrift_core.reports.prefix_misses import prefix_misses

        self.ledger.catch_up()
        return prefix_misses(self.database, since=since, until=until)

    def spend_rate(self) -> SpendRate:
        """How fast money is spent now: in the last hour, day and week."""
        from llmthrift_core.reports.spend_rate import spend_rate

        self.ledger.catch_up()
        return spend_rate(self.database, now_us=self.now_us())

    def savings(self, since: Moment | None = None, until: Moment | None = None, baseline: str | None = None) -> SavingsReport:
        """What was spent, and what the cache and the router saved. Nothing is counted twice.

        Args:
            baseline: compare with what every call would have cost on this model.
        """
        from llmthrift_core.reports.savings import savings

        self.ledger.catch_up()
        return savings(self.database, self.prices, since=since, until=until, baseline=baseline)

    def review(
        self, since: Moment | None = None, until: Moment | None = None, *, tz: str | None = None, title: str = "What LLM calls cost"
    ) -> Review:
        """A period from above: `.to_html()` is a page that needs nothing else, `.to_markdown()` the same for a wiki or a pull request.

        Args:
            since, until: the half-open period [since, until); None is all that is recorded.
            tz: the time zone of days and months; None is UTC.
            title: of the page.
        """
        from llmthrift_core.reports.page.review import review

        self.ledger.catch_up()
        return review(self.database, self.prices, since=since, until=until, tz=tz, title=title, now_us=self.now_us())

    def observed(self, since: Moment | None = None, until: Moment | None = None) -> ObservedReport:
        """What exact and semantic caching, routing, prefix caching and shortening would have saved, with ranges and what they assume.

        For traffic under `LLMTHRIFT_OBSERVE=1`, which is metered and not changed. What is not known says what to set up.

        Args:
            since, until: the calls of [since, until).
        """
        from llmthrift_core.reports.observed import observed

        self.ledger.catch_up()
        return observed(self.database, since=since, until=until)

    def optimizations(self, since: Moment | None = None, until: Moment | None = None) -> OptimizationReport:
        """What could be saved: each opportunity with an estimate and its range, the calls that show it, and the code that takes it.

        Estimates come from what the ledger knows; the usual rules of thumb stand in only where it knows nothing, and say so.

        Args:
            since, until: the calls of [since, until).
        """
        from llmthrift_core.reports.optimizations.report import optimizations

        self.ledger.catch_up()
        return optimizations(self.database, self.prices, since=since, until=until, now_us=self.now_us())

    def anatomy(self, since: Moment | None = None, until: Moment | None = None, *, call_site: str | None = None) -> PromptAnatomies:
        """What the prompts of each call site consist of, and what each change would save a month at the present rate.

        Args:
            since, until: the calls of [since, until), whose rate counts; None is the last seven days.
            call_site: this one's alone.
        """
        from llmthrift_core.reports.prompt_anatomy import prompt_anatomies

        self.ledger.catch_up()
        return prompt_anatomies(self.database, self.prices, since=since, until=until, call_site=call_site, now_us=self.now_us())

    def call_anatomy(self, request_id: str | None = None, *, run: str | None = None) -> Anatomy:
        """What the prompt of one recorded call consists of: the last one of a run, such as a chain's, or of all. Needs capture="text".

        Args:
            request_id: of the call.
            run: its name, or its trace id.

        Raises:
            ConfigurationError: there is none whose text is stored.
        """
        from llmthrift_core.reports.prompt_anatomy import call_anatomy

        self.ledger.catch_up()
        return call_anatomy(self.database, self.prices, request_id=request_id, run=run)

    def run_costs(self, run: str, *, costliest: int = 5) -> RunCosts:
        """What one run cost, as a tree of its agents, tools and calls, and why its most expensive calls are expensive.

        Args:
            run: the name that was given with `attribute(run=...)`, else the run's trace id. `report(by="run")` lists them.
            costliest: how many of the most expensive calls are explained.

        Raises:
            ConfigurationError: no run is given.
        """
        from llmthrift_core.reports.run_costs import run_costs

        self.ledger.catch_up()
        return run_costs(self.database, self.prices, run, costliest=costliest)

    def reconcile(
        self, bill: str | PathLike[str] | Mapping[str, Any] | Iterable[Mapping[str, Any]], *, provider: Literal["openai", "anthropic"]
    ) -> Reconciliation:
        """What a provider says that was used or billed beside what is recorded: coverage, drift by model and day, what is missing.

        Args:
            bill: an export of usage or costs: a CSV, JSON or JSON Lines file, or rows or pages as the provider's API answers them.
            provider: whose export it is.

        Raises:
            ConfigurationError: what is no such export.
        """
        from llmthrift_core.reports.reconciliation import reconcile

        self.ledger.catch_up()
        return reconcile(self.database, bill, provider=provider, maker=self.prices.maker)

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
            since: hours, days and requests from then on; of more than 20,000 requests, the older ones where they stand out among the most
                expensive. None: the last 90 days with calls, and the newest 20,000 requests.
            tz: the time zone of hours and days; None is UTC.
        """
        from llmthrift_core.reports.anomalies import anomalies

        self.ledger.catch_up()
        return anomalies(self.database, now_us=self.now_us(), since=since, tz=tz)

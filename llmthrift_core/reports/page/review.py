"""`Review`: a period from above, for people who would rather look: a page of its own, or Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from llmthrift_core.display import Printed
from llmthrift_core.moments import Moment
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.reports.observed import observed
from llmthrift_core.reports.optimizations.report import optimizations
from llmthrift_core.reports.page import html, markdown
from llmthrift_core.reports.page.contents import Chart, Contents, Section
from llmthrift_core.reports.report import Report, report
from llmthrift_core.reports.savings import savings
from llmthrift_core.reports.spend_rate import spend_rate
from llmthrift_core.reports.top import costliest_calls, first_rows
from llmthrift_core.storage.database import Database

_ROWS: Final = 12
_MOST_DAYS: Final = 92  # in a chart; more are months
_BY: Final = (("feature", "Features"), ("model", "Models"), ("user", "Users"), ("call_site", "Call sites"))


@dataclass(frozen=True, repr=False)
class Review(Contents, Printed):
    """What a period cost, where the money went, what was saved, and what could be."""

    def to_html(self) -> str:
        """One HTML page that needs nothing else: styles and charts are in it, light and dark, and it prints on A4."""
        return html.page(self)

    def to_markdown(self) -> str:
        """The same as Markdown, with the chart as a table."""
        return markdown.text(self)

    def to_text(self) -> str:
        """As Markdown, which reads as text."""
        return self.to_markdown()


def review(
    database: Database,
    prices: PriceCatalog,
    *,
    since: Moment | None,
    until: Moment | None,
    tz: str | None,
    title: str,
    now_us: int,
) -> Review:
    """Put a review of [since, until) together.

    Raises:
        ConfigurationError: a time or a time zone that is none.
        StorageError: the database cannot be read.
    """
    days = report(database, by="day", since=since, until=until, tz=tz)
    sections = []
    total: dict[str, Any] = {}
    for by, name in _BY:
        found = first_rows(database, by, _ROWS, since=since, until=until, now_us=now_us)
        total = dict(found.total)
        if any(row[by] is not None for row in found):
            sections.append(Section(name, found))
    found_observed = observed(database, since=since, until=until)
    return Review(
        title=title,
        period=_period(days, since, until, tz),
        made_at=datetime.fromtimestamp(now_us / 1e6, UTC),
        savings=savings(database, prices, since=since, until=until, now_us=now_us),
        rate=spend_rate(database, now_us=now_us),
        total=total,
        chart=chart_of(days),
        sections=tuple(sections),
        calls=costliest_calls(database, prices, _ROWS, since=since, until=until),
        opportunities=optimizations(database, prices, since=since, until=until, now_us=now_us),
        observed=found_observed if any(each.saved_usd for each in found_observed.levers) else None,
    )


def _period(days: Report, since: Moment | None, until: Moment | None, tz: str | None) -> str:
    zone = tz or "UTC"
    if not days.rows and since is None and until is None:
        return f"no calls yet, days of {zone}"
    first = days.rows[0]["day"] if since is None and days.rows else _shown(since)
    last = days.rows[-1]["day"] if until is None and days.rows else None if until is None else _shown(until)
    if last is None:
        return f"since {first}, days of {zone}"
    return f"{first or 'the beginning'} {'until' if until is None else 'to before'} {last}, days of {zone}"


def _shown(moment: Moment | None) -> str | None:
    return None if moment is None else str(moment)[:16].replace("T", " ").removesuffix(" 00:00")


def chart_of(days: Report) -> Chart:
    """Days without calls are there, too; of more than 92 days, or years apart, the months."""
    rows = {row["day"]: row for row in days.rows}
    if not any(row["cost_usd"] or row["other_cost_usd"] or not row["unpriced"] for row in days.rows):  # nothing, or nothing with a price
        return Chart("Cost by day", (), {})
    first, last = date.fromisoformat(min(rows)), date.fromisoformat(max(rows))
    if (last - first).days < _MOST_DAYS:
        labels = [(first + timedelta(days=offset)).isoformat() for offset in range((last - first).days + 1)]
        groups = {label: [rows[label]] if label in rows else [] for label in labels}
        return Chart("Cost by day", tuple(labels), _series(list(groups.values())))
    months: dict[str, list[Any]] = {month: [] for month in _months(first, last)}
    for day, row in rows.items():
        months.setdefault(day[:7], []).append(row)
    kept = sorted(months)[-_MOST_DAYS:]
    return Chart("Cost by month", tuple(kept), _series([months[month] for month in kept]))


def _months(first: date, last: date) -> list[str]:
    months = (last.year - first.year) * 12 + last.month - first.month + 1
    if months > _MOST_DAYS:  # a row of another century: only the months that have rows
        return []
    places = range(first.year * 12 + first.month - 1, first.year * 12 + first.month - 1 + months)
    return [f"{place // 12:04}-{place % 12 + 1:02}" for place in places]


def _series(groups: Sequence[Sequence[Any]]) -> dict[str, tuple[Decimal, ...]]:
    def sums(*names: str) -> tuple[Decimal, ...]:
        return tuple(sum((row[name] for row in rows for name in names), Decimal(0)) for rows in groups)

    return {"input": sums("input_cost_usd"), "output": sums("output_cost_usd"), "fees and other costs": sums("fees_usd", "other_cost_usd")}

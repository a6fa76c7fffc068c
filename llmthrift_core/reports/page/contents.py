"""`Contents`: what a review shows, before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from llmthrift_core.display import cell, cost_shown, counted, percent, usd
from llmthrift_core.reports.observed import ObservedReport
from llmthrift_core.reports.optimizations.report import OptimizationReport
from llmthrift_core.reports.report import Report
from llmthrift_core.reports.savings import SavingsReport
from llmthrift_core.reports.spend_rate import SpendRate
from llmthrift_core.reports.top import CostliestCalls


@dataclass(frozen=True, slots=True)
class Section:
    """A table of a review."""

    title: str
    report: Report


@dataclass(frozen=True, slots=True)
class Chart:
    """Cost over time: labels, and what is stacked by name."""

    title: str
    labels: tuple[str, ...]
    series: dict[str, tuple[Decimal, ...]]


@dataclass(frozen=True, repr=False)
class Contents:
    """What a period cost, where the money went, what was saved, and what could be.

    Attributes:
        title: what the page is called.
        period: which period it is, in words.
        made_at: when it was made, UTC.
        savings: what was spent and saved.
        rate: how fast money is spent now.
        total: a row of `report(details=True)` for everything.
        chart: cost by day, or by month where there are many days.
        sections: tables by feature, model, user and call site; those with one row of nothing are left out.
        calls: the most expensive calls.
        opportunities: what could be saved.
        observed: what observe mode found; None where nothing was observed.
    """

    title: str
    period: str
    made_at: datetime
    savings: SavingsReport
    rate: SpendRate
    total: dict[str, Any]
    chart: Chart
    sections: tuple[Section, ...]
    calls: CostliestCalls
    opportunities: OptimizationReport
    observed: ObservedReport | None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not self.total["attempts"] and not self.total["other_cost_usd"]


def key_figures(review: Contents) -> list[tuple[str, str, str]]:
    """Name, figure and remark: what a reader looks for first."""
    total, savings, rate = review.total, review.savings, review.rate
    figures = [
        ("spent on model calls", cell(cost_shown(total["cost_usd"], total["unpriced"])), _unpriced(total)),
        ("requests", f"{total['requests']:,}", _per_thousand(total)),
        ("per answer", cell(cost_shown(total["cost_per_answer_usd"], total["unpriced"])), "failed and rejected attempts included"),
        ("saved", usd(savings.saved_usd), _saved(savings)),
        ("from the cache", percent(savings.hit_rate), counted(savings.cache_hits, "request")),
        ("errors", percent(total["error_rate"]), f"{total['errors']:,} of {counted(total['attempts'], 'attempt')}"),
        ("at today's rate", cell(cost_shown(rate.usd_per_month, rate.unpriced[2])), "in 30 days like the last 7"),
    ]
    if total["other_cost_usd"]:
        figures.insert(1, ("other costs", usd(total["other_cost_usd"]), "tools, searches, machines"))
    again = total["retry_cost_usd"] + total["fallback_cost_usd"] + total["escalated_cost_usd"]
    if again:
        figures.append(("asked again", usd(again), "retries, fallbacks, rejected answers"))
    return figures


def _per_thousand(total: Mapping[str, Any]) -> str:
    shown = cost_shown(total["cost_per_1000_requests_usd"], total["unpriced"])
    return "no request has a price" if shown == "unpriced" else f"{cell(shown)} for 1,000"


def _saved(savings: SavingsReport) -> str:
    if savings.saved_share is None:
        return "nothing is known of what it would have cost" if savings.requests else "nothing was asked"
    return f"{percent(savings.saved_share)} of {usd(savings.without_usd)}"


def _unpriced(total: Mapping[str, Any]) -> str:
    if total["unpriced"]:
        return f"{counted(total['unpriced'], 'call has', 'calls have')} no price"
    return f"{usd(total['input_cost_usd'])} input, {usd(total['output_cost_usd'])} output"

"""Reports as rich tables."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from llmthrift_core.insight.report import Report
    from llmthrift_core.insight.savings import SavingsReport

# Heading -> column: what fits a terminal of 80 characters. `--json` prints them all.
_COLUMNS = {
    "calls": "requests",
    "hits": "cache_hits",
    "tokens in": "input_tokens",
    "out": "output_tokens",
    "cost": "cost_usd",
    "saved": "saved_usd",
    "errors": "errors",
    "unpriced": "unpriced",
}


def dollars(amount: Decimal | None) -> str:
    """An amount for reading: four decimals below a dollar, two above."""
    if amount is None:
        return "unknown"
    return f"${amount:,.2f}" if abs(amount) >= 1 or not amount else f"${amount:.4f}"


def report_table(report: Report) -> Table:
    """One line per row of the report, and the total."""
    table = Table(title=f"By {report.by}")
    table.add_column(report.by)
    for heading in _COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in report.to_dicts():
        table.add_row(str(row[report.by] or "-"), *(_cell(name, row[name]) for name in _COLUMNS.values()))
    table.add_section()
    table.add_row("total", *(_cell(name, report.total[name]) for name in _COLUMNS.values()), style="bold")
    return table


def savings_table(savings: SavingsReport) -> Table:
    """The figures of a savings report, a line each."""
    table = Table("figure", "value", title="Savings")
    table.columns[1].justify = "right"
    for name, value in savings.to_dict().items():
        if isinstance(value, Decimal):
            text = dollars(value)
        elif isinstance(value, float):
            text = f"{value:.1%}"
        elif isinstance(value, list | dict):
            continue
        else:
            text = "-" if value is None else str(value)
        table.add_row(name.removesuffix("_usd").replace("_", " "), text)
    return table


def _cell(name: str, value: object) -> str:
    return dollars(value) if isinstance(value, Decimal) or (value is None and name.endswith("_usd")) else f"{value:,}"

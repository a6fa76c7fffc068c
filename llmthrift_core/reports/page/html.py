"""A review as one HTML file. Every value that came from outside is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, Final

from llmthrift_core.display import cell, usd
from llmthrift_core.reports import columns
from llmthrift_core.reports.page.charts import stacked_columns
from llmthrift_core.reports.page.contents import Contents, key_figures
from llmthrift_core.reports.page.style import STYLE

# Nothing may be fetched from elsewhere, and no script runs.
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}"><meta name="color-scheme" content="light dark">
<title>{title}</title><style>{style}</style></head>
<body><header><h1>{title}</h1><p class="quiet">{period}</p></header>
<main>{body}</main>
<footer>Made by llmthrift on {made}. Amounts are US dollars by the price list of each call's day.</footer></body></html>
"""


def page(review: Contents) -> str:
    """The whole page."""
    body = "<p>No calls are recorded in this period.</p>" if review.is_empty else "".join(_parts(review))
    return _PAGE.format(
        policy=_POLICY,
        title=escape(cell(review.title)),
        style=STYLE,
        period=escape(review.period),
        body=body,
        made=f"{review.made_at:%Y-%m-%d %H:%M} UTC",
    )


def _parts(review: Contents) -> list[str]:
    figures = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(figure)}<small>{escape(remark)}</small></dd></div>"
        for name, figure, remark in key_figures(review)
    )
    parts = [f"<dl>{figures}</dl>", stacked_columns(review.chart.title, review.chart.labels, review.chart.series)]
    if review.opportunities.opportunities:
        parts.append("<h2>What could be saved</h2><p class='quiet'>The amounts overlap and must not be added.</p>")
        parts += [_opportunity(each) for each in review.opportunities]
    if review.observed is not None:
        rows = [
            [each.name, each.saved_usd, "" if each.low_usd is None else f"{usd(each.low_usd)} to {usd(each.high_usd)}", each.assumed]
            for each in review.observed.levers
        ]
        parts.append(f"<h2>What observe mode found</h2>{_table(['', 'would have saved', 'range', 'assumed'], rows, text=3)}")
    for section in review.sections:
        header, cells, total = columns.narrow(section.report.by, section.report.rows, section.report.total)
        shares = [row["share"] for row in section.report.rows]
        notes = "".join(f"<p class='quiet'>{escape(cell(note))}</p>" for note in section.report.notes if "trend" not in note)
        parts.append(f"<h2>{escape(section.title)}</h2>{_table(header, cells, total=total, shares=shares)}{notes}")
    if len(review.calls):
        rows = [
            [row["model"], f"{row['at']:%Y-%m-%d %H:%M}", row["input_tokens"], row["output_tokens"], row["cost_usd"], "; ".join(row["why"])]
            for row in review.calls
        ]
        parts.append(f"<h2>Most expensive calls</h2>{_table(['model', 'at (UTC)', 'input', 'output', 'cost', 'why'], rows, text=5)}")
    return parts


def _opportunity(each: Any) -> str:
    amount = f"{usd(each.potential_savings_usd)} <span class='quiet'>({usd(each.low_usd)} to {usd(each.high_usd)})</span>"
    return (
        f"<article><h3>{escape(each.kind.replace('_', ' '))}<span>{amount if each.high_usd else ''}</span></h3>"
        f"<p>{escape(cell(each.description))}</p><p class='quiet'>Assumed ({escape(each.basis)}): {escape(each.assumed)}.</p>"
        f"<pre>{escape(each.how)}</pre></article>"
    )


def _table(
    header: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    total: Sequence[Any] | None = None,
    shares: Sequence[float | None] | None = None,
    text: int | None = None,
) -> str:
    """A table that scrolls by itself where it is too wide.

    Args:
        shares: of each row, drawn as a bar below its first cell.
        text: the column that holds sentences.
    """

    def line(row: Sequence[Any], tag: str, bar: str = "") -> str:
        kinds = [' class="text"' if place == text else "" for place in range(len(row))]
        cells = [
            f"<{tag}{kind}>{escape(cell(value))}{'' if place else bar}</{tag}>"
            for place, (value, kind) in enumerate(zip(row, kinds, strict=True))
        ]
        return f"<tr>{''.join(cells)}</tr>"

    bars = [f'<span class="bar" style="width:{min(1.0, max(0.0, share or 0.0)):.1%}"></span>' for share in shares or [None] * len(rows)]
    body = "".join(line(row, "td", bar if shares else "") for row, bar in zip(rows, bars, strict=True))
    foot = "" if total is None else f"<tfoot>{line(total, 'th')}</tfoot>"
    return f'<div class="scroll"><table><thead>{line(header, "th")}</thead><tbody>{body}</tbody>{foot}</table></div>'

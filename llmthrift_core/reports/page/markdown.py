"""A review as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from llmthrift_core.display import cell, usd
from llmthrift_core.reports import columns
from llmthrift_core.reports.page.contents import Contents, key_figures


def text(review: Contents) -> str:
    """The whole review; every value in one line, and none read as markup."""
    return "\n".join(_lines(review)) + "\n"


def _lines(review: Contents) -> Iterator[str]:
    yield f"# {_plain(review.title)}"
    yield ""
    yield _plain(review.period)
    if review.is_empty:
        yield "\nNo calls are recorded in this period."
        return
    yield ""
    yield from _table(["", "", ""], [list(figure) for figure in key_figures(review)])
    names = list(review.chart.series)
    if review.chart.labels:
        yield f"\n## {review.chart.title}\n"
        rows = [[label, *(review.chart.series[name][place] for name in names)] for place, label in enumerate(review.chart.labels)]
        yield from _table(["", *names], rows)
    if review.opportunities.opportunities:
        yield "\n## What could be saved\n\nThe amounts overlap and must not be added."
    for each in review.opportunities:
        amount = f": {usd(each.potential_savings_usd)}, {usd(each.low_usd)} to {usd(each.high_usd)}" if each.high_usd else ""
        yield f"\n### {each.kind.replace('_', ' ')}{amount}\n\n{_plain(each.description)}\n"
        yield f"Assumed ({each.basis}): {_plain(each.assumed)}.\n"
        yield f"```python\n{each.how}\n```"
    if review.observed is not None:
        yield "\n## What observe mode found\n"
        rows = [
            [each.name, each.saved_usd, "" if each.low_usd is None else f"{usd(each.low_usd)} to {usd(each.high_usd)}", each.assumed]
            for each in review.observed.levers
        ]
        yield from _table(["", "would have saved", "range", "assumed"], rows)
    for section in review.sections:
        header, cells, total = columns.narrow(section.report.by, section.report.rows, section.report.total)
        yield f"\n## {section.title}\n"
        yield from _table(header, [*cells, total])
    if len(review.calls):
        yield "\n## Most expensive calls\n"
        rows = [
            [row["model"], f"{row['at']:%Y-%m-%d %H:%M}", row["input_tokens"], row["output_tokens"], row["cost_usd"], "; ".join(row["why"])]
            for row in review.calls
        ]
        yield from _table(["model", "at (UTC)", "input", "output", "cost", "why"], rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    yield f"| {' | '.join(map(_plain, header))} |"
    yield f"|{'|'.join(['---', *['---:'] * (len(header) - 1)])}|"
    for row in rows:
        yield f"| {' | '.join(map(_plain, row))} |"


def _plain(value: Any) -> str:
    """A value that Markdown shows as it is."""
    return "".join(f"\\{character}" if character in "\\`*_{}[]<>#|~" else character for character in cell(value))

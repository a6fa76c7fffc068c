"""`llmthrift anomalies`: what took far more than usual, and what it was spent on."""

from __future__ import annotations

from typing import Annotated

import typer

from llmthrift_core.cli.options import Since, Url, opened
from llmthrift_core.cli.output import AsCsv, AsJson, end, show, write_rows

_SHOWN = ("kind", "at", "scope", "value_usd", "expected_usd", "score", "request_id", "why")


def anomalies(
    since: Since = None,
    tz: Annotated[str | None, typer.Option(help="Time zone of days and hours, such as Europe/Berlin")] = None,
    limit: Annotated[int, typer.Option(help="So many at most", min=1)] = 50,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    url: Url = None,
) -> None:
    """Requests, hours and days that took far more than usual, and what they were spent on."""
    with opened(url) as thrift:
        found = thrift.anomalies(since, tz=tz)
    rows = [{name: value for name, value in each.to_dict().items() if name in _SHOWN} for each in found[:limit]]
    if not write_rows(rows, as_json=as_json, as_csv=as_csv):
        if not found:
            show("Nothing unusual is recorded.")
        for each in found[:limit]:
            show(f"{each.at:%Y-%m-%d %H:%M}  {each.kind:7}  {each.why}")
        if len(found) > limit:
            show(f"{len(found) - limit:,} older ones; --limit shows more")
    end(found)

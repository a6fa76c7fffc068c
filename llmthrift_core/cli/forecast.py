"""`llmthrift forecast`: what a month will have cost when it ends, and when budgets are reached."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from llmthrift_core.cli.options import Url, ValkeyUrl, opened
from llmthrift_core.cli.output import AsCsv, AsJson, end, show, write_json, write_rows


def forecast(
    period: Annotated[str, typer.Option(help="day, week, month, quarter or year")] = "month",
    by: Annotated[str | None, typer.Option(help="Also by feature, model, user, ... or a tag's name")] = None,
    at: Annotated[str | None, typer.Option(help="As at this time, from what was recorded before it; default: now")] = None,
    tz: Annotated[str | None, typer.Option(help="Time zone of days, such as Europe/Berlin")] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    url: Url = None,
    valkey_url: ValkeyUrl = None,
) -> None:
    """What a period will have cost when it ends, with an interval, and when budgets are reached."""
    with opened(url, valkey_url=valkey_url) as thrift:
        found = thrift.forecast(period, at=at, by=by, tz=tz)
    if as_json:
        told = {
            **found.to_dict(),
            "daily": [asdict(day) for day in found.daily],
            "parts": [part.to_dict() for part in found.parts],
            "budgets": [{**asdict(budget), "sentence": budget.sentence} for budget in found.budgets],
            "notes": found.notes,
        }
        write_json(told)
    elif not write_rows(found.to_dicts(), as_json=False, as_csv=as_csv):
        show(found.to_text())
    end(found.history_days or found.spent_usd)

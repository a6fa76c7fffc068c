"""`llmthrift top`, `optimize`, `prefix-misses`, `run` and `observed`: what costs most, could be saved, and is lost; one run; observing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmthrift_core.cli.options import Since, Until, Url, opened
from llmthrift_core.cli.output import AsCsv, AsJson, end, show, write_rows
from llmthrift_core.thrift import Thrift


def top(
    n: Annotated[int, typer.Argument(help="How many", min=1)] = 20,
    by: Annotated[str, typer.Option(help="user, feature, model, session, run, ... a tag's name, or call: single calls")] = "user",
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    url: Url = None,
) -> None:
    """What costs most: users, features, models, ... or single calls with why, and how fast money is spent now."""
    with opened(url) as thrift:
        found = thrift.top(n, by, since, until)
        rate = thrift.spend_rate()
    if not write_rows(found.to_dicts(), as_json=as_json, as_csv=as_csv):
        show(found.to_text())
        if len(found):
            show(f"\n{rate.to_text()}")
    end(found)


def prefix_misses(since: Since = None, until: Until = None, as_json: AsJson = False, as_csv: AsCsv = False, url: Url = None) -> None:
    """What was lost of providers' prompt caches, by reason and call site."""
    with opened(url) as thrift:
        found = thrift.prefix_misses(since, until)
    if not write_rows(found.to_dicts(), as_json=as_json, as_csv=as_csv):
        show(found.to_text())
    end(found)


def optimize(since: Since = None, until: Until = None, as_json: AsJson = False, as_csv: AsCsv = False, url: Url = None) -> None:
    """What could be saved: each with a range, the calls that show it, and the code that takes it."""
    with opened(url) as thrift:
        found = thrift.optimizations(since, until)
    if not write_rows(found.to_dicts(), as_json=as_json, as_csv=as_csv):
        show(found.to_text())
    end(found.to_dicts())


def run(
    name: Annotated[str, typer.Argument(metavar="RUN", help="The run's name or trace id; `llmthrift report --by run` lists them")],
    costliest: Annotated[int, typer.Option(help="So many of its most expensive calls are explained", min=0)] = 5,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    url: Url = None,
) -> None:
    """One run as a tree of its agents, tools and calls, and why its most expensive calls are expensive."""
    with opened(url) as thrift:
        found = thrift.run_costs(name, costliest=costliest)
    if not write_rows(found.to_dicts() if found.tree.children else [], as_json=as_json, as_csv=as_csv):
        show(found.to_text())
    end(found.tree.children)


def observed(since: Since = None, until: Until = None, as_json: AsJson = False, as_csv: AsCsv = False, url: Url = None) -> None:
    """What caching, routing and shortening would have saved of the traffic under LLMTHRIFT_OBSERVE=1."""
    with opened(url) as thrift:
        found = thrift.observed(since, until)
    if not write_rows(found.to_dicts() if found.requests else [], as_json=as_json, as_csv=as_csv):
        show(found.to_text() if found.requests else "No calls are recorded in this period.")
    end(found.requests)


def write_review(thrift: Thrift, *, since: str | None, until: str | None, tz: str | None, html: Path | None, markdown: Path | None) -> None:
    """Write a review of the period into files.

    Raises:
        typer.BadParameter: a file cannot be written.
    """
    review = thrift.review(since, until, tz=tz)
    for path, text in ((html, review.to_html), (markdown, review.to_markdown)):
        if path is None:
            continue
        try:
            path.write_text(text(), encoding="utf-8")
        except OSError as error:
            raise typer.BadParameter(f"cannot write {path}: {error.strerror or error}") from None
        typer.echo(f"wrote {path}")

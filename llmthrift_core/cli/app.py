"""The commands that are not a group of their own, and the groups put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import entry_points, version
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer

from llmthrift_core.cli.alerts import alerts
from llmthrift_core.cli.anomalies import anomalies
from llmthrift_core.cli.audit import audit
from llmthrift_core.cli.autopilot import autopilot
from llmthrift_core.cli.batch import batch
from llmthrift_core.cli.budgets import budgets
from llmthrift_core.cli.cache import cache
from llmthrift_core.cli.configurations import config
from llmthrift_core.cli.doctor import doctor
from llmthrift_core.cli.export import export
from llmthrift_core.cli.forecast import forecast
from llmthrift_core.cli.options import Prices, Since, Until, Url, console, opened
from llmthrift_core.cli.output import AsCsv, AsJson, end, show, show_table, write_rows
from llmthrift_core.cli.plans import advise, breakeven, context, roi, tier_mix, what_if
from llmthrift_core.cli.prices import estimate, prices
from llmthrift_core.cli.prompts import analyze
from llmthrift_core.cli.proving import prove
from llmthrift_core.cli.quality import experiments, quality
from llmthrift_core.cli.reconcile import reconcile
from llmthrift_core.cli.reports import observed, optimize, prefix_misses, run, top, write_review
from llmthrift_core.cli.routing import route
from llmthrift_core.cli.service import dashboard, keys, serve
from llmthrift_core.cli.shortening import shorten
from llmthrift_core.display import counted, printing_for
from llmthrift_core.exports import DEMO_EXTRAS, require_extra

if TYPE_CHECKING:
    from llmthrift_core.ledger.reading import Order

_OF_A_CALL: Final = (
    "at",
    "request_id",
    "call_id",
    "model",
    "provider",
    "user",
    "feature",
    "session",
    "run",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "cache",
    "error",
    "latency_seconds",
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Where the LLM money went, and what was saved.",
)
app.add_typer(prices, name="prices")
app.add_typer(cache, name="cache")
app.add_typer(budgets, name="budgets")
app.add_typer(batch, name="batch")
app.add_typer(quality, name="quality")
app.add_typer(experiments, name="experiments")
app.add_typer(route, name="route")
app.add_typer(shorten, name="shorten")
app.add_typer(config, name="config")
app.add_typer(alerts, name="alerts")
app.add_typer(autopilot, name="autopilot")
app.add_typer(export, name="export")
app.add_typer(keys, name="keys")
app.command()(serve)
app.command()(dashboard)
app.command()(doctor)
app.command()(estimate)
app.command()(reconcile)
app.command()(advise)
app.command()(breakeven)
app.command()(roi)
app.command("what-if")(what_if)
app.command()(context)
app.command("tier-mix")(tier_mix)
app.command()(prove)
app.command()(top)
app.command()(optimize)
app.command()(prefix_misses)
app.command()(run)
app.command()(observed)
app.command()(forecast)
app.command()(anomalies)
app.command()(analyze)
app.command()(audit)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"llmthrift {version('llmthrift')}")
        raise typer.Exit


@app.callback()
def about(
    context: typer.Context,
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Where the LLM money went, and what was saved."""
    context.with_resource(printing_for(get_terminal_size().columns))


@app.command()
def demo(
    framework: Annotated[str, typer.Option(help="langchain or llamaindex")] = "langchain",
    live: Annotated[bool, typer.Option("--live", help="Use the real provider; needs its key in the environment")] = False,
    requests: Annotated[int | None, typer.Option(help="Only the first so many requests", min=1)] = None,
    keep: Annotated[Path, typer.Option(help="Keep the ledger of the run with llmthrift in this file, in place of the last demo's")] = Path(
        "llmthrift-demo.db"
    ),
) -> None:
    """Run one workload bare and with llmthrift, and show what it cost and what was saved."""
    found = {entry.name: entry for entry in entry_points(group="llmthrift.demos")}
    if framework not in found:
        raise typer.BadParameter(f"no demo for {framework!r}; there is one for: {', '.join(sorted(found))}")
    require_extra(DEMO_EXTRAS[framework])
    found[framework].load()(console, live=live, requests=requests, keep=keep)


@app.command()
def report(
    by: Annotated[str, typer.Option(help="model, feature, user, session, day, month, call_site, ... or a tag's name")] = "model",
    since: Since = None,
    until: Until = None,
    tz: Annotated[str | None, typer.Option(help="Time zone of days and months, such as Europe/Berlin")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many rows", min=1)] = None,
    details: Annotated[
        bool,
        typer.Option("--details", help="Input, output, retries, errors, slow answers; per answer; the trend"),
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page into this file: charts, tables, what could be saved")] = None,
    markdown: Annotated[Path | None, typer.Option(help="The same page as Markdown")] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    url: Url = None,
) -> None:
    """Cost and use, one row per model, feature, user, day, ... or all of it as a page."""
    with opened(url) as thrift:
        if html is not None or markdown is not None:
            write_review(thrift, since=since, until=until, tz=tz, html=html, markdown=markdown)
            return
        found = thrift.report(by=by, since=since, until=until, tz=tz, details=details)
    shown = replace(found, rows=found.rows[:limit])
    if not write_rows(shown.rows, as_json=as_json, as_csv=as_csv):
        show(shown.to_text(get_terminal_size().columns))
        if len(shown) < len(found):
            show(f"{counted(len(found) - len(shown), 'more row is', 'more rows are')} in the total; --limit shows more")
    end(found.rows)


@app.command()
def calls(
    order: Annotated[str, typer.Option(help="newest, oldest or cost")] = "newest",
    limit: Annotated[int, typer.Option(help="So many calls at most", min=1)] = 20,
    since: Since = None,
    until: Until = None,
    model: Annotated[str | None, typer.Option(help="Only this model's")] = None,
    user: Annotated[str | None, typer.Option(help="Only this user's")] = None,
    feature: Annotated[str | None, typer.Option(help="Only this feature's")] = None,
    session: Annotated[str | None, typer.Option(help="Only this session's")] = None,
    run: Annotated[str | None, typer.Option(help="Only this run's")] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    url: Url = None,
) -> None:
    """Single calls: when, which model, tokens, cost, and how it ended."""
    if order not in ("newest", "oldest", "cost"):
        raise typer.BadParameter(f"--order is newest, oldest or cost, not {order!r}")
    with opened(url) as thrift:
        found = thrift.ledger.calls(
            since, until, limit, order=cast("Order", order), model=model, user=user, feature=feature, session=session, run=run
        )
    rows = [{name: call[name] for name in _OF_A_CALL} for call in found]
    if not write_rows(rows, as_json=as_json, as_csv=as_csv):
        _show_calls(rows)
    end(rows)


def _show_calls(rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        show("No calls are recorded that fit.")
        return
    table = [
        [
            f"{row['at']:%Y-%m-%d %H:%M:%S}",
            row["model"],
            row["user"] or "",
            row["input_tokens"],
            row["output_tokens"],
            "unpriced" if row["cost_usd"] is None else row["cost_usd"],
            row["cache"] or row["error"] or "",
        ]
        for row in rows
    ]
    show_table(["at", "model", "user", "input", "output", "cost", "cache or error"], table)


@app.command()
def savings(
    since: Since = None,
    until: Until = None,
    baseline: Annotated[str | None, typer.Option(help="Compare with every call on this model")] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    url: Url = None,
    price_file: Prices = None,
) -> None:
    """What was spent, and what the cache and the router saved."""
    with opened(url, prices=price_file) as thrift:
        found = thrift.savings(since=since, until=until, baseline=baseline)
    if not write_rows([found.to_dict()], as_json=as_json, as_csv=as_csv, whole=found.to_dict()):
        show(found.to_text() if found.requests else "No calls are recorded in this period.")
    end(found.requests)

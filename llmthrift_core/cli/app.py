"""The commands that are not a group of their own, and the groups put together."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from shutil import get_terminal_size
from typing import Annotated

import typer

from llmthrift_core.cli.budgets import budgets
from llmthrift_core.cli.cache import cache
from llmthrift_core.cli.configurations import config
from llmthrift_core.cli.doctor import doctor
from llmthrift_core.cli.options import Prices, Since, Until, Url, console, opened
from llmthrift_core.cli.prices import estimate, prices
from llmthrift_core.cli.quality import experiments, quality
from llmthrift_core.cli.routing import route

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Where the LLM money went, and what was saved.",
)
app.add_typer(prices, name="prices")
app.add_typer(cache, name="cache")
app.add_typer(budgets, name="budgets")
app.add_typer(quality, name="quality")
app.add_typer(experiments, name="experiments")
app.add_typer(route, name="route")
app.add_typer(config, name="config")
app.command()(doctor)
app.command()(estimate)


@app.command()
def demo(
    framework: Annotated[str, typer.Option(help="langchain or llamaindex")] = "langchain",
    live: Annotated[bool, typer.Option("--live", help="Use the real provider; needs its key in the environment")] = False,
    requests: Annotated[int | None, typer.Option(help="Only the first so many requests", min=1)] = None,
) -> None:
    """Run one workload twice, bare and with llmthrift, and show what it cost and what was saved."""
    found = {entry.name: entry for entry in entry_points(group="llmthrift.demos")}
    if framework not in found:
        raise typer.BadParameter(f"no demo for {framework!r}; there is one for: {', '.join(sorted(found))}")
    found[framework].load()(console, live=live, requests=requests)


@app.command()
def report(
    by: Annotated[str, typer.Option(help="model, feature, user, session, day, month, call_site, ... or a tag's name")] = "model",
    since: Since = None,
    until: Until = None,
    tz: Annotated[str | None, typer.Option(help="Time zone of days and months, such as Europe/Berlin")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    url: Url = None,
) -> None:
    """Cost and use, one row per model, feature, user, day, ..."""
    with opened(url) as thrift:
        found = thrift.report(by=by, since=since, until=until, tz=tz)
    if as_json:
        typer.echo(json.dumps(found.to_dicts(), default=str, indent=2))
    else:
        typer.echo(found.to_text(get_terminal_size().columns))


@app.command()
def savings(
    since: Since = None,
    until: Until = None,
    baseline: Annotated[str | None, typer.Option(help="Compare with every call on this model")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    url: Url = None,
    price_file: Prices = None,
) -> None:
    """What was spent, and what the cache and the router saved."""
    with opened(url, prices=price_file) as thrift:
        found = thrift.savings(since=since, until=until, baseline=baseline)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), default=str, indent=2))
    else:
        typer.echo(found.to_text())

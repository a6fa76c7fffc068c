"""`llmthrift quality` and `llmthrift experiments`: how good the answers are, and which arm is better."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from llmthrift_core.cli.options import Since, Until, Url, opened
from llmthrift_core.cli.output import AsJson
from llmthrift_core.quality.experiments import Experiment, names_of_experiments

quality = typer.Typer(no_args_is_help=True, help="How good the answers are, from what users and judges said.")
experiments = typer.Typer(no_args_is_help=True, help="A/B experiments.")
Source = Annotated[str | None, typer.Option(help="Only judgements by sources that begin so, such as judge:")]


@quality.command("report")
def report(
    by: Annotated[str, typer.Option(help="model, feature, call_site, prompt_version, day, ... or tag:NAME")] = "model",
    since: Since = None,
    until: Until = None,
    source: Source = None,
    recent_days: Annotated[float, typer.Option(help="The days that are compared with the time before")] = 7.0,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Quality with its limits, one row per model, feature, ..., and what changed lately."""
    with opened(url) as thrift:
        found = thrift.quality(by=by, since=since, until=until, source=source, recent_days=recent_days)
    typer.echo(json.dumps(found.to_dicts(), indent=2) if as_json else found.to_text())


@experiments.command("list")
def list_experiments(url: Url = None) -> None:
    """The names of all experiments."""
    with opened(url) as thrift:
        for name in names_of_experiments(thrift.database):
            typer.echo(name)


@experiments.command()
def results(
    name: str,
    since: Since = None,
    until: Until = None,
    confidence: Annotated[float, typer.Option(help="Of every interval")] = 0.95,
    min_saving: Annotated[float, typer.Option(help="The share of the control's cost that a candidate must save")] = 0.10,
    quality_margin: Annotated[float, typer.Option(help="A quality lower by less than this counts as not lower")] = 0.02,
    source: Source = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Cost and quality of each arm, and what follows from them."""
    with opened(url) as thrift:
        found = Experiment.named(thrift, name).results(
            since, until, confidence=confidence, min_saving=min_saving, quality_margin=quality_margin, source=source
        )
    typer.echo(json.dumps(found.to_dicts(), default=str, indent=2) if as_json else found.to_text())

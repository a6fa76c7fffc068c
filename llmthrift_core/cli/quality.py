"""`llmthrift quality` and `llmthrift experiments`: how good the answers are, and which arm is better."""

from __future__ import annotations

from typing import Annotated

import typer

from llmthrift_core.cli.options import Since, Until, Url, opened
from llmthrift_core.cli.output import AsCsv, AsJson, end, show, write_rows
from llmthrift_core.quality.experiments import Experiment, names_of_experiments
from llmthrift_core.quality.shadow_sums import kept_report

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
    as_csv: AsCsv = False,
    url: Url = None,
) -> None:
    """Quality with its limits, one row per model, feature, ..., and what changed lately."""
    with opened(url) as thrift:
        found = thrift.quality(by=by, since=since, until=until, source=source, recent_days=recent_days)
    if not write_rows(found.to_dicts(), as_json=as_json, as_csv=as_csv):
        show(found.to_text())
    end(found.to_dicts())


@quality.command()
def shadow(
    name: Annotated[str, typer.Argument(help="What ShadowEvaluation(kept_as=...) was given")],
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    url: Url = None,
) -> None:
    """What a shadow evaluation found by now, in all processes: what to switch on, and what that would save a month."""
    with opened(url) as thrift:
        found = kept_report(thrift.database, name)
    rows = [] if found is None else found.to_dicts()
    if not write_rows(rows, as_json=as_json, as_csv=as_csv):
        show(f"No shadow evaluation is kept as {name!r}." if found is None else found.to_text())
    end(rows)


@experiments.command("list")
def list_experiments(as_json: AsJson = False, as_csv: AsCsv = False, url: Url = None) -> None:
    """The names of all experiments."""
    with opened(url) as thrift:
        names = names_of_experiments(thrift.database)
    if not write_rows([{"experiment": name} for name in names], as_json=as_json, as_csv=as_csv, whole=list(names)):
        typer.echo("\n".join(names) or "There are no experiments.")
    end(names)


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
    as_csv: AsCsv = False,
    url: Url = None,
) -> None:
    """Cost and quality of each arm, and what follows from them."""
    with opened(url) as thrift:
        found = Experiment.named(thrift, name).results(
            since, until, confidence=confidence, min_saving=min_saving, quality_margin=quality_margin, source=source
        )
    if not write_rows(found.to_dicts(), as_json=as_json, as_csv=as_csv):
        show(found.to_text())

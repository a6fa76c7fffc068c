"""`llmthrift export`: files of calls and of costs for other programs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from llmthrift_core.cli.options import Prices, Since, Until, Url, opened
from llmthrift_core.cli.output import AsJson
from llmthrift_core.exporters.exported import Exported
from llmthrift_core.exporters.table_files import FORMATS, Format

export = typer.Typer(no_args_is_help=True, help="Files of calls and of costs for other programs")

Out = Annotated[Path, typer.Option("--out", "-o", help="The file; with --per-day the directory of one file for each day")]
AsFormat = Annotated[str | None, typer.Option("--format", help="csv or parquet; default: what the name of the file ends with")]
PerDay = Annotated[bool, typer.Option("--per-day", help="One file for each day; those of whole days that are there are left as they are")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="With --per-day: write files again that are there")]


@export.command()
def calls(
    out: Out,
    format: AsFormat = None,
    since: Since = None,
    until: Until = None,
    per_day: PerDay = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Every recorded call, one row for each."""
    from llmthrift_core.exporters.calls import export_calls

    with opened(url) as thrift:
        _show(
            export_calls(thrift, out, format=_format(format), since=since, until=until, per_day=per_day, overwrite=overwrite),
            as_json=as_json,
        )


@export.command()
def focus(
    out: Out,
    format: AsFormat = None,
    since: Since = None,
    until: Until = None,
    per_day: PerDay = False,
    overwrite: Overwrite = False,
    billing_account: Annotated[str, typer.Option(help="The BillingAccountId of every row")] = "llmthrift",
    tag: Annotated[list[str] | None, typer.Option(help="Tell only this tag apart; may be given again. Default: every tag")] = None,
    check: Annotated[bool, typer.Option("--check", help="Check what was written by the rules of FOCUS 1.3")] = False,
    as_json: AsJson = False,
    url: Url = None,
    price_file: Prices = None,
) -> None:
    """Costs by day, model, feature and kind of token, as FOCUS 1.3."""
    from llmthrift_core.exporters.focus import export_focus
    from llmthrift_core.exporters.focus_check import check_focus

    with opened(url, prices=price_file) as thrift:
        found = export_focus(
            thrift,
            out,
            format=_format(format),
            since=since,
            until=until,
            per_day=per_day,
            overwrite=overwrite,
            billing_account=billing_account,
            tags=tag,
        )
    _show(found, as_json=as_json)
    if check:
        problems = [f"{file}: {problem}" for file in found.files for problem in check_focus(file)]
        typer.echo("\n".join(problems) or "FOCUS 1.3: nothing is wrong", err=as_json)
        if problems:
            raise typer.Exit(1)


@export.command()
def training(
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to train with, such as train.jsonl")],
    min_quality: Annotated[float, typer.Option(help="The least mean judgement of an answer", min=0, max=1)] = 0.8,
    since: Since = None,
    until: Until = None,
    model: Annotated[list[str] | None, typer.Option(help="Only answers of this model; may be given again")] = None,
    feature: Annotated[list[str] | None, typer.Option(help="Only of this feature; may be given again")] = None,
    consent: Annotated[str | None, typer.Option(help="Only calls with this tag: training (that says yes), or training=v2")] = None,
    redact: Annotated[list[str] | None, typer.Option(help="Regular expression that becomes [REDACTED]; may be given again")] = None,
    validation: Annotated[float, typer.Option(help="The share of examples that goes into a second file", min=0)] = 0.1,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Judged answers as JSON lines for fine-tuning."""
    from llmthrift_core.exporters.training import export_training

    with opened(url) as thrift:
        found = export_training(
            thrift,
            out,
            min_quality=min_quality,
            since=since,
            until=until,
            models=model,
            features=feature,
            consent=consent,
            redact=_redaction(redact),
            validation=validation,
        )
    typer.echo(json.dumps(found.to_dict(), indent=2) if as_json else found.to_text())


def _redaction(patterns: list[str] | None) -> Callable[[str], str] | None:
    if not patterns:
        return None
    try:
        hidden = [re.compile(pattern) for pattern in patterns]
    except re.error as error:
        raise typer.BadParameter(f"--redact is no regular expression: {error}") from None

    def redact(text: str) -> str:
        for pattern in hidden:
            text = pattern.sub("[REDACTED]", text)
        return text

    return redact


def _format(given: str | None) -> Format | None:
    for form in FORMATS:
        if form == given:
            return form
    if given is not None:
        raise typer.BadParameter(f"--format is csv or parquet, not {given!r}")
    return None


def _show(found: Exported, *, as_json: bool) -> None:
    typer.echo(json.dumps(found.to_dict(), indent=2) if as_json else found.to_text())

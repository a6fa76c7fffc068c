"""`llmthrift audit`: what a project's code will waste, without running it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from llmthrift_core.auditing.findings import LEVELS
from llmthrift_core.auditing.project import audit_project
from llmthrift_core.auditing.report import AuditReport
from llmthrift_core.errors import ConfigurationError


def audit(
    path: Annotated[list[Path], typer.Argument(help="Folders, Python files or notebooks")],
    output_format: Annotated[str, typer.Option("--format", help="text, sarif or json")] = "text",
    fail_on: Annotated[str, typer.Option(help="error, warning or note: exit with 1 on such findings and graver ones")] = "warning",
    exclude: Annotated[list[str] | None, typer.Option(help="Leave out files and folders like this: tests, docs/*.py")] = None,
) -> None:
    """Find calls without limits, loops without budgets and broken caches in code, without running it."""
    if output_format not in ("text", "sarif", "json"):
        raise typer.BadParameter(f"--format is text, sarif or json, not {output_format!r}")
    if fail_on not in LEVELS:
        raise typer.BadParameter(f"--fail-on is error, warning or note, not {fail_on!r}")
    try:
        reports = [(one, audit_project(one, exclude=exclude or ())) for one in path]
    except ConfigurationError as error:
        raise typer.BadParameter(str(error)) from None
    report = reports[0][1]
    if len(reports) > 1:
        found = {finding.under(one) for one, each in reports for finding in each.findings}
        report = AuditReport(tuple(sorted(found, key=lambda finding: finding.order)), sum(each.files for _, each in reports))
    if output_format == "sarif":
        typer.echo(json.dumps(report.to_sarif(), indent=2))
    elif output_format == "json":
        typer.echo(json.dumps(report.to_dicts(), indent=2))
    else:
        typer.echo(report.to_text())
    if report.at_least(fail_on):
        raise typer.Exit(1)

"""Rows as text, JSON or CSV, on whatever the command writes to.

Every command that looks something up ends with 0 where it found something and 1 where there is nothing, in each form. A wrong option is 2.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from llmthrift_core.display import folded, plain_table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV, with the names of the columns first")]


def write_rows(rows: Sequence[Mapping[str, Any]], *, as_json: bool, as_csv: bool) -> bool:
    """Write rows for programs. False if neither form was asked for.

    Raises:
        typer.BadParameter: both were.
    """
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other")
    if as_json:
        typer.echo(json.dumps([dict(row) for row in rows], default=str, indent=2))
    elif as_csv:
        names = list(dict.fromkeys(name for row in rows for name in row))
        writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return as_json or as_csv


def show(text: str) -> None:
    """Print text; its sentences are wrapped to the terminal's width."""
    typer.echo(folded(text))


def show_table(header: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str = "", total: Sequence[Any] | None = None) -> None:
    """Print a table, folded to the terminal's width."""
    if title:
        show(title)
    typer.echo(plain_table(header, rows, total=total))


def warn(text: str) -> None:
    """Print what somebody should look at: in yellow on a terminal, without `NO_COLOR`."""
    shown = folded(text)
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    typer.echo(typer.style(shown, fg=typer.colors.YELLOW) if coloured else shown)


def write_json(value: Any) -> None:
    """Print one JSON value."""
    typer.echo(json.dumps(value, default=str, indent=2))


def end(found: object) -> None:
    """End with 1 where nothing was found.

    Raises:
        typer.Exit: nothing was.
    """
    if not found:
        raise typer.Exit(1)

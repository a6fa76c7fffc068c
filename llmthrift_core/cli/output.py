"""Rows as text, JSON or CSV, on whatever the command writes to."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

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

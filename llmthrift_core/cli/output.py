"""Rows as text, JSON or CSV, on whatever the command writes to.

Every command that looks something up ends with 0 where it found something and 1 where there is nothing, in each form. A wrong option is 2.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any

import typer

from llmthrift_core.display import folded, plain_table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV, with the names of the columns first")]


def write_rows(rows: Sequence[Mapping[str, Any]], *, as_json: bool, as_csv: bool, whole: Any = None) -> bool:
    """Write rows for programs. False if neither form was asked for.

    Args:
        rows: what the table shows.
        as_json: whether JSON was asked for.
        as_csv: whether CSV was. What holds more than one value is JSON within its cell.
        whole: what JSON gives instead of the rows, where there is more to tell than the table has.

    Raises:
        typer.BadParameter: both were asked for.
    """
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other")
    rows = [_unknown_is_not_zero(row) for row in rows]
    if as_json:
        write_json([dict(row) for row in rows] if whole is None else whole)
    elif as_csv and rows:
        names = list(dict.fromkeys(name for row in rows for name in row))
        writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _in_a_cell(value) for name, value in row.items()} for row in rows)
    return as_json or as_csv


def _unknown_is_not_zero(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Calls of which none has a price cost nobody knows what: no amount, where a report's sum of the priced ones is 0."""
    if not row.get("unpriced"):
        return row
    return {name: None if (name.endswith("cost_usd") or name == "spent_usd") and not value else value for name, value in row.items()}


def _in_a_cell(value: Any) -> Any:
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, default=_as_text)
    return _as_text(value) if isinstance(value, Decimal) else value


def _as_text(value: Any) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else str(value)  # 0.000000000, which str() has as 0E-9


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
    typer.echo(json.dumps(value, default=_as_text, indent=2))


def end(found: object) -> None:
    """End with 1 where nothing was found.

    Raises:
        typer.Exit: nothing was.
    """
    if not found:
        raise typer.Exit(1)

"""`llmthrift reconcile`: the ledger beside a provider's bill."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmthrift_core.cli.options import Prices, Url, opened
from llmthrift_core.cli.output import AsCsv, AsJson, show, write_rows
from llmthrift_core.reports.provider_bills import PROVIDERS


def reconcile(
    file: Annotated[Path, typer.Argument(help="An export of usage or costs: CSV, JSON or JSON Lines")],
    provider: Annotated[str, typer.Option(help="Whose export it is: openai or anthropic")],
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    url: Url = None,
    price_file: Prices = None,
) -> None:
    """Compare the ledger with what a provider billed: coverage, drift by model and day, what is probably missing."""
    known = next((name for name in PROVIDERS if name == provider), None)
    if known is None:
        raise typer.BadParameter(f"--provider is one of {', '.join(PROVIDERS)}, not {provider!r}")
    with opened(url, prices=price_file) as thrift:
        found = thrift.reconcile(file, provider=known)
    if not write_rows(found.rows, as_json=as_json, as_csv=as_csv):
        show(found.to_text())

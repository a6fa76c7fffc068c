"""`llmthrift prices` and `llmthrift estimate`: what models cost, and where price lists disagree."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from llmthrift_core.cli.options import Prices, Url, opened
from llmthrift_core.cli.output import AsCsv, AsJson, end, show, show_table, write_rows
from llmthrift_core.display import counted
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.usage import Usage
from llmthrift_core.usage.tokens import count_tokens

prices = typer.Typer(no_args_is_help=True, help="Prices of models.")
At = Annotated[datetime | None, typer.Option("--at", help="In force at this time, UTC; default: now")]
Provider = Annotated[str | None, typer.Option(help="Who serves the model; default: read off the name")]


@prices.command("show")
def show_prices(
    model: str, provider: Provider = None, at: At = None, as_json: AsJson = False, as_csv: AsCsv = False, price_file: Prices = None
) -> None:
    """The prices of one model, in US dollars."""
    found = PriceCatalog(overrides=price_file).find(model, provider=provider, at=at)
    known = {each.name: getattr(found, each.name) for each in fields(found) if each.name != "sheet"}
    known = {name: value for name, value in known.items() if value is not None}
    if write_rows([known], as_json=as_json, as_csv=as_csv, whole=known):
        return
    rows = [
        (name.replace("_", " "), f"{value:f}" if isinstance(value, Decimal) else str(value))
        for name, value in known.items()
        if name not in ("model", "provider")
    ]
    show_table([f"{found.model} at {found.provider or 'any provider'}", ""], rows)


@prices.command()
def diff(
    provider: Annotated[str | None, typer.Option(help="Only this provider")] = None,
    limit: Annotated[int, typer.Option(help="Show at most so many", min=1)] = 50,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Where genai-prices and litellm disagree. genai-prices wins; an override wins over both."""
    catalog = PriceCatalog()
    if "litellm" not in catalog.versions():
        raise typer.BadParameter("litellm is not installed, so there is nothing to compare: pip install 'llmthrift[litellm]'")
    found = [each for each in catalog.conflicts() if provider is None or each.provider == provider]
    rows = [
        {
            "provider": each.provider,
            "model": each.model,
            "price per million": each.field.removesuffix("_usd_per_million").replace("_", " "),
            "genai-prices": each.genai_usd,
            "litellm": each.litellm_usd,
        }
        for each in found[:limit]
    ]
    if not write_rows(rows, as_json=as_json, as_csv=as_csv):
        show(f"{len(found):,} disagreements")
        if rows:
            show_table(list(rows[0]), [list(row.values()) for row in rows])
        if len(found) > limit:
            show(f"{len(found) - limit:,} more; --limit shows them")
    end(found)


@prices.command()
def backfill(price_file: Prices = None, url: Url = None) -> None:
    """Price the recorded calls that had no price when they were made. Rows are not changed; adjustments are appended."""
    with opened(url, prices=price_file) as thrift:
        show(f"priced {counted(thrift.ledger.reprice_unpriced(), 'call')}")


def estimate(
    model: str,
    input_tokens: Annotated[int, typer.Option("--input", help="Input tokens per request", min=0)] = 0,
    output_tokens: Annotated[int, typer.Option("--output", help="Output tokens per request", min=0)] = 0,
    file: Annotated[Path | None, typer.Option(help="Count the input tokens of this text file", exists=True, dir_okay=False)] = None,
    requests: Annotated[int, typer.Option(help="How many requests", min=1)] = 1,
    cached: Annotated[int, typer.Option(help="Of the input tokens, read from the provider's prompt cache", min=0)] = 0,
    provider: Provider = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    price_file: Prices = None,
) -> None:
    """What requests to a model would cost."""
    size = None if file is None else count_tokens(file.read_text(encoding="utf-8", errors="replace"), model)
    input_tokens += size.tokens if size else 0
    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens, cache_read_tokens=cached)
    cost = PriceCatalog(overrides=price_file).cost(usage, model, provider=provider)
    parts = [(name.replace("_", " "), amount, amount * requests) for name, amount in [*cost.breakdown.items(), ("total", cost.usd)]]
    told = {"model": cost.model, "price_version": cost.price_version, "requests": requests}
    rows = [{**told, "part": part, "usd_a_request": one, "usd": all_of_them} for part, one, all_of_them in parts]
    if write_rows(rows, as_json=as_json, as_csv=as_csv):
        return
    if file is not None and size is not None:
        show(f"{file.name}: {counted(size.tokens, 'token')}{'' if size.exact else ', estimated'}")
    header = ["", "a request", counted(requests, "request")]
    show_table(header, parts[:-1], total=parts[-1], title=f"{cost.model} ({cost.price_version})")

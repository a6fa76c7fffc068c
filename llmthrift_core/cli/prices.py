"""`llmthrift prices` and `llmthrift estimate`: what models cost, and where price lists disagree."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from llmthrift_core.cli.options import Prices, Url, console, opened
from llmthrift_core.display import usd
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.usage import Usage
from llmthrift_core.usage.tokens import count_tokens

prices = typer.Typer(no_args_is_help=True, help="Prices of models.")
At = Annotated[datetime | None, typer.Option("--at", help="In force at this time, UTC; default: now")]
Provider = Annotated[str | None, typer.Option(help="Who serves the model; default: read off the name")]


@prices.command()
def show(model: str, provider: Provider = None, at: At = None, price_file: Prices = None) -> None:
    """The prices of one model, in US dollars."""
    found = PriceCatalog(overrides=price_file).find(model, provider=provider, at=at)
    table = Table("", "", title=f"{found.model} at {found.provider or 'any provider'}", show_header=False)
    table.columns[1].justify = "right"
    for each in fields(found):
        value = getattr(found, each.name)
        if value is None or each.name in ("model", "provider", "sheet"):
            continue
        table.add_row(each.name.replace("_", " "), f"{value:f}" if isinstance(value, Decimal) else str(value))
    console.print(table)


@prices.command()
def diff(
    provider: Annotated[str | None, typer.Option(help="Only this provider")] = None,
    limit: Annotated[int, typer.Option(help="Show at most so many", min=1)] = 50,
) -> None:
    """Where genai-prices and litellm disagree. genai-prices wins; an override wins over both."""
    catalog = PriceCatalog()
    if "litellm" not in catalog.versions():
        raise typer.BadParameter("litellm is not installed, so there is nothing to compare: pip install 'llmthrift[litellm]'")
    found = [each for each in catalog.conflicts() if provider is None or each.provider == provider]
    table = Table("provider", "model", "price per million", "genai-prices", "litellm", title=f"{len(found):,} disagreements")
    for each in found[:limit]:
        name = each.field.removesuffix("_usd_per_million").replace("_", " ")
        table.add_row(each.provider, each.model, name, f"${each.genai_usd.normalize():f}", f"${each.litellm_usd.normalize():f}")
    console.print(table)
    if len(found) > limit:
        console.print(f"{len(found) - limit:,} more; --limit shows them")


@prices.command()
def backfill(price_file: Prices = None, url: Url = None) -> None:
    """Price the recorded calls that had no price when they were made. Rows are not changed; adjustments are appended."""
    with opened(url, prices=price_file) as thrift:
        console.print(f"priced {thrift.ledger.reprice_unpriced():,} calls")


def estimate(
    model: str,
    input_tokens: Annotated[int, typer.Option("--input", help="Input tokens per request", min=0)] = 0,
    output_tokens: Annotated[int, typer.Option("--output", help="Output tokens per request", min=0)] = 0,
    file: Annotated[Path | None, typer.Option(help="Count the input tokens of this text file", exists=True, dir_okay=False)] = None,
    requests: Annotated[int, typer.Option(help="How many requests", min=1)] = 1,
    cached: Annotated[int, typer.Option(help="Of the input tokens, read from the provider's prompt cache", min=0)] = 0,
    provider: Provider = None,
    price_file: Prices = None,
) -> None:
    """What requests to a model would cost."""
    if file is not None:
        counted = count_tokens(file.read_text(encoding="utf-8", errors="replace"), model)
        input_tokens += counted.tokens
        console.print(f"{file.name}: {counted.tokens:,} tokens{'' if counted.exact else ', estimated'}")
    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens, cache_read_tokens=cached)
    cost = PriceCatalog(overrides=price_file).cost(usage, model, provider=provider)
    table = Table("", "a request", f"{requests:,} requests", title=f"{cost.model} ({cost.price_version})")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, amount in cost.breakdown.items():
        table.add_row(name.replace("_", " "), f"${amount.normalize():f}", usd(amount * requests))
    table.add_section()
    table.add_row("total", f"${cost.usd.normalize():f}", usd(cost.usd * requests), style="bold")
    console.print(table)

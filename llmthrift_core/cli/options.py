"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from llmthrift_core.storage.location import locate
from llmthrift_core.thrift import Thrift

console = Console()

Url = Annotated[str | None, typer.Option("--url", help="Database: a path or SQLAlchemy URL. Default: $LLMTHRIFT_URL, else ./llmthrift.db")]
ValkeyUrl = Annotated[
    str | None,
    typer.Option("--valkey-url", help="The server that keeps budgets and cached answers. Default: $LLMTHRIFT_VALKEY_URL, else none"),
]
Since = Annotated[str | None, typer.Option(help="From this time on: 2026-02-27 or 2026-02-27T14:00, UTC")]
Until = Annotated[str | None, typer.Option(help="Before this time")]
Prices = Annotated[Path | None, typer.Option("--prices", help="TOML file of price overrides")]


def pair(text: str, *, option: str) -> tuple[str, str]:
    """NAME=VALUE as an option takes it."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise typer.BadParameter(f"{option} takes NAME=VALUE, not {text!r}")
    return name, value


@contextmanager
def opened(url: str | None, *, prices: Path | None = None, valkey_url: str | None = None) -> Iterator[Thrift]:
    """The ledger that a command reads. A file that does not exist is an error here, not a new empty ledger."""
    location = locate(url)
    if location.in_memory or (location.path is not None and not location.path.exists()):
        raise typer.BadParameter(f"there is no ledger at {location}; name one with --url or $LLMTHRIFT_URL")
    with Thrift(url, prices=prices, valkey_url=valkey_url) as thrift:
        yield thrift

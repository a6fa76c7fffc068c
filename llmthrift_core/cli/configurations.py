"""`llmthrift config`: prompts, models and other configuration in versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from llmthrift_core.cli.options import Url, opened
from llmthrift_core.cli.versions import add_version_commands
from llmthrift_core.thrift import Thrift

config = typer.Typer(no_args_is_help=True, help="Prompts, models and other configuration, kept in versions.")


@config.command()
def save(
    name: str,
    file: Annotated[Path, typer.Argument(help="JSON", exists=True, dir_okay=False)],
    note: Annotated[str | None, typer.Option(help="To be kept with the version")] = None,
    url: Url = None,
) -> None:
    """Keep a JSON file as the next version of a name, and make it the active one."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise typer.BadParameter(f"{file} is not JSON: {error}") from None
    with Thrift(url) as thrift:
        saved = thrift.configurations.save(name, value, note=note)
    typer.echo(f"saved version {saved.version} of {name!r}; it is the active one")


@config.command()
def show(name: str, version: Annotated[int | None, typer.Option(help="Default: the active one")] = None, url: Url = None) -> None:
    """Print a version as JSON."""
    with opened(url) as thrift:
        found = thrift.configurations.load(name, version)
    typer.echo(json.dumps(found.value, indent=2, ensure_ascii=False))


add_version_commands(config, lambda thrift: thrift.configurations, "configuration")

"""`llmthrift cache`: look at the cache, and empty it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from llmthrift_core.cache.semantic.removal import remove_where, totals
from llmthrift_core.cache.store import criteria_of
from llmthrift_core.cli.options import Url, ValkeyUrl, console, opened, pair

cache = typer.Typer(no_args_is_help=True, help="Statistics, clearing and invalidation of cached answers.")


@cache.command()
def stats(
    namespace: Annotated[str | None, typer.Option(help="Only this namespace")] = None,
    entries: Annotated[int, typer.Option(help="Show so many of the most used entries", min=0)] = 0,
    url: Url = None,
    valkey_url: ValkeyUrl = None,
) -> None:
    """What is stored. Hits and misses of running processes are theirs; per-entry hits are in the database."""
    with opened(url, valkey_url=valkey_url) as thrift:
        found = thrift.cache.stats(namespace)
        by_meaning = totals(thrift.database, criteria_of(namespace=namespace))
        listed = thrift.cache.entries(namespace, limit=entries) if entries else []
    table = Table("figure", "value", title="Cache")
    for name, value in found.items():
        table.add_row(name.replace("_", " "), "-" if value is None else f"{value:,.3f}" if isinstance(value, float) else f"{value:,}")
    for name, value in zip(("entries by meaning", "bytes by meaning", "stored hits by meaning"), by_meaning, strict=True):
        table.add_row(name, f"{value:,}")
    console.print(table)
    if listed:
        most = Table("namespace", "model", "hits", "bytes", "user", "feature", title="Most used entries")
        for entry in sorted(listed, key=lambda each: -each.hits):
            most.add_row(entry.namespace, entry.model, str(entry.hits), f"{entry.size_bytes:,}", entry.user or "", entry.feature or "")
        console.print(most)


@cache.command()
def clear(
    namespace: Annotated[str | None, typer.Option(help="Only this namespace")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")] = False,
    url: Url = None,
    valkey_url: ValkeyUrl = None,
) -> None:
    """Remove every cached answer."""
    if not yes:
        typer.confirm(f"Remove every cached answer{f' of namespace {namespace!r}' if namespace else ''}?", abort=True)
    with opened(url, valkey_url=valkey_url) as thrift:
        removed = thrift.cache.clear(namespace) + remove_where(thrift.database, criteria_of(namespace=namespace))
    console.print(f"removed {removed:,} entries")


@cache.command()
def invalidate(
    tag: Annotated[str | None, typer.Option(help="Entries with this tag")] = None,
    source: Annotated[str | None, typer.Option(help="Entries made from this source document")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="NAME=VALUE: model, user, feature, prompt_version; repeatable")] = None,
    namespace: Annotated[str | None, typer.Option(help="Only this namespace")] = None,
    url: Url = None,
    valkey_url: ValkeyUrl = None,
) -> None:
    """Remove the cached answers that all given criteria fit."""
    pairs = dict(pair(text, option="--scope") for text in scope or [])
    with opened(url, valkey_url=valkey_url) as thrift:
        removed = thrift.invalidate(tag=tag, source=source, scope=pairs or None, namespace=namespace)
    console.print(f"removed {removed:,} entries")

"""`llmthrift cache`: look at the cache, and empty it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from llmthrift_core.cache.entry import EntryView
from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.cache.semantic import health
from llmthrift_core.cache.semantic.stored import activity, remove_everywhere, totals_of
from llmthrift_core.cache.store import Totals, criteria_of
from llmthrift_core.cli.options import Url, ValkeyUrl, opened, pair
from llmthrift_core.cli.output import AsCsv, AsJson, show, show_table, warn, write_rows
from llmthrift_core.display import counted, usd
from llmthrift_core.money import to_usd

cache = typer.Typer(no_args_is_help=True, help="Statistics, clearing and invalidation of cached answers.")


@cache.command()
def stats(
    namespace: Annotated[str | None, typer.Option(help="Only this namespace")] = None,
    entries: Annotated[int, typer.Option(help="Show so many of the most used entries", min=0)] = 0,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    url: Url = None,
    valkey_url: ValkeyUrl = None,
) -> None:
    """What is stored. Hits and misses of running processes are theirs; per-entry hits are in the database."""
    with opened(url, valkey_url=valkey_url) as thrift:
        found = thrift.cache.stats(namespace)
        stored = totals_of(thrift.database, thrift.valkey, criteria_of(namespace=namespace), thrift.now_us())
        did = activity(thrift.database, namespace)
        listed = sorted(thrift.cache.entries(namespace, limit=entries), key=lambda each: -each.hits) if entries else []
    whole: dict[str, Any] = {"exact": found, "by_meaning": {**did, "entries": stored.entries, "bytes": stored.size_bytes}}
    rows = [{"cache": kind, "figure": name, "value": value} for kind, figures in whole.items() for name, value in figures.items()]
    if entries:
        names = ("namespace", "model", "hits", "size_bytes", "user", "feature")
        whole["most_used"] = [{name: getattr(entry, name) for name in names} for entry in listed]
    if write_rows(rows, as_json=as_json, as_csv=as_csv, whole=whole):
        return
    exact = [
        (name.replace("_", " "), "-" if value is None else f"{value:,.3f}" if isinstance(value, float) else f"{value:,}")
        for name, value in found.items()
    ]
    show_table(["cache", "value"], exact)
    _print_by_meaning(did, stored, thrift.now_us())
    for alert in health.alerts(did, stored, CachePolicy(namespace=namespace or "all", max_entries=None, max_bytes=None)):
        warn(alert)
    if listed:
        most = [[entry.namespace, entry.model, entry.hits, entry.size_bytes, entry.user or "", entry.feature or ""] for entry in listed]
        show_table(["namespace", "model", "hits", "bytes", "user", "feature"], most, title="\nMost used entries")


def _print_by_meaning(did: dict[str, float], stored: Totals, now_us: int) -> None:
    rows = []
    lookups = did["exact_hits"] + did["semantic_hits"] + did["misses"]
    for name in ("exact_hits", "semantic_hits", "misses", "observed_hits", "guarded", "shadow_checks", "stores", "evictions"):
        share = f" ({did[name] / lookups:.1%})" if lookups and name in ("exact_hits", "semantic_hits") else ""
        rows.append((name.replace("_", " "), f"{did[name]:,.0f}{share}"))
    rows.append(("cost of shadow checks", usd(to_usd(round(did["shadow_nano_usd"])))))
    requests = did["requests"]
    rows.append(
        ("expected wrong answers", f"{did['expected_wrong']:,.1f}" + (f" ({did['expected_wrong'] / requests:.2%})" if requests else ""))
    )
    rows.append(("entries", f"{stored.entries:,}"))
    rows.append(("bytes", f"{stored.size_bytes:,}"))
    ttl = "-" if stored.expires_us is None else f"{(stored.expires_us - now_us) / 1e6:,.0f} s"
    rows.append(("average remaining ttl", ttl))
    show_table(["by meaning, all processes", "value"], rows, title=" ")


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
        by_meaning = remove_everywhere(thrift.database, thrift.valkey, criteria_of(namespace=namespace))
        removed = thrift.cache.clear(namespace) + by_meaning
    show(f"removed {counted(removed, 'entry', 'entries')}")


@cache.command()
def invalidate(
    tag: Annotated[str | None, typer.Option(help="Entries with this tag")] = None,
    source: Annotated[str | None, typer.Option(help="Entries made from this source document")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="NAME=VALUE: model, user, feature, prompt_version; repeatable")] = None,
    namespace: Annotated[str | None, typer.Option(help="Only this namespace")] = None,
    older_than: Annotated[float | None, typer.Option(help="Entries stored more than so many seconds ago", min=0)] = None,
    unused: Annotated[bool, typer.Option("--unused", help="Entries that have never answered")] = False,
    url: Url = None,
    valkey_url: ValkeyUrl = None,
) -> None:
    """Remove the cached answers that all given criteria fit."""
    if not (tag or source or scope or namespace or unused) and older_than is None:
        every = "--tag, --source, --scope, --namespace, --older-than and --unused"
        raise typer.BadParameter(f"name at least one of {every}; `llmthrift cache clear` removes everything")
    pairs = dict(pair(text, option="--scope") for text in scope or [])
    with opened(url, valkey_url=valkey_url) as thrift:
        until_us = None if older_than is None else thrift.now_us() - int(older_than * 1e6)

        def fits(entry: EntryView) -> bool:
            return (until_us is None or entry.created_us < until_us) and not (unused and entry.hits)

        where = fits if unused or until_us is not None else None
        removed = thrift.invalidate(tag=tag, source=source, scope=pairs or None, where=where, namespace=namespace)
    show(f"removed {counted(removed, 'entry', 'entries')}")

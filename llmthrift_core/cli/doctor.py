"""`llmthrift doctor`: is everything in place?"""

from __future__ import annotations

from typing import Final

import typer
from rich.markup import escape
from rich.table import Table

from llmthrift_core.cli.options import Url, ValkeyUrl, console
from llmthrift_core.errors import LLMThriftError
from llmthrift_core.exports import EXTRAS, is_installed
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.settings import default_url, default_valkey_url, is_disabled, is_observing
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.location import locate
from llmthrift_core.storage.valkey import ValkeyServer
from llmthrift_core.usage.tokens import tokenizer_status

_OLD_PRICES_DAYS: Final = 120


def doctor(url: Url = None, valkey_url: ValkeyUrl = None) -> None:
    """Check the database, the Valkey server, the age of the prices, the tokenizer files and the extras. Fails if a store is not well."""
    table = Table("what", "state", "detail", title="llmthrift doctor")
    healthy = _check_database(table, url) and _check_valkey(table, valkey_url or default_valkey_url())
    _check_prices(table)
    _check_tokenizers(table)
    _check_extras(table)
    for name, active in (("LLMTHRIFT_DISABLED", is_disabled()), ("LLMTHRIFT_OBSERVE", is_observing())):
        table.add_row(name, "on" if active else "off", "")
    console.print(table)
    if not healthy:
        raise typer.Exit(1)


def _check_database(table: Table, url: str | None) -> bool:
    try:
        location = locate(url or default_url())
        if location.path is not None and not location.path.exists():
            table.add_row("database", "none yet", f"{location}; the first call creates it")
            return True
        with Database.open(url) as database:
            found = database.check()
    except LLMThriftError as error:
        table.add_row("database", "[red]failed[/red]", escape(str(error)))
        return False
    detail = f"{found.url}, {found.size_bytes / 1e6:,.1f} MB, schema {found.revision}, {'writable' if found.writable else 'read-only'}"
    table.add_row("database", "ok" if found.ok else "[red]damaged[/red]", "; ".join([detail, *found.problems]))
    return found.ok


def _check_valkey(table: Table, url: str | None) -> bool:
    if url is None:
        return True
    try:
        with ValkeyServer(url) as server:
            policy = server.may_evict()
            shown = server.url
    except LLMThriftError as error:
        table.add_row("valkey", "[red]failed[/red]", escape(str(error)))
        return False
    if policy is not None:
        detail = f"{shown}: maxmemory-policy {policy} may drop keys, so it keeps no budgets; set noeviction"
        table.add_row("valkey", "[yellow]may evict[/yellow]", escape(detail))
    else:
        table.add_row("valkey", "ok", escape(shown))
    return True


def _check_prices(table: Table) -> None:
    catalog = PriceCatalog()
    age = catalog.age_days()
    state = "ok" if age is None or age <= _OLD_PRICES_DAYS else "[yellow]old[/yellow]"
    newest = "" if age is None else f"; newest price change {age} days ago"
    table.add_row("prices", state, ", ".join(catalog.versions().values()) + newest)


def _check_tokenizers(table: Table) -> None:
    for vocabulary in tokenizer_status():
        found = vocabulary.path is not None
        detail = str(vocabulary.path) if found else escape("counts are estimates; pip install 'llmthrift[tokens]' brings the file")
        table.add_row(f"tokenizer {vocabulary.encoding}", "ok" if found else "[yellow]absent[/yellow]", detail)


def _check_extras(table: Table) -> None:
    for extra, brought in EXTRAS.items():
        missing = [distribution for module, distribution in brought.items() if not is_installed(module)]
        if missing:
            state = "absent" if len(missing) == len(brought) else "[yellow]in part[/yellow]"
            table.add_row(f"extra {extra}", state, escape(f"without {', '.join(missing)}; pip install 'llmthrift[{extra}]'"))
        else:
            table.add_row(f"extra {extra}", "installed", "")

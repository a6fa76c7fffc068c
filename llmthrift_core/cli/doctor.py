"""`llmthrift doctor`: is everything in place?"""

from __future__ import annotations

from typing import Final

import typer

from llmthrift_core.cli.options import Url, ValkeyUrl
from llmthrift_core.cli.output import AsCsv, AsJson, show, write_rows
from llmthrift_core.display import counted
from llmthrift_core.errors import LLMThriftError
from llmthrift_core.exports import EXTRAS, is_installed
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.settings import default_url, default_valkey_url, is_disabled, is_observing
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.location import locate
from llmthrift_core.storage.valkey import ValkeyServer
from llmthrift_core.usage.tokens import tokenizer_status

Rows = list[tuple[str, str, str]]

_OLD_PRICES_DAYS: Final = 120
_TROUBLE: Final = ("failed", "damaged", "may evict", "old")
_SWITCHED_OFF: Final = ("LLMTHRIFT_DISABLED", "on", "llmthrift does nothing")
_PLURAL: Final = {"tokenizer": "tokenizers", "extra": "extras"}
_REMEDIES: Final = {
    ("tokenizers", "ok"): ", tokens are counted exactly",
    ("tokenizers", "absent"): ", tokens are estimated until pip install 'llmthrift[tokens]'",
    ("extras", "in part"): ", pip install 'llmthrift[NAME]' completes one",
    ("extras", "absent"): ", pip install 'llmthrift[NAME]' brings one",
}


def doctor(url: Url = None, valkey_url: ValkeyUrl = None, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Check the database, the Valkey server, the age of the prices, the tokenizer files and the extras. Fails if a store is not well.

    What needs attention comes first. `--json` and `--csv` have a row for each tokenizer file and extra.
    """
    rows: Rows = []
    healthy = _check_database(rows, url) and _check_valkey(rows, valkey_url or default_valkey_url())
    _check_prices(rows)
    _check_tokenizers(rows)
    _check_extras(rows)
    rows.append(_SWITCHED_OFF if is_disabled() else ("LLMTHRIFT_DISABLED", "off", ""))
    rows.append(("LLMTHRIFT_OBSERVE", "on", "nothing is cached, routed or refused") if is_observing() else ("LLMTHRIFT_OBSERVE", "off", ""))
    header = ("what", "state", "detail")
    if not write_rows([dict(zip(header, row, strict=True)) for row in rows], as_json=as_json, as_csv=as_csv):
        _show(rows)
    if not healthy:
        raise typer.Exit(1)


def _show(rows: Rows) -> None:
    """A line for each group: what needs attention, stores and prices, then what is installed."""
    urgent = [row for row in rows if row[1] in _TROUBLE or row == _SWITCHED_OFF]
    head = counted(len(urgent), "thing needs attention:", "things need attention:") if urgent else "Nothing is wrong."
    show("\n".join([head, *(f"- {what}: {state}; {detail}" for what, state, detail in urgent), ""]))
    groups: dict[tuple[str, str], list[str]] = {}
    for what, state, detail in rows:
        kind, _, name = what.partition(" ")
        if name:
            groups.setdefault((_PLURAL[kind], state), []).append(name if state != "in part" else f"{name} ({detail.partition(';')[0]})")
        elif (what, state, detail) not in urgent:
            groups[what, state] = [detail] if detail else []
    for (what, state), names in groups.items():
        joint = "; " if what in _PLURAL.values() else ", " if names else ""
        show(f"{what}: {state}{_REMEDIES.get((what, state), '')}{joint}{', '.join(names)}")


def _check_database(rows: Rows, url: str | None) -> bool:
    try:
        location = locate(url or default_url())
        if location.path is not None and not location.path.exists():
            rows.append(("database", "none yet", f"{location}; the first call creates it"))
            return True
        with Database.open(url) as database:
            found = database.check()
    except LLMThriftError as error:
        rows.append(("database", "failed", str(error)))
        return False
    detail = f"{found.url}, {found.size_bytes / 1e6:,.1f} MB, schema {found.revision}, {'writable' if found.writable else 'read-only'}"
    rows.append(("database", "ok" if found.ok else "damaged", "; ".join([detail, *found.problems])))
    return found.ok


def _check_valkey(rows: Rows, url: str | None) -> bool:
    if url is None:
        return True
    try:
        with ValkeyServer(url) as server:
            policy = server.may_evict()
            shown = server.url
    except LLMThriftError as error:
        rows.append(("valkey", "failed", str(error)))
        return False
    if policy is not None:
        detail = f"{shown}: maxmemory-policy {policy} may drop keys, so it keeps no budgets; set noeviction"
        rows.append(("valkey", "may evict", detail))
    else:
        rows.append(("valkey", "ok", shown))
    return True


def _check_prices(rows: Rows) -> None:
    catalog = PriceCatalog()
    age = catalog.age_days()
    state = "ok" if age is None or age <= _OLD_PRICES_DAYS else "old"
    newest = "" if age is None else f"; newest price change {counted(age, 'day')} ago"
    rows.append(("prices", state, ", ".join(catalog.versions().values()) + newest))


def _check_tokenizers(rows: Rows) -> None:
    for vocabulary in tokenizer_status():
        found = vocabulary.path is not None
        detail = str(vocabulary.path) if found else "counts are estimates; pip install 'llmthrift[tokens]' brings the file"
        rows.append((f"tokenizer {vocabulary.encoding}", "ok" if found else "absent", detail))


def _check_extras(rows: Rows) -> None:
    for extra, brought in EXTRAS.items():
        missing = [distribution for module, distribution in brought.items() if not is_installed(module)]
        if missing:
            state = "absent" if len(missing) == len(brought) else "in part"
            rows.append((f"extra {extra}", state, f"without {', '.join(missing)}; pip install 'llmthrift[{extra}]'"))
        else:
            rows.append((f"extra {extra}", "installed", ""))

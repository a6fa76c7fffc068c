"""The answer of `Thrift.health`: how each part does, whether something went wrong, and what somebody should look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from llmthrift_core.attachments import Parts
from llmthrift_core.cache.exact import ExactCache
from llmthrift_core.errors import StorageError
from llmthrift_core.reports.escalations import escalation_alerts
from llmthrift_core.storage.database import Database

Alerts = Callable[[], list[str]]


def health_of(
    database: Database,
    parts: Parts,
    cache: ExactCache,
    *,
    ledger: Mapping[str, Any],
    budgets: Mapping[str, Any],
    failures: Mapping[str, int],
    now_us: int,
) -> dict[str, Any]:
    """The parts' own reports, with a status: "degraded" where a row was lost, something waits for its store, a failure was swallowed, or
    the database's file is not the one that was opened; else "ok".

    Args:
        ledger, budgets: what they say of themselves.
        failures: how many were swallowed, by place.
    """
    trouble, kept = database.trouble(), cache.health()
    semantic, routing = [part.health() for part in parts.keepers], [part.health() for part in parts.others]
    prefixes, tuning = [part.health() for part in parts.prefix_keepers], [part.health() for part in parts.tuners]
    waits = ledger["last_error"] or ledger.get("spooled") or budgets["pending_settlements"]
    failed = failures or any(part["errors"] for part in (kept, *semantic, *routing, *prefixes, *tuning))
    sources: list[tuple[str, Alerts]] = [("cache", cache.alerts)]
    sources += [("cache", part.alerts) for part in parts.keepers] + [("ledger", part.alerts) for part in parts.others]
    sources += [("prompt caches", part.alerts) for part in parts.prefix_keepers] + [("tuning", part.alerts) for part in parts.tuners]
    sources.append(("ledger", partial(escalation_alerts, database, now_us=now_us)))
    return {
        "status": "degraded" if ledger["lost"] or waits or failed or trouble else "ok",
        "database": database.url,
        "database_trouble": trouble,
        "ledger": ledger,
        "budgets": budgets,
        "cache": kept,
        "semantic": semantic,
        "routing": routing,
        "prompt_caching": prefixes,
        "tuning": tuning,
        "alerts": _alerts(sources),
        "failures": dict(failures),
    }


def _alerts(sources: Sequence[tuple[str, Alerts]]) -> list[str]:
    """The alerts of all sources, each with what it is read from. What cannot be read is an alert itself."""
    found: list[str] = []
    for what, alerts in sources:
        try:
            found += alerts()
        except StorageError as error:
            found.append(f"the {what} cannot be read: {error}")
    return found

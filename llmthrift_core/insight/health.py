"""What `Thrift.health` says of the whole: whether something went wrong, and what somebody should look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from llmthrift_core.errors import StorageError
from llmthrift_core.insight.escalations import escalation_alerts
from llmthrift_core.storage.database import Database

Alerts = Callable[[], list[str]]


def status_of(
    ledger: Mapping[str, Any], budgets: Mapping[str, Any], parts: Iterable[Mapping[str, Any]], failures: Mapping[str, int]
) -> str:
    """ "degraded" where a row was lost, something waits for its store, or a failure was swallowed; else "ok"."""
    waits = ledger["last_error"] or ledger.get("spooled") or budgets["pending_settlements"]
    return "degraded" if ledger["lost"] or waits or failures or any(part["errors"] for part in parts) else "ok"


def all_alerts(sources: Sequence[tuple[str, Alerts]], database: Database, *, now_us: int) -> list[str]:
    """The alerts of all sources and of escalations. What cannot be read is an alert itself.

    Args:
        sources: what each is read from, such as "cache", and its alerts.
    """
    found: list[str] = []
    for what, alerts in (*sources, ("ledger", partial(escalation_alerts, database, now_us=now_us))):
        try:
            found += alerts()
        except StorageError as error:
            found.append(f"the {what} cannot be read: {error}")
    return found

"""Whether everything is recorded and served, and what somebody should look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from llmthrift_core.errors import StorageError
from llmthrift_core.insight.escalations import escalation_alerts
from llmthrift_core.storage.database import Database


def health_of(
    database: Database, parts: Mapping[str, Any], alerts: Sequence[tuple[str, Callable[[], list[str]]]], *, now_us: int
) -> dict[str, Any]:
    """The parts, with what becomes of the whole: "degraded" where something was lost, cannot be written now, or failed and was bypassed.

    Args:
        parts: what the ledger, the cache, the semantic caches and the routers say of themselves, and failures by place.
        alerts: who has something to say, and from where.
    """
    ledger, trouble = parts["ledger"], database.trouble()
    others = (parts["cache"], *parts["semantic"], *parts["routing"])
    troubled = trouble or ledger["lost"] or ledger["last_error"] or any(part["errors"] for part in others) or parts["failures"]
    return {
        "status": "degraded" if troubled else "ok",
        "database": database.url,
        "database_trouble": trouble,
        **parts,
        "alerts": _alerts(database, alerts, now_us),
    }


def _alerts(database: Database, sources: Sequence[tuple[str, Callable[[], list[str]]]], now_us: int) -> list[str]:
    found: list[str] = []
    of_escalations: tuple[str, Callable[[], list[str]]] = ("ledger", partial(escalation_alerts, database, now_us=now_us))
    for what, alerts in (*sources, of_escalations):
        try:
            found += alerts()
        except StorageError as error:
            found.append(f"the {what} cannot be read: {error}")
    return found

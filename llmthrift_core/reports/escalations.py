"""Alerts about cascades, in words that say what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmthrift_core.ledger.retention import pruned_until_us
from llmthrift_core.ledger.statements import MEASURES
from llmthrift_core.moments import DAY_US
from llmthrift_core.reports.sums import SumsReader
from llmthrift_core.routing.cascades.escalation import escalation_alert
from llmthrift_core.storage.database import Database


def rate_of(sums: Mapping[str, int]) -> float | None:
    """The share of routed requests whose first answer was rejected; None without such requests."""
    return sums["escalated_requests"] / sums["routed"] if sums["routed"] else None


def escalation_alerts(database: Database, *, now_us: int) -> list[str]:
    """One line for each model of whose first answers in the last day, in all processes, too many were escalated.

    Raises:
        StorageError: the database cannot be read.
    """
    pruned_us = pruned_until_us(database)
    with database.read() as connection:
        groups = SumsReader(connection, since_us=now_us - DAY_US, until_us=None, whole_before_us=pruned_us).by_dimension("model")
    found: list[str] = []
    for model, amounts in sorted(groups.items(), key=str):
        sums: dict[str, Any] = dict(zip(MEASURES, amounts, strict=True))
        alert = escalation_alert(f"{model}, last 24 hours", answers=sums["routed"], rate=rate_of(sums))
        if alert is not None:
            found.append(alert)
    return found

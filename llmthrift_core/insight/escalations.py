"""What is wrong with cascades, in words that say what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from llmthrift_core.insight.sums import SumsReader
from llmthrift_core.ledger.retention import pruned_until_us
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.ledger_statements import MEASURES

_ALARMING: Final = 0.3
"""Above this share of escalations, two calls for one answer eat up what the cheap model saves."""
_ENOUGH: Final = 100
_DAY_US: Final = 86_400_000_000


def rate_of(sums: Mapping[str, int]) -> float | None:
    """The share of routed requests whose first answer was rejected; None without such requests."""
    return sums["escalated_requests"] / sums["routed"] if sums["routed"] else None


def alert_of(name: str, routed: int, rate: float | None) -> Iterable[str]:
    """A line if a cascade rejected more than 30% of 100 or more first answers.

    Args:
        name: whose answers. routed: first answers of routed requests.
    """
    if rate is not None and routed >= _ENOUGH and rate > _ALARMING:
        yield (
            f"{name}: {rate:.0%} of {routed:,} first answers were escalated, more than {_ALARMING:.0%}: a cascade that asks twice so often "
            "may cost more than it saves; begin with another model, route hard questions past it with CascadePolicy(first=...), or fit it"
        )


def escalation_alerts(database: Database, *, now_us: int) -> list[str]:
    """One line for each model of whose first answers in the last day, in all processes, too many were escalated.

    Raises:
        StorageError: the database cannot be read.
    """
    pruned_us = pruned_until_us(database)
    with database.read() as connection:
        groups = SumsReader(connection, since_us=now_us - _DAY_US, until_us=None, whole_before_us=pruned_us).by_dimension("model")
    found: list[str] = []
    for model, amounts in sorted(groups.items(), key=str):
        sums: dict[str, Any] = dict(zip(MEASURES, amounts, strict=True))
        found += alert_of(f"{model}, last 24 hours", sums["routed"], rate_of(sums))
    return found

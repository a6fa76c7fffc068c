"""The status of a job, by what the database knows of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from llmthrift_core.batching.job import JobStatus, State
from llmthrift_core.batching.store import job_of
from llmthrift_core.moments import from_us
from llmthrift_core.money import to_usd

# How long after its last moment a batch may still be on its way to its end.
_GRACE_SECONDS: Final = 3_600.0


def status_of(row: Mapping[str, Any], parts: Sequence[Mapping[str, Any]], counts: Sequence[Mapping[str, Any]], *, now: float) -> JobStatus:
    """The status of a job.

    Args:
        row: of the job. parts: its batches. counts: of its requests, by state and whether the cache answered.
        now: seconds since the epoch.
    """
    by_state: dict[str, int] = {}
    cached = unpriced = cost = 0
    for each in counts:
        by_state[each["state"]] = by_state.get(each["state"], 0) + each["count"]
        cost += int(each["cost"])
        if each["state"] == "answered":
            cached += each["count"] if each["cached"] else 0
            unpriced += each["count"] - each["priced"]
    running = [part for part in parts if part["state"] == "sent"]
    expires = [part["expires_us"] for part in running if part["expires_us"] is not None]
    return JobStatus(
        job=job_of(row),
        state=_state(row, parts),
        answered=by_state.get("answered", 0),
        failed=by_state.get("failed", 0),
        expired=by_state.get("expired", 0),
        cancelled=by_state.get("cancelled", 0),
        cached=cached,
        done_at_provider=sum(part["done"] for part in running),
        batches=sum(part["remote_id"] is not None for part in parts),
        cost_usd=to_usd(cost),
        unpriced=unpriced,
        expires_at=from_us(min(expires)) if expires else None,
        is_overdue=bool(expires) and now > min(expires) / 1e6 + _GRACE_SECONDS,
    )


def _state(row: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> State:
    if row["ended_us"] is not None:
        return "ended"
    if row["cancelled_us"] is not None:
        return "cancelling"
    is_sent = bool(parts) and all(part["state"] in ("sent", "collected") for part in parts)
    return "running" if is_sent else "preparing"

"""`Job`, how it stands, and the results of its requests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from llmthrift_core.batching.answers import text_of_body
from llmthrift_core.display import Printed, counted, usd
from llmthrift_core.money import to_usd
from llmthrift_core.usage import Usage

State = Literal["preparing", "running", "cancelling", "ended"]
Ending = Literal["answered", "failed", "expired", "cancelled"]


@dataclass(frozen=True, slots=True)
class Job:
    """A job for a provider's batch API. All that is known of it is in the database: its id is enough to go on with it, from any machine.

    Attributes:
        id: of the job.
        name: the application's own name for it, or None.
        provider, model: who answers.
        requests: how many it has.
        created_at: when it was made, UTC.
    """

    id: str
    name: str | None
    provider: str
    model: str
    requests: int
    created_at: datetime


@dataclass(frozen=True, repr=False)
class JobStatus(Printed):
    """How a job stands.

    Attributes:
        job: the job.
        state: "preparing": not all of it was sent; "running"; "cancelling"; "ended": every request has its result.
        answered, failed, expired, cancelled: requests by how they ended.
        cached: of the answered ones, those that the exact cache answered.
        done_at_provider: of the open ones, those that the provider says are done.
        batches: batches at the provider, those that ended among them.
        cost_usd: of what is settled so far; requests without a price are not in it.
        unpriced: answers without a price.
        expires_at: when the provider gives up what it has now, or None.
        is_overdue: the provider should have given it up an hour ago, and has not said so.
    """

    job: Job
    state: State
    answered: int = 0
    failed: int = 0
    expired: int = 0
    cancelled: int = 0
    cached: int = 0
    done_at_provider: int = 0
    batches: int = 0
    cost_usd: Decimal = Decimal(0)
    unpriced: int = 0
    expires_at: datetime | None = None
    is_overdue: bool = False

    @property
    def done(self) -> int:
        """Requests that have a result."""
        return self.answered + self.failed + self.expired + self.cancelled

    @property
    def open(self) -> int:
        """Requests that have none yet."""
        return self.job.requests - self.done

    @property
    def is_over(self) -> bool:
        """Whether every request has its result."""
        return self.state == "ended"

    def to_dict(self) -> dict[str, Any]:
        """All figures, the job's own among them."""
        figures = {name: value for name, value in asdict(self).items() if name != "job"}
        return {**asdict(self.job), **figures, "done": self.done, "open": self.open}

    def to_dicts(self) -> list[dict[str, Any]]:
        """As `to_dict`: the one row of a table."""
        return [self.to_dict()]

    def to_text(self) -> str:
        """A few lines."""
        job = self.job
        lines = [
            f"job {job.id}{'' if job.name is None else f' ({job.name})'}: {self.state}, {counted(job.requests, 'request')} to {job.model}"
        ]
        counts = {"answered": self.answered, "failed": self.failed, "expired": self.expired, "cancelled": self.cancelled, "open": self.open}
        said = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
        if self.cached:
            said += f" ({self.cached:,} of the answers by the cache)"
        lines.append(f"  {said}; {counted(self.batches, 'batch', 'batches')} at {job.provider}")
        unpriced = f", and {counted(self.unpriced, 'answer')} without a price" if self.unpriced else ""
        lines.append(f"  cost so far {usd(self.cost_usd)}{unpriced}")
        if self.is_overdue and self.expires_at is not None:
            lines.append(
                f"  overdue: {job.provider} was to end it by {self.expires_at:%Y-%m-%d %H:%M} UTC and has not said so; ask its console, or "
                "give up with cancel, which keeps what has come"
            )
        elif self.expires_at is not None and not self.is_over:
            lines.append(f"  {job.provider} gives up what is open at {self.expires_at:%Y-%m-%d %H:%M} UTC")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self.to_text())}</pre>"


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What one request of a job came to.

    Attributes:
        custom_id: the application's name for the request.
        number: its place in the job, from 0.
        ending: how it ended.
        body: the provider's response; None where there is none, or where the cache of an adapter answered.
        payload: the answer as an adapter's cache keeps it, where that cache answered.
        codec: whose cache that is, and whose key the request has; "body": this module's own.
        cache_key: of the same single call in the exact cache, or None.
        usage: what was billed; of a cached answer, what it once took.
        cost_usd: of the answer; 0 where nothing was billed, None where there is no price.
        error: what went wrong, in the provider's words.
        attempts: how often the request was sent.
        cached: whether the exact cache answered.
        request_id: of the row in the ledger.
    """

    custom_id: str
    number: int
    ending: Ending
    body: Mapping[str, Any] | None
    payload: bytes | None
    codec: str
    cache_key: bytes | None = field(repr=False)
    usage: Usage | None
    cost_usd: Decimal | None
    error: str | None
    attempts: int
    cached: bool
    request_id: str

    @property
    def text(self) -> str:
        """The answer's text; "" where there is none."""
        return "" if self.body is None else text_of_body(self.body)

    def to_dict(self) -> dict[str, Any]:
        """A JSON object: what `llmthrift batch results` writes for each request."""
        usage = None if self.usage is None else {"input_tokens": self.usage.input_tokens, "output_tokens": self.usage.output_tokens}
        return {
            "custom_id": self.custom_id,
            "ending": self.ending,
            "text": self.text if self.ending == "answered" else None,
            "error": self.error,
            "usage": usage,
            "cost_usd": None if self.cost_usd is None else f"{self.cost_usd:f}",
            "cached": self.cached,
            "attempts": self.attempts,
            "request_id": self.request_id,
            "body": self.body,
        }


def result_of(job_id: str, row: Mapping[str, Any], usage: Usage | None) -> BatchResult:
    """The result that a row of the database tells of."""
    answer: bytes | None = row["answer"]
    is_payload = bool(row["cached"]) and row["codec"] != "body"
    body = json.loads(answer) if answer is not None and not is_payload else None
    return BatchResult(
        custom_id=row["custom_id"],
        number=row["number"],
        ending=row["state"],
        body=body,
        payload=answer if is_payload else None,
        codec=row["codec"],
        cache_key=row["cache_key"],
        usage=usage,
        cost_usd=None if row["cost_nano_usd"] is None else to_usd(row["cost_nano_usd"]),
        error=row["error"],
        attempts=row["attempts"],
        cached=bool(row["cached"]),
        request_id=f"{job_id}-{row['number']}",
    )

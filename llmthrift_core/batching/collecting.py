"""From a provider's results to answers: each billed in one row, settled, kept by the exact cache, and written down, in this order.

The row has the same id whenever it is made, and a settlement counts once. A process that dies in between is followed by one that does it
again, and nothing is counted twice.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.batching.answers import flaw_of_body, replace_tier, text_of_body, usage_of_body
from llmthrift_core.batching.remote import Outcome, Remote, RemoteBatch, number_in, wire_id
from llmthrift_core.batching.requests import text_of_request
from llmthrift_core.batching.store import attribution_in
from llmthrift_core.cache.entry import usage_to_json
from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.errors import StorageError
from llmthrift_core.ledger.record import CallRecord
from llmthrift_core.pricing.discounts import discounts_of
from llmthrift_core.pricing.served import price_of_answer, who_answered
from llmthrift_core.settings import is_disabled
from llmthrift_core.texts import json_line
from llmthrift_core.usage import Usage

if TYPE_CHECKING:
    from llmthrift_core.attachments import AccountHost
    from llmthrift_core.batching.holds import BatchHolds
    from llmthrift_core.batching.store import BatchStore

logger = logging.getLogger("llmthrift")
_AT_ONCE: Final = 200
_ERROR_CHARS: Final = 500
_OPEN: Final = ("sent",)


class Collector:
    """Takes the results of batches that are over."""

    def __init__(self, thrift: AccountHost, store: BatchStore, holds: BatchHolds) -> None:
        self._thrift = thrift
        self._store = store
        self._holds = holds

    def collect(self, job: Mapping[str, Any], part: Mapping[str, Any], batch: RemoteBatch, remote: Remote, client: Any) -> bool:
        """Take the results of one part. False where the batch, found by its looks, turns out to be somebody else's.

        Raises:
            StorageError: the database cannot be written; nothing is lost, and it is tried again next time.
        """
        left = {row["number"] for row in self._store.requests(job["id"], states=_OPEN, part=part["part"], columns=("number",))}
        if batch.refusal is not None:
            self._keep(job, [(number, Outcome(None, "failed", error=batch.refusal)) for number in sorted(left)], part)
            return True
        is_ours, unreadable = not part["adopted"], 0
        for _ in range(2):  # a line may have been cut on its way: those that cannot be read are read once more
            unreadable, page = 0, []
            for outcome in remote.outcomes(client, batch):
                number = number_in(job["id"], outcome.wire_id)
                is_ours = is_ours or number is not None
                if number is None or number not in left or outcome.ending == "unreadable":
                    unreadable += outcome.ending == "unreadable"
                    continue
                left.discard(number)  # of two results for one request, the first counts
                page.append((number, outcome))
                if len(page) >= _AT_ONCE:
                    self._keep(job, page, part)
                    page = []
            self._keep(job, page, part)
            if not unreadable or not left:
                break
        if not is_ours and batch.done:
            return False
        if left:
            logger.warning(
                "batch %s of job %s ended without a readable result for %d of its requests (%d lines cannot be read)",
                batch.id, job["id"], len(left), unreadable,
            )  # fmt: skip
            missing = remote.missing(batch)
            for start in range(0, len(left), _AT_ONCE):
                self._keep(job, [(number, missing) for number in sorted(left)[start : start + _AT_ONCE]], part)
        return True

    # --- one page of results ---

    def _keep(self, job: Mapping[str, Any], page: Sequence[tuple[int, Outcome]], part: Mapping[str, Any]) -> None:
        if not page:
            return
        rows = {row["number"]: row for row in self._store.some(job["id"], [number for number, _ in page])}
        again, done = [], []
        for number, outcome in page:
            row = rows.get(number)
            if row is None or row["state"] != "sent":
                continue
            if outcome.may_succeed and row["attempts"] < job["max_attempts"] and job["cancelled_us"] is None and row["body"] is not None:
                again.append({"number": number, "state": "waiting", "part": None, "error": _short(outcome.error)})
            else:
                done.append(self._settled(job, row, outcome, part))
        if done and not is_disabled() and not self._thrift.ledger.flush():
            raise StorageError("the rows of a batch's results cannot be written now; they are taken again when the job is asked for")
        for change in done:
            hold_id, usage = rows[change["number"]]["hold_id"], change.pop("counted")
            if usage is None:
                self._holds.release([hold_id])
            else:
                self._holds.settle(hold_id, change["cost_nano_usd"], usage)
        self._store.change(job["id"], again, states=_OPEN)
        self._store.change(job["id"], done, states=_OPEN)

    def _settled(self, job: Mapping[str, Any], row: Mapping[str, Any], outcome: Outcome, part: Mapping[str, Any]) -> dict[str, Any]:
        """Bill a request that has ended; how it is written down."""
        at_us: int = part["sent_us"] or job["created_us"]
        ending = "failed" if outcome.ending == "unreadable" else outcome.ending
        body, usage, cost = outcome.body, None, None
        record = CallRecord(
            request_id=wire_id(job["id"], row["number"]),
            call_id=wire_id(job["id"], row["number"]),
            at_us=at_us,
            model=job["model"],
            provider=job["provider"],
            attribution=attribution_in(row["attribution"]),
        )
        if body is not None:
            usage = usage_of_body(body, job["provider"], job["endpoint"])
        if body is not None or outcome.ending == "unreadable":
            usage = usage or replace_tier(self._holds.may_have_taken(job, row))
            cost = self._bill(job, record, body or {}, usage)
        else:
            cost = record.cost_nano_usd = record.input_cost_nano_usd = record.output_cost_nano_usd = 0
        if outcome.error is not None:
            record.error = "unreadable" if outcome.ending == "unreadable" else ending
        if not is_disabled():
            self._thrift.ledger.append(record)
        if body is not None and usage is not None:
            self._capture(row, record, body)
            self._cache(job, row, record, body, usage)
        return {
            "number": row["number"],
            "state": ending,
            "answer": None if body is None else json_line(body).encode(),
            "usage": None if usage is None else usage_to_json(usage),
            "cost_nano_usd": cost,
            "error": _short(outcome.error),
            "ended_us": self._thrift.now_us(),
            "counted": usage,
        }

    def _bill(self, job: Mapping[str, Any], record: CallRecord, body: Mapping[str, Any], usage: Usage) -> int | None:
        """Price an answer; nano-USD, or None where there is no price."""
        prices, asked = self._thrift.prices, (job["model"], job["provider"])
        told = body.get("model") or body.get("modelVersion")
        record.model, record.provider = who_answered(prices, told if isinstance(told, str) else None, None, asked)
        record.set_usage(usage)
        priced = price_of_answer(prices, usage, (record.model, record.provider), asked, record.at_us)
        if priced is None:
            self._thrift.ledger.note_unpriced(
                record.model, record.provider, prices.missing(usage, record.model, record.provider, record.at_us)
            )
            return None
        record.cost_nano_usd, record.price_version = priced.nano_usd, priced.price_version
        record.input_cost_nano_usd, record.output_cost_nano_usd = priced.input_nano_usd, priced.output_nano_usd
        served = (record.model, record.provider)
        record.set_discounts(discounts_of(usage, lambda other: price_of_answer(prices, other, served, asked, record.at_us), paid=priced))
        return priced.nano_usd

    def _capture(self, row: Mapping[str, Any], record: CallRecord, body: Mapping[str, Any]) -> None:
        if self._thrift.capture == "text" and not is_disabled():
            prompt = None if row["body"] is None else text_of_request(json.loads(row["body"]))
            self._thrift.ledger.capture(record.request_id, record.at_us, row["user"], prompt, text_of_body(body))

    def _cache(self, job: Mapping[str, Any], row: Mapping[str, Any], record: CallRecord, body: Mapping[str, Any], usage: Usage) -> None:
        """Keep an answer under the key of the same single call. What an adapter keeps in a form of its own is kept by the adapter."""
        if job["policy"] is None or row["cache_key"] is None or row["codec"] != "body" or is_disabled():
            return
        cache = self._thrift.cache
        if (flaw := flaw_of_body(body)) is not None:
            cache.note_not_kept(flaw)
            return
        cache.store(
            row["cache_key"],
            policy_in(job["policy"]),
            json_line(body).encode(),
            model=record.model,
            provider=record.provider,
            usage=replace_tier(usage, None),  # whoever finds it has saved a single call
            user=row["user"],
            feature=record.attribution.feature,
        )


def policy_in(text: str) -> CachePolicy:
    """The cache policy of a job, as its row tells it."""
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(text).items()}
    return CachePolicy(**given)


def _short(error: str | None) -> str | None:
    return None if error is None else error.replace("\x00", "").encode(errors="replace").decode()[:_ERROR_CHARS]

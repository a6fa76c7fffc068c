"""Holds for the requests of a job: one for each, at batch prices, which outlives the process that made it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.batching.requests import outgoing_of_body
from llmthrift_core.batching.store import attribution_in
from llmthrift_core.budgets.scopes import Scope
from llmthrift_core.budgets.sizes import max_output_tokens
from llmthrift_core.budgets.store import Amounts
from llmthrift_core.pricing.batch_terms import BATCH
from llmthrift_core.settings import is_disabled, is_observing
from llmthrift_core.usage import Usage

if TYPE_CHECKING:
    from llmthrift_core.attachments import AccountHost
    from llmthrift_core.batching.store import BatchStore
    from llmthrift_core.budgets.hold import Hold

# Providers take up to 24 hours; the rest is for whoever asks for the results.
HELD_SECONDS: Final = 26 * 3_600.0
_AT_ONCE: Final = 500
_MOST_UNKNOWN: Final = -1  # "as much as was held"


class BatchHolds:
    """Reserves for requests, and settles them, wherever they were reserved."""

    def __init__(self, thrift: AccountHost, store: BatchStore) -> None:
        self._thrift = thrift
        self._store = store

    def reserve(self, job: Mapping[str, Any]) -> None:
        """Set aside what each request that waits may take. All of them, or none.

        Raises:
            BudgetExceededError: a budget has no room for one of them.
            StorageError: the budgets cannot be reached, and one that applies does not say on_store_error="allow".
        """
        if is_observing() or is_disabled():
            return
        made: list[Hold] = []
        changes = []
        try:
            for row in self._store.requests(job["id"], states=("waiting",)):
                if row["hold_id"] is None and row["body"] is not None:
                    hold = self._hold(job, row)
                    if hold.id is not None:
                        made.append(hold)
                        changes.append({"number": row["number"], "hold_id": hold.id})
        except BaseException:
            for hold in made:
                hold.release()
            raise
        # Written down first: a process that dies here leaves holds that expire by themselves.
        self._store.change(job["id"], changes, states=("waiting",))
        self._thrift.budgets.keep_holds([change["hold_id"] for change in changes], ttl_seconds=HELD_SECONDS)

    def _hold(self, job: Mapping[str, Any], row: Mapping[str, Any]) -> Hold:
        body, model = json.loads(row["body"]), job["model"]
        return self._thrift.budgets.hold(
            Scope(attribution_in(row["attribution"]), model),
            provider=self._thrift.prices.seller(model, job["provider"]),
            outgoing=partial(outgoing_of_body, body, model),
            max_output_tokens=max_output_tokens(body),
            service_tier=BATCH,
        )

    def renew(self, job_id: str) -> None:
        """Let the holds of a job's open requests last longer. Raises StorageError."""
        rows = self._store.requests(job_id, states=("waiting", "sent"), columns=("hold_id",))
        held = [row["hold_id"] for row in rows if row["hold_id"] is not None]
        self._thrift.budgets.keep_holds(held, ttl_seconds=HELD_SECONDS)

    def settle(self, hold_id: str | None, cost_nano_usd: int | None, usage: Usage) -> None:
        """An answer was billed. A cost of None is unknown: what was held counts as spent."""
        if hold_id is not None:
            nano_usd = _MOST_UNKNOWN if cost_nano_usd is None else cost_nano_usd
            self._thrift.budgets.settle_hold(hold_id, Amounts(nano_usd, usage.input_tokens + usage.output_tokens, 1))

    def release(self, hold_ids: Sequence[str | None]) -> None:
        """Nothing was billed."""
        for hold_id in hold_ids:
            if hold_id is not None:
                self._thrift.budgets.settle_hold(hold_id, None)

    def may_have_taken(self, job: Mapping[str, Any], row: Mapping[str, Any]) -> Usage:
        """The usage of a request that may have been answered, of whose answer nothing can be read."""
        body, model = json.loads(row["body"] or "{}"), job["model"]
        return self._thrift.budgets.may_take(
            Scope(attribution_in(row["attribution"]), model),
            provider=self._thrift.prices.seller(model, job["provider"]),
            outgoing=partial(outgoing_of_body, body, model),
            max_output_tokens=max_output_tokens(body),
        )

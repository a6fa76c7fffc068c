"""The mark that both adapters leave on an answer: where it is in the ledger, who gave it and why, and what it cost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from llmthrift_core.money import to_usd

if TYPE_CHECKING:
    from llmthrift_core.calls.call import Call


def mark_of_call(call: Call) -> dict[str, Any]:
    """What is known of an answer, as plain data.

    Always: "request_id" (of the row, which `thrift.feedback` takes), "source" ("model" or "cache"), "tier" (None where there is one model),
    "reason" (of the choice), and "cost_usd" as text, such as "0.000150"; None where there is no price, or where it is worked out later,
    off an event loop. Of a hit also "cache" ("exact" or "semantic"), the "model" that had answered, "age_seconds", and by meaning
    "matched", "similarity" and "hit_id".
    """
    cost, decision, route = call.cost_nano_usd, call.decision, call.request.route
    about: dict[str, Any] = {
        "request_id": call.request_id,
        "source": "model" if call.hit is None else "cache",
        "tier": call.tier if route is not None and route.is_choice else None,
        "reason": None if decision is None else decision.reason,
        "cost_usd": None if cost is None else f"{to_usd(cost):f}",
    }
    if (entry := call.hit) is not None:
        age_ms = max(time.time_ns() // 1_000_000 - entry.created_us // 1000, 0)
        about |= {"cache": call.hit_kind, "model": entry.model, "age_seconds": age_ms / 1000}
        about |= {"reason": f"{'the same' if call.hit_kind == 'exact' else 'a like'} question was answered before", "cost_usd": "0"}
        if (found := call.semantic_hit) is not None:
            about |= {"matched": found.matched, "similarity": round(found.similarity, 4), "hit_id": found.id}
    return about

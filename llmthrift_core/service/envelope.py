"""The envelope on an answer: what it cost, what it saved, and where it came from."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

from llmthrift_core.ledger.record import CallRecord
from llmthrift_core.money import to_usd

_SAVED = (
    "cache_saved_nano_usd", "routing_saved_nano_usd", "shortening_saved_nano_usd", "prefix_saved_nano_usd", "batch_saved_nano_usd",
)  # fmt: skip


def envelope_of(rows: Sequence[CallRecord], *, tier: str | None = None) -> dict[str, Any]:
    """What is told of a call beside its answer.

    Args:
        rows: of its attempts, or of its hit.
        tier: that was asked for, where the rows do not say.

    Returns:
        request_id, model, source ("model", "cache" or "semantic_cache"), cost_usd and saved_usd (None: no price is known), original_tier,
        final_tier, escalated, attempts, and input_tokens and output_tokens of all attempts.
    """
    if not rows:
        return {"request_id": None, "source": "model", "cost_usd": None, "saved_usd": None, "escalated": False}
    rows = [_filled(row) for row in rows]
    first, last = rows[0], rows[-1]
    costs = [row.cost_nano_usd for row in rows]
    saved = [amount for row in rows for name in _SAVED if (amount := getattr(row, name)) is not None]
    source = {None: "model", "semantic": "semantic_cache"}.get(last.cache, "cache")
    return {
        "request_id": first.request_id,
        "model": last.model,
        "source": source,
        "cost_usd": None if None in costs else float(to_usd(sum(cost for cost in costs if cost is not None))),
        "saved_usd": float(to_usd(sum(saved))) if saved else 0.0,
        "original_tier": first.tier or tier,
        "final_tier": last.tier or tier,
        "escalated": any(row.escalated for row in rows),
        "attempts": len(rows),
        "input_tokens": sum(row.input_tokens for row in rows),
        "output_tokens": sum(row.output_tokens for row in rows),
    }


def _filled(row: CallRecord) -> CallRecord:
    """The row with its amounts, which the ledger's writer may work out later: of a copy, since that one is the writer's."""
    fill = getattr(row, "fill", None)
    if fill is None:
        return row
    filled = copy(row)
    fill(filled)
    return filled

"""Stored sums compared with sums over the rows, computed independently of the product's own code."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from sqlalchemy import select

from llmthrift_core.ledger.rollups import DIMENSIONS
from llmthrift_core.ledger.statements import MEASURES
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.tables import adjustments, calls, other_costs, rollups

Sums = dict[tuple[str, int, int, str], dict[str, int]]


def stored_sums(database: Database) -> Sums:
    with database.read() as connection:
        return {
            (row["dimension"], row["span"], row["bucket"], row["value"]): {name: row[name] for name in MEASURES if row[name]}
            for row in connection.execute(select(rollups)).mappings()
        }


def sums_over_rows(database: Database) -> Sums:
    with database.read() as connection:
        later = {row["request_id"]: row for row in connection.execute(select(adjustments)).mappings()}
        found: Sums = defaultdict(lambda: defaultdict(int))
        for call in connection.execute(select(calls)).mappings():
            price = later.get(call["request_id"], call)
            is_first = call["tier"] is not None and call["error"] is None and call["attempt_reason"] != "escalation"
            amounts = {
                "requests": int(call["attempt"] == 1),
                "attempts": 1,
                "errors": int(call["error"] is not None),
                "retries": int(call["attempt_reason"] == "retry"),
                "fallbacks": int(call["attempt_reason"] == "fallback"),
                "escalations": int(call["attempt_reason"] == "escalation"),
                "cache_hits": int(call["cache"] is not None),
                "unpriced": int(price["cost_nano_usd"] is None),
                "cost_nano_usd": price["cost_nano_usd"] or 0,
                "input_cost_nano_usd": price["input_cost_nano_usd"] or 0,
                "output_cost_nano_usd": price["output_cost_nano_usd"] or 0,
                "timed": int(call["latency_us"] is not None),
                "routed": int(is_first),
                "escalated": call["escalated"],
                "escalated_requests": int(is_first and call["escalated"]),
                "retry_cost_nano_usd": (price["cost_nano_usd"] or 0) if call["attempt_reason"] == "retry" else 0,
                "fallback_cost_nano_usd": (price["cost_nano_usd"] or 0) if call["attempt_reason"] == "fallback" else 0,
                "escalated_cost_nano_usd": (price["cost_nano_usd"] or 0) * call["escalated"],
            }
            _add(found, call, {name: amounts[name] if name in amounts else call.get(name) or 0 for name in MEASURES})
        for cost in connection.execute(select(other_costs)).mappings():
            _add(found, cost, {"other_cost_nano_usd": cost["cost_nano_usd"]})
    return {key: {name: value for name, value in amounts.items() if value} for key, amounts in found.items()}


def _add(found: Any, row: Any, amounts: dict[str, int]) -> None:
    keys = [("all", span, "") for span in (900, 3600, 86400)]
    named = [(name, row[name]) for name in DIMENSIONS if row.get(name)]
    named += [(f"tag:{name}", value) for name, value in json.loads(row["tags"] or "{}").items() if value]
    for name, value in named:
        is_of_people = name in ("user", "session") or name.startswith("tag:")
        keys += [(name, span, value) for span in (3600, 86400, *((2592000,) if is_of_people else ()))]
    for dimension, span, value in keys:
        bucket = row["at_us"] // 1_000_000 // span * span
        for name, amount in amounts.items():
            found[dimension, span, bucket, value][name] += amount

"""Sums of what was recorded, by any attributes, from the rows themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, literal, null, select

from llmthrift_core.attribution import FIELDS
from llmthrift_core.storage.tables import adjustments, calls, other_costs

Sums = tuple[Mapping[str, str | None], Mapping[str, str], int, int, int]


def read_spent(connection: Connection, names: Sequence[str], since_us: int) -> Iterator[Sums]:
    """What calls and other costs took since a time: attributes by name, tags, nano-USD, tokens and model attempts.

    Args:
        names: the attributes, or tags, by which it is divided. A run that was not named is the call's trace.
    """
    fields = [name for name in dict.fromkeys(names) if name in FIELDS or name == "model"]
    has_tags = any(name not in fields for name in names)
    for table in (calls, other_costs):
        columns: list[Any] = [_column(table, name).label(f"of_{name}") for name in fields]
        if has_tags:
            columns.append(table.c.tags.label("of_tags"))
        if table is calls:
            cost = func.coalesce(calls.c.cost_nano_usd, adjustments.c.cost_nano_usd)
            columns_of_sums = [func.sum(cost), func.sum(calls.c.input_tokens + calls.c.output_tokens), func.count()]
            adjusted = calls.outerjoin(adjustments, adjustments.c.request_id == calls.c.request_id)
            query = select(*columns, *columns_of_sums).select_from(adjusted).where(calls.c.cache.is_(None))
        else:
            query = select(*columns, func.sum(other_costs.c.cost_nano_usd), literal(0), literal(0))
        query = query.where(table.c.at_us >= since_us)
        for row in connection.execute(query.group_by(*columns) if columns else query):
            *values, cost_sum, token_sum, attempts = row
            tags = json.loads(values.pop() or "{}") if has_tags else {}
            yield dict(zip(fields, values, strict=True)), tags, int(cost_sum or 0), int(token_sum or 0), int(attempts or 0)


def _column(table: Any, name: str) -> Any:
    if name == "run" and table is calls:
        return func.coalesce(calls.c.run, calls.c.trace_id)
    return null() if name == "model" and table is other_costs else table.c[name]

"""The cost of retries and fallbacks, as sums of their own; made of the rows that are still there."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0009"
branch_labels = None
depends_on = None

_COLUMNS = {"retry": "retry_cost_nano_usd", "fallback": "fallback_cost_nano_usd"}
_DIMENSIONS = (
    "model", "provider", "feature", "request_type", "prompt_version", "config_version", "call_site", "cache", "user", "session",
)  # fmt: skip
_FURTHER_ATTEMPTS = """
SELECT llmthrift_calls.*, COALESCE(llmthrift_calls.cost_nano_usd, llmthrift_adjustments.cost_nano_usd) AS paid
FROM llmthrift_calls LEFT JOIN llmthrift_adjustments ON llmthrift_adjustments.request_id = llmthrift_calls.request_id
WHERE llmthrift_calls.attempt_reason IN ('retry', 'fallback')
"""


def upgrade() -> None:
    for name in _COLUMNS.values():
        op.add_column("llmthrift_rollups", sa.Column(name, sa.BigInteger(), server_default="0", nullable=False))
    sums: dict[tuple[str, int, int, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(_COLUMNS.values(), 0))
    connection = op.get_bind()
    for row in connection.execute(sa.text(_FURTHER_ATTEMPTS)).mappings():
        if row["paid"]:
            for key in _keys(row):
                sums[key][_COLUMNS[row["attempt_reason"]]] += row["paid"]
    update = sa.text(
        f"UPDATE llmthrift_rollups SET {', '.join(f'{name} = :{name}' for name in _COLUMNS.values())} "  # noqa: S608 - constants
        "WHERE dimension = :dimension AND span = :span AND bucket = :bucket AND value = :value"
    )
    for (dimension, span, bucket, value), amounts in sums.items():
        connection.execute(update, {"dimension": dimension, "span": span, "bucket": bucket, "value": value, **amounts})


def _keys(row: Any) -> Iterator[tuple[str, int, int, str]]:
    seconds = row["at_us"] // 1_000_000
    values = [(name, row[name]) for name in _DIMENSIONS] + [
        (f"tag:{name}", value) for name, value in json.loads(row["tags"] or "{}").items()
    ]
    for span in (900, 3_600, 86_400):
        bucket = seconds - seconds % span
        yield "all", span, bucket, ""
        if span > 900:
            for dimension, value in values:
                if value:
                    yield dimension, span, bucket, value

"""What a router decided, with the call, and how often its cascades escalate."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in (
        sa.Column("tier", sa.Text(), nullable=True),
        sa.Column("expected_quality", sa.Float(precision=53), nullable=True),
        sa.Column("expected_cost_nano_usd", sa.BigInteger(), nullable=True),
        sa.Column("rejected", sa.Text(), nullable=True),
        sa.Column("confidence", sa.Float(precision=53), nullable=True),
        sa.Column("escalated", sa.SmallInteger(), server_default="0", nullable=False),
    ):
        op.add_column("llmthrift_calls", column)
    for name in ("routed", "escalated", "escalated_requests", "escalated_cost_nano_usd"):
        op.add_column("llmthrift_rollups", sa.Column(name, sa.BigInteger(), server_default="0", nullable=False))

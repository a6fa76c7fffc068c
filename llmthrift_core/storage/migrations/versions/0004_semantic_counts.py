"""What the semantic cache did in all processes, by day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "llmthrift_semantic_counts",
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("space", sa.Text(), nullable=False),
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("exact_hits", sa.BigInteger(), nullable=False),
        sa.Column("semantic_hits", sa.BigInteger(), nullable=False),
        sa.Column("misses", sa.BigInteger(), nullable=False),
        sa.Column("observed_hits", sa.BigInteger(), nullable=False),
        sa.Column("shadow_checks", sa.BigInteger(), nullable=False),
        sa.Column("shadow_nano_usd", sa.BigInteger(), nullable=False),
        sa.Column("guarded", sa.BigInteger(), nullable=False),
        sa.Column("stores", sa.BigInteger(), nullable=False),
        sa.Column("evictions", sa.BigInteger(), nullable=False),
        sa.Column("evicted_unused", sa.BigInteger(), nullable=False),
        sa.Column("expired_unused", sa.BigInteger(), nullable=False),
        sa.Column("expected_wrong", sa.Float(precision=53), nullable=False),
        sa.Column("risk", sa.Float(precision=53), nullable=True),
        sa.PrimaryKeyConstraint("namespace", "space", "day"),
    )

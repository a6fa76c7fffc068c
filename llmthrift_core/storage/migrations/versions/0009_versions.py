"""Versions of configurations beside those of routers, when each was put to use, leases, and what was judged lately."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "llmthrift_versions",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("active", sa.SmallInteger(), nullable=False),
        sa.Column("activated_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("kind", "name", "version"),
    )
    # Until now every version was put to use when it was saved.
    op.execute(
        "INSERT INTO llmthrift_versions (kind, name, version, state, created_us, note, active, activated_us) "
        "SELECT 'router', name, version, state, created_us, note, active, created_us FROM llmthrift_router_versions"
    )
    op.drop_table("llmthrift_router_versions")
    op.create_table(
        "llmthrift_leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_index("ix_llmthrift_feedback_at", "llmthrift_feedback", ["at_us"], unique=False)

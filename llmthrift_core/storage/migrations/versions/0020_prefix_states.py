"""What was learned of providers' prompt caches, and what was lost by writes that nobody read. Of earlier rows that is not known."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("llmthrift_calls", sa.Column("prefix_unread_nano_usd", sa.BigInteger()))
    op.add_column("llmthrift_rollups", sa.Column("prefix_unread_nano_usd", sa.BigInteger(), server_default="0", nullable=False))
    op.create_table(
        "llmthrift_prefix_states",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.Column("saved_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )

"""How many answers each namespace holds, and how many bytes, so that processes keep to a limit together without counting."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from llmthrift_core.storage.size_triggers import COUNTED, count_rows, triggers_of

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "llmthrift_cache_sizes",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("entries", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "namespace"),
        sqlite_with_rowid=False,
    )
    for kind in COUNTED:
        for statement in triggers_of(kind, op.get_bind().dialect.name):
            op.execute(statement)
        count_rows(op.get_bind(), kind)

"""Counts of the question, from which a router learns without its text."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("llmthrift_calls", sa.Column("lexical_counts", sa.LargeBinary(), nullable=True))

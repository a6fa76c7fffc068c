"""The names that providers and frameworks give an answer, by which feedback finds its call. Earlier rows have none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("response_id", "message_id"):
        op.add_column("llmthrift_calls", sa.Column(name, sa.Text()))
        known = sa.text(f"{name} IS NOT NULL")
        op.create_index(f"ix_llmthrift_calls_{name}", "llmthrift_calls", [name], sqlite_where=known, postgresql_where=known)

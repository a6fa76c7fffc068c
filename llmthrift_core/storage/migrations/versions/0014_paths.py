"""The agents, chains and tools around a call, the run around a cost, and how the rows of a run and the most expensive ones are found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_RUN = "coalesce(run, trace_id)"


def upgrade() -> None:
    op.add_column("llmthrift_calls", sa.Column("path", sa.Text(), nullable=True))
    op.add_column("llmthrift_other_costs", sa.Column("trace_id", sa.Text(), nullable=True))
    op.add_column("llmthrift_other_costs", sa.Column("path", sa.Text(), nullable=True))
    named = sa.text(f"{_RUN} IS NOT NULL")
    costly = sa.text("cost_nano_usd >= 10000000")
    op.create_index("ix_llmthrift_calls_costly", "llmthrift_calls", ["cost_nano_usd"], sqlite_where=costly, postgresql_where=costly)
    for table, index in (("llmthrift_calls", "ix_llmthrift_calls_run"), ("llmthrift_other_costs", "ix_llmthrift_other_costs_run")):
        op.create_index(index, table, [sa.text(_RUN)], sqlite_where=named, postgresql_where=named)

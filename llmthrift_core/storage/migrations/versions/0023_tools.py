"""The tools that were sent with a call and those that its answer called. Earlier rows do not say."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("tools_sent", "tools_called"):
        op.add_column("llmthrift_calls", sa.Column(name, sa.Text()))

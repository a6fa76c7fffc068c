"""What shorter prompts, providers' prompt caches and batches saved. Of earlier rows it is not known."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_AMOUNTS = (
    "prefix_saved_nano_usd", "batch_saved_nano_usd", "shortening_saved_nano_usd", "prefix_lost_nano_usd", "observed_shortening_nano_usd",
    "observed_prefix_nano_usd",
)  # fmt: skip
_TEXTS = ("shorten_version", "shorten_steps", "prefix_plan", "prefix_miss")


def upgrade() -> None:
    for name in _AMOUNTS:
        op.add_column("llmthrift_calls", sa.Column(name, sa.BigInteger()))
    for name in _TEXTS:
        op.add_column("llmthrift_calls", sa.Column(name, sa.Text()))
    op.add_column("llmthrift_calls", sa.Column("shortened_tokens", sa.BigInteger(), server_default="0", nullable=False))
    for name in (*_AMOUNTS, "shortened_tokens"):
        op.add_column("llmthrift_rollups", sa.Column(name, sa.BigInteger(), server_default="0", nullable=False))

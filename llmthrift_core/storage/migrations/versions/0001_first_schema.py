"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "llmthrift_adjustments",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("cost_nano_usd", sa.BigInteger(), nullable=False),
        sa.Column("input_cost_nano_usd", sa.BigInteger(), nullable=False),
        sa.Column("output_cost_nano_usd", sa.BigInteger(), nullable=False),
        sa.Column("price_version", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("request_id"),
    )
    op.create_table(
        "llmthrift_cache_entries",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=True),
        sa.Column("user", sa.Text(), nullable=True),
        sa.Column("feature", sa.Text(), nullable=True),
        sa.Column("prompt_version", sa.Text(), nullable=True),
        sa.Column("metadata", sa.Text(), nullable=True),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("usage", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=True),
        sa.Column("used_us", sa.BigInteger(), nullable=False),
        sa.Column("hits", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("ix_llmthrift_cache_entries_expires", "llmthrift_cache_entries", ["expires_us"], unique=False)
    op.create_index("ix_llmthrift_cache_entries_lru", "llmthrift_cache_entries", ["namespace", "used_us", "size_bytes"], unique=False)
    op.create_table(
        "llmthrift_cache_epoch",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "llmthrift_cache_labels",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "value", "key"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_llmthrift_cache_labels_key", "llmthrift_cache_labels", ["key"], unique=False)
    op.create_table(
        "llmthrift_calls",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=True),
        sa.Column("user", sa.Text(), nullable=True),
        sa.Column("feature", sa.Text(), nullable=True),
        sa.Column("session", sa.Text(), nullable=True),
        sa.Column("run", sa.Text(), nullable=True),
        sa.Column("request_type", sa.Text(), nullable=True),
        sa.Column("prompt_version", sa.Text(), nullable=True),
        sa.Column("config_version", sa.Text(), nullable=True),
        sa.Column("call_site", sa.Text(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=True),
        sa.Column("estimated", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("stream", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("attempt", sa.SmallInteger(), server_default="1", nullable=False),
        sa.Column("attempt_reason", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("trace_id", sa.Text(), nullable=True),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("input_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("cache_read_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("cache_write_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("cache_write_1h_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("input_audio_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("output_audio_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("cache_read_audio_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("input_image_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("output_image_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("web_searches", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("other_usage", sa.Text(), nullable=True),
        sa.Column("service_tier", sa.Text(), nullable=True),
        sa.Column("cost_nano_usd", sa.BigInteger(), nullable=True),
        sa.Column("input_cost_nano_usd", sa.BigInteger(), nullable=True),
        sa.Column("output_cost_nano_usd", sa.BigInteger(), nullable=True),
        sa.Column("price_version", sa.Text(), nullable=True),
        sa.Column("provider_cost_nano_usd", sa.BigInteger(), nullable=True),
        sa.Column("cache", sa.Text(), nullable=True),
        sa.Column("saved_input_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("saved_output_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("cache_saved_nano_usd", sa.BigInteger(), nullable=True),
        sa.Column("baseline_model", sa.Text(), nullable=True),
        sa.Column("routing_saved_nano_usd", sa.BigInteger(), nullable=True),
        sa.Column("observed_cache_nano_usd", sa.BigInteger(), nullable=True),
        sa.Column("observed_routing_nano_usd", sa.BigInteger(), nullable=True),
        sa.Column("route_reason", sa.Text(), nullable=True),
        sa.Column("latency_us", sa.BigInteger(), nullable=True),
        sa.Column("first_token_us", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("prompt_hash", sa.Text(), nullable=True),
        sa.Column("prompt_chars", sa.Integer(), nullable=True),
        sa.Column("system_chars", sa.Integer(), nullable=True),
        sa.Column("message_count", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("request_id", name="uq_llmthrift_calls_request_id"),
    )
    op.create_index("ix_llmthrift_calls_at", "llmthrift_calls", ["at_us"], unique=False)
    op.create_index(
        "ix_llmthrift_calls_unpriced",
        "llmthrift_calls",
        ["id"],
        unique=False,
        sqlite_where=sa.text("cost_nano_usd IS NULL"),
        postgresql_where=sa.text("cost_nano_usd IS NULL"),
    )
    op.create_table(
        "llmthrift_captures",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("user", sa.Text(), nullable=True),
        sa.Column("prompt", sa.Text(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("request_id"),
    )
    op.create_index("ix_llmthrift_captures_at", "llmthrift_captures", ["at_us"], unique=False)
    op.create_table(
        "llmthrift_feedback",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("quality", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_llmthrift_feedback_request", "llmthrift_feedback", ["request_id"], unique=False)
    op.create_table(
        "llmthrift_ledger_state",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "llmthrift_other_costs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("cost_nano_usd", sa.BigInteger(), nullable=False),
        sa.Column("user", sa.Text(), nullable=True),
        sa.Column("feature", sa.Text(), nullable=True),
        sa.Column("session", sa.Text(), nullable=True),
        sa.Column("run", sa.Text(), nullable=True),
        sa.Column("request_type", sa.Text(), nullable=True),
        sa.Column("prompt_version", sa.Text(), nullable=True),
        sa.Column("config_version", sa.Text(), nullable=True),
        sa.Column("call_site", sa.Text(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("request_id", name="uq_llmthrift_other_costs_request_id"),
    )
    op.create_index("ix_llmthrift_other_costs_at", "llmthrift_other_costs", ["at_us"], unique=False)
    op.create_table(
        "llmthrift_rollups",
        sa.Column("dimension", sa.Text(), nullable=False),
        sa.Column("span", sa.Integer(), nullable=False),
        sa.Column("bucket", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("retries", sa.BigInteger(), nullable=False),
        sa.Column("fallbacks", sa.BigInteger(), nullable=False),
        sa.Column("escalations", sa.BigInteger(), nullable=False),
        sa.Column("cache_hits", sa.BigInteger(), nullable=False),
        sa.Column("unpriced", sa.BigInteger(), nullable=False),
        sa.Column("estimated", sa.BigInteger(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_read_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_write_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=False),
        sa.Column("saved_input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("saved_output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_nano_usd", sa.BigInteger(), nullable=False),
        sa.Column("input_cost_nano_usd", sa.BigInteger(), nullable=False),
        sa.Column("output_cost_nano_usd", sa.BigInteger(), nullable=False),
        sa.Column("cache_saved_nano_usd", sa.BigInteger(), nullable=False),
        sa.Column("routing_saved_nano_usd", sa.BigInteger(), nullable=False),
        sa.Column("observed_cache_nano_usd", sa.BigInteger(), nullable=False),
        sa.Column("observed_routing_nano_usd", sa.BigInteger(), nullable=False),
        sa.Column("other_cost_nano_usd", sa.BigInteger(), nullable=False),
        sa.Column("timed", sa.BigInteger(), nullable=False),
        sa.Column("latency_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("dimension", "span", "bucket", "value"),
        sqlite_with_rowid=False,
    )

"""Alembic's environment: the connection is handed in by upgrade.py."""

from __future__ import annotations

from alembic import context

from llmthrift_core.storage.tables import metadata, schema_version

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=schema_version.name,
    # SQLite rolls back DDL too; Alembic assumes that its driver would not begin a transaction.
    transactional_ddl=True,
    # SQLite changes a column by copying the table.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()

"""The table of what was learned of providers' prompt caches."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, LargeBinary, Table, Text

from llmthrift_core.storage.tables import metadata

prefix_states = Table(
    "llmthrift_prefix_states",
    metadata,
    Column("name", Text, primary_key=True),  # provider, model, form of marks, and a hash of the terms
    Column("version", BigInteger, nullable=False),  # counts the writes: who writes over another's has read it
    Column("state", LargeBinary, nullable=False),  # see prompt_caching/state.py; hashes of prompts, no text
    Column("saved_us", BigInteger, nullable=False),
)

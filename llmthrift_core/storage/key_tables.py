"""The table of the service's API keys. Keys themselves are never stored."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, Table, Text, UniqueConstraint

from llmthrift_core.storage.tables import metadata

api_keys = Table(
    "llmthrift_api_keys",
    metadata,
    Column("id", Text, primary_key=True),  # shown in lists; no part of the key
    Column("hash", Text, nullable=False),  # SHA-256 of the key, in hex: a key is random, so that nothing slower is needed
    Column("name", Text, nullable=False),
    Column("scopes", Text, nullable=False),  # JSON list of "call", "read", "admin"
    Column("attribution", Text, nullable=False),  # JSON object: user, feature, session, ...
    Column("requests_per_minute", Integer),  # NULL: as many as it likes
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger),
    Column("revoked_us", BigInteger),
    UniqueConstraint("hash", name="uq_llmthrift_api_keys_hash"),
)

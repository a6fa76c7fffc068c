"""Tables that no metered call touches: API keys, what was learned of prompt caches, what shadow evaluations compared."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Integer, LargeBinary, Table, Text, UniqueConstraint

from llmthrift_core.storage.tables import metadata

# Keys themselves are never stored.
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
prefix_states = Table(
    "llmthrift_prefix_states",
    metadata,
    Column("name", Text, primary_key=True),  # provider, model, form of marks, and a hash of the terms
    Column("version", BigInteger, nullable=False),  # counts the writes: who writes over another's has read it
    Column("state", LargeBinary, nullable=False),  # see prompt_caching/state.py; hashes of prompts, no text
    Column("saved_us", BigInteger, nullable=False),
)
# Sums over the comparisons of all processes. They only grow, so that each process adds what is new.
shadow_sums = Table(
    "llmthrift_shadow_sums",
    metadata,
    Column("evaluation", Text, primary_key=True),
    Column("configuration", Text, primary_key=True),  # "": of the evaluation
    Column("measure", Text, primary_key=True),
    Column("value", Double, nullable=False),
)

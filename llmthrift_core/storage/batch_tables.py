"""The tables of batch jobs, as SQLAlchemy metadata; conventions as in `tables.py`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, SmallInteger, Table, Text, UniqueConstraint

from llmthrift_core.storage.tables import metadata

# Jobs for providers' batch APIs: what is needed to go on with them from any machine.
batch_jobs = Table(
    "llmthrift_batch_jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text),  # the application's idempotency key
    Column("digest", LargeBinary, nullable=False),  # of model and requests
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("policy", Text),  # JSON object of the cache policy; NULL: answers are neither looked up nor kept here
    Column("max_attempts", Integer, nullable=False),
    Column("requests", Integer, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("sent_us", BigInteger),  # when the provider had taken every request for the first time
    Column("cancelled_us", BigInteger),
    Column("ended_us", BigInteger),
    UniqueConstraint("name", name="uq_llmthrift_batch_jobs_name"),
)

# Batches at the provider: files of at most so many requests. The intent is written before the submission.
batch_parts = Table(
    "llmthrift_batch_parts",
    metadata,
    Column("job_id", Text, primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),  # "new", "claimed" (may have been submitted), "sent", "collected"
    Column("requests", Integer, nullable=False),
    Column("claimant", Text),
    Column("claimed_us", BigInteger),
    Column("first_claimed_us", BigInteger),  # since when it may have been submitted
    Column("file_id", Text),
    Column("remote_id", Text),
    Column("adopted", SmallInteger, nullable=False),  # 1: found at the provider by its looks, not verified yet
    Column("not_ours", Text),  # JSON list of batches that looked like it and were not
    Column("sent_us", BigInteger),
    Column("expires_us", BigInteger),
    Column("done", Integer, nullable=False),  # as far as the provider says
    Column("remote_status", Text),
)

# One request of a job. Body and answer are needed to go on after a crash; `Batches.forget` and `erase` clear them.
batch_requests = Table(
    "llmthrift_batch_requests",
    metadata,
    Column("job_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("custom_id", Text, nullable=False),
    Column("state", Text, nullable=False),  # "waiting", "sent", "answered", "failed", "expired", "cancelled"
    Column("part", Integer),  # which it was last sent in
    Column("attempts", Integer, nullable=False),
    Column("body", Text),  # JSON object
    Column("size_bytes", Integer, nullable=False),  # of the body
    Column("user", Text),
    Column("attribution", Text, nullable=False),  # JSON object
    Column("cache_key", LargeBinary),
    Column("codec", Text, nullable=False),  # "body": the answer is the provider's JSON; else the adapter's payload
    Column("cached", SmallInteger, nullable=False),  # 1: a cache gave the answer
    Column("hold_id", Text),
    Column("answer", LargeBinary),
    Column("usage", Text),  # JSON object
    Column("cost_nano_usd", BigInteger),
    Column("error", Text),
    Column("ended_us", BigInteger),
    UniqueConstraint("job_id", "custom_id", name="uq_llmthrift_batch_requests_custom_id"),
    Index("ix_llmthrift_batch_requests_part", "job_id", "part"),
    Index("ix_llmthrift_batch_requests_user", "user"),
)

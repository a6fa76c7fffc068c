"""The tables, as SQLAlchemy metadata. A change here needs a migration in `migrations/versions`.

Times are integer microseconds since 1970-01-01 UTC, money is integer nano-USD, NULL is "unknown".
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)

metadata = MetaData()

_SERIAL = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only for INTEGER

# The revision of this schema, in the form that Alembic keeps it.
schema_version = Table(
    "llmthrift_schema_version",
    metadata,
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="llmthrift_schema_version_pkc"),
)

# One row is one model attempt or one cache hit. Rows are appended and never updated, except that `erase` clears who it was.
calls = Table(
    "llmthrift_calls",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("request_id", Text, nullable=False),  # idempotency key
    Column("call_id", Text, nullable=False),  # groups the attempts of one call
    Column("at_us", BigInteger, nullable=False),
    Column("model", Text, nullable=False),
    Column("provider", Text),
    Column("user", Text),
    Column("feature", Text),
    Column("session", Text),
    Column("run", Text),
    Column("request_type", Text),
    Column("prompt_version", Text),
    Column("config_version", Text),
    Column("call_site", Text),
    Column("tags", Text),  # JSON object, keys sorted; NULL when empty
    Column("estimated", SmallInteger, nullable=False, server_default="0"),  # 1: the token counts are estimates
    Column("stream", SmallInteger, nullable=False, server_default="0"),  # 1: the answer was streamed
    Column("attempt", SmallInteger, nullable=False, server_default="1"),  # `requests` in reports counts the rows with 1
    Column("attempt_reason", Text),  # None for the first, else "retry", "fallback" or "escalation"
    Column("run_id", Text),
    Column("trace_id", Text),
    Column("parent_id", Text),
    Column("input_tokens", BigInteger, nullable=False, server_default="0"),  # billed; 0 on a hit
    Column("output_tokens", BigInteger, nullable=False, server_default="0"),
    Column("cache_read_tokens", BigInteger, nullable=False, server_default="0"),
    Column("cache_write_tokens", BigInteger, nullable=False, server_default="0"),
    Column("cache_write_1h_tokens", BigInteger, nullable=False, server_default="0"),
    Column("reasoning_tokens", BigInteger, nullable=False, server_default="0"),
    Column("input_audio_tokens", BigInteger, nullable=False, server_default="0"),
    Column("output_audio_tokens", BigInteger, nullable=False, server_default="0"),
    Column("cache_read_audio_tokens", BigInteger, nullable=False, server_default="0"),
    Column("input_image_tokens", BigInteger, nullable=False, server_default="0"),
    Column("output_image_tokens", BigInteger, nullable=False, server_default="0"),
    Column("web_searches", BigInteger, nullable=False, server_default="0"),
    Column("other_usage", Text),  # JSON object of counts without a column of their own; NULL when empty
    Column("service_tier", Text),
    Column("cost_nano_usd", BigInteger),  # NULL: unpriced
    Column("input_cost_nano_usd", BigInteger),
    Column("output_cost_nano_usd", BigInteger),
    Column("price_version", Text),
    Column("provider_cost_nano_usd", BigInteger),  # the provider's own bill, where it sends one
    Column("cache", Text),  # None, "exact" or "semantic"
    Column("saved_input_tokens", BigInteger, nullable=False, server_default="0"),  # what a hit did not send
    Column("saved_output_tokens", BigInteger, nullable=False, server_default="0"),
    Column("cache_saved_nano_usd", BigInteger),  # what a hit would have cost
    Column("baseline_model", Text),  # the model that would have answered without routing
    Column("routing_saved_nano_usd", BigInteger),  # baseline's price of the same usage minus the cost; may be negative
    Column("observed_cache_nano_usd", BigInteger),  # observe mode: what a hit would have saved
    Column("observed_routing_nano_usd", BigInteger),  # observe mode: what the routed model would have saved
    Column("route_reason", Text),
    Column("latency_us", BigInteger),
    Column("first_token_us", BigInteger),
    Column("error", Text),  # exception type; "abandoned" for a stream that was not read to its end
    Column("prompt_hash", Text),  # capture="features" and "text"
    Column("prompt_chars", Integer),
    Column("system_chars", Integer),
    Column("message_count", Integer),
    Column("tier", Text),  # the router's name of the model; NULL: nothing was routed, as on a hit
    Column("expected_quality", Float(53)),  # 0..1, what the policy expected of this tier's answer
    Column("expected_cost_nano_usd", BigInteger),  # what it expected the call to cost
    Column("rejected", Text),  # JSON list of [tier, why not]; NULL where the policy rejected none
    Column("confidence", Float(53)),  # 0..1, a cascade's in this row's answer; NULL: nobody reviewed it
    Column("escalated", SmallInteger, nullable=False, server_default="0"),  # 1: the answer was rejected and another model asked
    Column("lexical_counts", LargeBinary),  # of the question, as lexical.to_bytes; capture="features" and "text"
    Column("path", Text),  # the agents, chains and tools around the call, as ledger/paths.py writes them
    Column("prefix_saved_nano_usd", BigInteger),  # by the provider's prompt cache; negative where its writes cost more
    Column("batch_saved_nano_usd", BigInteger),  # by the provider's batch rate
    Column("shortening_saved_nano_usd", BigInteger),  # by a shorter prompt; negative where it broke a cached prefix
    Column("prefix_lost_nano_usd", BigInteger),  # what that miss cost
    Column("observed_shortening_nano_usd", BigInteger),  # observe mode: what a shorter prompt would have saved
    Column("observed_prefix_nano_usd", BigInteger),  # observe mode: what planning the provider's prompt cache would have saved
    Column("shorten_version", Text),  # which policy shortened the prompt; NULL: none
    Column("shorten_steps", Text),  # JSON list of [step, tokens taken off]; NULL where none took any
    Column("prefix_plan", Text),  # what was planned for the provider's prompt cache, and why; NULL: nothing was
    Column("prefix_miss", Text),  # why a prefix was not read from the provider's cache; NULL: it was, or nobody knows
    Column("shortened_tokens", BigInteger, nullable=False, server_default="0"),  # that the application's prompt had more than was sent
    Column("prefix_unread_nano_usd", BigInteger),  # writes of this call site that were found to have expired without a read
    Column("response_id", Text),  # the provider's name of its response; NULL: it gave none, as on a hit
    Column("message_id", Text),  # of the message, or of its run, where it is another one than response_id and request_id
    Column("tools_sent", Text),  # JSON object of name to characters of the definition, "" for those beyond 64; not with capture="off"
    Column("tools_called", Text),  # JSON list of names, in the answer; NULL: none, or nobody knows
    UniqueConstraint("request_id", name="uq_llmthrift_calls_request_id"),
    Index("ix_llmthrift_calls_at", "at_us"),
)
# A run that was not named is the call's trace.
run_of_calls = func.coalesce(calls.c.run, calls.c.trace_id)
Index("ix_llmthrift_calls_run", run_of_calls, sqlite_where=run_of_calls.is_not(None), postgresql_where=run_of_calls.is_not(None))
# The calls that a list of the most expensive ones is made of: a ledger has few that cost a cent, and no list looks at the others then.
COSTLY_NANO_USD = 10_000_000
Index(
    "ix_llmthrift_calls_costly",
    calls.c.cost_nano_usd,
    sqlite_where=calls.c.cost_nano_usd >= text(str(COSTLY_NANO_USD)),
    postgresql_where=calls.c.cost_nano_usd >= text(str(COSTLY_NANO_USD)),
)
# By which feedback finds its call. A row has one entry at most in most ledgers: message ids of their own are rare.
for _name in ("response_id", "message_id"):
    _is_known = calls.c[_name].is_not(None)
    Index(f"ix_llmthrift_calls_{_name}", calls.c[_name], sqlite_where=_is_known, postgresql_where=_is_known)
# What a backfill looks through; priced rows are not in it.
_is_unpriced = calls.c.cost_nano_usd.is_(None)
Index("ix_llmthrift_calls_unpriced", calls.c.id, sqlite_where=_is_unpriced, postgresql_where=_is_unpriced)

# Prompt and answer text, only with capture="text".
captures = Table(
    "llmthrift_captures",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("user", Text),
    Column("prompt", Text),
    Column("answer", Text),
    Index("ix_llmthrift_captures_at", "at_us"),
)

# A later price of a row that was recorded without one. Appended, never updated.
adjustments = Table(
    "llmthrift_adjustments",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("cost_nano_usd", BigInteger, nullable=False),
    Column("input_cost_nano_usd", BigInteger, nullable=False),
    Column("output_cost_nano_usd", BigInteger, nullable=False),
    Column("price_version", Text, nullable=False),
)

# Costs that are not model calls: tools, vector stores, GPUs.
other_costs = Table(
    "llmthrift_other_costs",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("request_id", Text, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("cost_nano_usd", BigInteger, nullable=False),
    Column("user", Text),
    Column("feature", Text),
    Column("session", Text),
    Column("run", Text),
    Column("request_type", Text),
    Column("prompt_version", Text),
    Column("config_version", Text),
    Column("call_site", Text),
    Column("tags", Text),
    Column("trace_id", Text),  # the outermost run around the code that recorded it
    Column("path", Text),
    UniqueConstraint("request_id", name="uq_llmthrift_other_costs_request_id"),
    Index("ix_llmthrift_other_costs_at", "at_us"),
)
run_of_costs = func.coalesce(other_costs.c.run, other_costs.c.trace_id)
Index("ix_llmthrift_other_costs_run", run_of_costs, sqlite_where=run_of_costs.is_not(None), postgresql_where=run_of_costs.is_not(None))

# A judgement of an answer by a user or a judge.
feedback = Table(
    "llmthrift_feedback",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("request_id", Text, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("quality", BigInteger, nullable=False),  # millionths of 0..1
    Column("source", Text),
    Column("comment", Text),
    Index("ix_llmthrift_feedback_request", "request_id"),
    Index("ix_llmthrift_feedback_at", "at_us"),
)

# Sums per dimension, bucket and value, kept in the transaction that inserts the calls. Rows without an attribute are in no
# value of its dimension: they are what "all" has more than the dimension.
rollups = Table(
    "llmthrift_rollups",
    metadata,
    Column("dimension", Text, primary_key=True),  # "all", "model", "user", ..., or "tag:<name>"
    Column("span", Integer, primary_key=True),  # seconds: an hour, a day; of "all" also 15 minutes, of people and tags 30 days
    Column("bucket", BigInteger, primary_key=True),  # seconds since the epoch at the bucket's start, a multiple of the span
    Column("value", Text, primary_key=True),  # "" for "all"
    Column("requests", BigInteger, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("retries", BigInteger, nullable=False),
    Column("fallbacks", BigInteger, nullable=False),
    Column("escalations", BigInteger, nullable=False),
    Column("cache_hits", BigInteger, nullable=False),
    Column("unpriced", BigInteger, nullable=False),
    Column("estimated", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cache_read_tokens", BigInteger, nullable=False),
    Column("cache_write_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("saved_input_tokens", BigInteger, nullable=False),
    Column("saved_output_tokens", BigInteger, nullable=False),
    Column("cost_nano_usd", BigInteger, nullable=False),
    Column("input_cost_nano_usd", BigInteger, nullable=False),
    Column("output_cost_nano_usd", BigInteger, nullable=False),
    Column("cache_saved_nano_usd", BigInteger, nullable=False),
    Column("routing_saved_nano_usd", BigInteger, nullable=False),
    Column("observed_cache_nano_usd", BigInteger, nullable=False),
    Column("observed_routing_nano_usd", BigInteger, nullable=False),
    Column("other_cost_nano_usd", BigInteger, nullable=False),
    Column("timed", BigInteger, nullable=False),  # rows whose latency is known
    Column("latency_us", BigInteger, nullable=False),  # of those
    Column("routed", BigInteger, nullable=False, server_default="0"),  # first answers of calls that a router sent to a model
    Column("escalated", BigInteger, nullable=False, server_default="0"),  # answers that a cascade rejected
    Column("escalated_requests", BigInteger, nullable=False, server_default="0"),  # first answers of them
    Column("escalated_cost_nano_usd", BigInteger, nullable=False, server_default="0"),  # of rejected answers; in cost_nano_usd too
    Column("retry_cost_nano_usd", BigInteger, nullable=False, server_default="0"),  # of further attempts; in cost_nano_usd too
    Column("fallback_cost_nano_usd", BigInteger, nullable=False, server_default="0"),
    Column("prefix_saved_nano_usd", BigInteger, nullable=False, server_default="0"),
    Column("batch_saved_nano_usd", BigInteger, nullable=False, server_default="0"),
    Column("shortening_saved_nano_usd", BigInteger, nullable=False, server_default="0"),
    Column("prefix_lost_nano_usd", BigInteger, nullable=False, server_default="0"),
    Column("observed_shortening_nano_usd", BigInteger, nullable=False, server_default="0"),
    Column("observed_prefix_nano_usd", BigInteger, nullable=False, server_default="0"),
    Column("shortened_tokens", BigInteger, nullable=False, server_default="0"),
    Column("prefix_unread_nano_usd", BigInteger, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)

# Numbers about the ledger as a whole, by name.
ledger_state = Table(
    "llmthrift_ledger_state",
    metadata,
    Column("name", Text, primary_key=True),  # "pruned_us": calls before this time were deleted, their sums were not
    Column("value", BigInteger, nullable=False),
)

# One cached answer.
cache_entries = Table(
    "llmthrift_cache_entries",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("namespace", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("provider", Text),
    Column("user", Text),
    Column("feature", Text),
    Column("prompt_version", Text),
    Column("metadata", Text),  # JSON object that a reader may require
    Column("payload", LargeBinary, nullable=False),  # the adapter's codec, which starts with its version
    Column("usage", Text, nullable=False),  # JSON of the Usage that produced the answer
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger),  # NULL: does not expire
    Column("used_us", BigInteger, nullable=False),
    Column("hits", BigInteger, nullable=False),
    Index("ix_llmthrift_cache_entries_lru", "namespace", "used_us", "size_bytes"),
    Index("ix_llmthrift_cache_entries_expires", "expires_us"),
)

# Labels by which entries are invalidated.
cache_labels = Table(
    "llmthrift_cache_labels",
    metadata,
    Column("kind", Text, primary_key=True),  # "tag" or "source"
    Column("value", Text, primary_key=True),
    Column("key", LargeBinary, primary_key=True),
    Index("ix_llmthrift_cache_labels_key", "key"),
    sqlite_with_rowid=False,
)

# One question and answer that may be found by meaning.
semantic_entries = Table(
    "llmthrift_semantic_entries",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("key", LargeBinary, nullable=False),  # of namespace, space, scope and normalised question
    Column("namespace", Text, nullable=False),
    Column("space", Text, nullable=False),  # the embedder's name: vectors of two spaces are never compared
    Column("scope", LargeBinary, nullable=False),  # digest of all that must be equal
    Column("question", Text, nullable=False),
    Column("answer", Text, nullable=False),  # by which answers are compared
    Column("answer_class", BigInteger, nullable=False),  # the same number for the same answer
    Column("vector", LargeBinary, nullable=False),  # 32-bit floats, little endian, of length 1
    Column("was_right", SmallInteger),  # whether the answer that the cache would have given was right; NULL: not known
    Column("payload", LargeBinary),  # the adapter's codec; NULL where the answer is all there is
    Column("model", Text, nullable=False),
    Column("provider", Text),
    Column("user", Text),
    Column("feature", Text),
    Column("prompt_version", Text),
    Column("metadata", Text),
    Column("usage", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger),
    Column("used_us", BigInteger, nullable=False),
    Column("hits", BigInteger, nullable=False),
    UniqueConstraint("key", name="uq_llmthrift_semantic_entries_key"),
    Index("ix_llmthrift_semantic_entries_scope", "scope", "id"),
    Index("ix_llmthrift_semantic_entries_lru", "namespace", "used_us", "size_bytes"),
    Index("ix_llmthrift_semantic_entries_expires", "expires_us"),
    sqlite_autoincrement=True,  # a number is never used twice: by it other processes learn what is new
)

# What was learned about when answers found by meaning are right.
semantic_evidence = Table(
    "llmthrift_semantic_evidence",
    metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("namespace", Text, nullable=False),
    Column("space", Text, nullable=False),
    Column("features", LargeBinary, nullable=False),  # 32-bit floats, little endian
    Column("was_right", SmallInteger, nullable=False),
    Column("weight", Integer, nullable=False),  # for how many questions it stands, in thousandths
    Column("checked", SmallInteger, nullable=False),  # 1: a shadow check of a hit
    Column("at_us", BigInteger, nullable=False),
    Index("ix_llmthrift_semantic_evidence_namespace", "namespace", "space", "id"),
)

# What the semantic cache did in all processes, by day.
semantic_counts = Table(
    "llmthrift_semantic_counts",
    metadata,
    Column("namespace", Text, primary_key=True),
    Column("space", Text, primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),  # days since 1970-01-01
    Column("requests", BigInteger, nullable=False),  # that a policy decided on
    Column("exact_hits", BigInteger, nullable=False),
    Column("semantic_hits", BigInteger, nullable=False),
    Column("misses", BigInteger, nullable=False),
    Column("observed_hits", BigInteger, nullable=False),  # found and not served, in observe mode
    Column("shadow_checks", BigInteger, nullable=False),
    Column("shadow_nano_usd", BigInteger, nullable=False),
    Column("guarded", BigInteger, nullable=False),
    Column("stores", BigInteger, nullable=False),
    Column("evictions", BigInteger, nullable=False),
    Column("evicted_unused", BigInteger, nullable=False),
    Column("expired_unused", BigInteger, nullable=False),
    Column("expected_wrong", Float(53), nullable=False),  # wrong answers to expect among the semantic hits
    Column("risk", Float(53)),  # the highest risk that the policy takes now; NULL where it takes none
)

# Raised whenever an entry is removed or replaced, so that memory tiers of other processes drop what they hold.
cache_epoch = Table(
    "llmthrift_cache_epoch",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
)

# What was removed at an epoch: an answer that was asked for before that, and fits, is not stored any more. Kept for a day.
cache_removals = Table(
    "llmthrift_cache_removals",
    metadata,
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("criteria", Text, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

# How much is stored in each namespace. Triggers keep it true (see size_triggers.py).
cache_sizes = Table(
    "llmthrift_cache_sizes",
    metadata,
    Column("kind", Text, primary_key=True),  # "exact" or "semantic"
    Column("namespace", Text, primary_key=True),
    Column("entries", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# What may be spent. The limits are read by the statement that reserves, so that a change takes effect at once.
budgets = Table(
    "llmthrift_budgets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("limit_nano_usd", BigInteger),
    Column("limit_tokens", BigInteger),
    Column("limit_requests", BigInteger),
    Column("settings", Text, nullable=False),  # JSON object: the rest of the Budget
)

# One row per budget, scope and window of time, made by the first reservation in it.
budget_windows = Table(
    "llmthrift_budget_windows",
    metadata,
    Column("budget", Text, primary_key=True),
    Column("scope", Text, primary_key=True),  # JSON object of the attributes that the budget counts apart, keys sorted
    Column("start_us", BigInteger, primary_key=True),
    Column("resets_us", BigInteger),  # NULL: never
    Column("spent_nano_usd", BigInteger, nullable=False),
    Column("spent_tokens", BigInteger, nullable=False),
    Column("spent_requests", BigInteger, nullable=False),
    Column("reserved_nano_usd", BigInteger, nullable=False),
    Column("reserved_tokens", BigInteger, nullable=False),
    Column("reserved_requests", BigInteger, nullable=False),
    Column("overrun_nano_usd", BigInteger, nullable=False),  # by which settlements exceeded their reservations
    Column("overrun_tokens", BigInteger, nullable=False),
    Column("alerted", Integer, nullable=False),  # the highest share of the limit that was told, in per mille
    Index("ix_llmthrift_budget_windows_resets", "resets_us"),
)

# What is set aside for calls under way, and what became of it.
budget_holds = Table(
    "llmthrift_budget_holds",
    metadata,
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False),  # "held", "settled", "released" or "expired"
    Column("parts", Text, nullable=False),  # JSON list of [budget, scope, start_us]: the windows that it counts in
    Column("nano_usd", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger, nullable=False),
    Index("ix_llmthrift_budget_holds_expires", "state", "expires_us"),
)

# What judges said. Holds no text: the key is a hash of the judge and of all that it was shown.
judgements = Table(
    "llmthrift_judgements",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("value", BigInteger),  # millionths of the quality or preference; NULL: the reply was no judgement
    Column("at_us", BigInteger, nullable=False),
    Index("ix_llmthrift_judgements_at", "at_us"),
)

# Which experiments there are. Assignments are not stored: they follow from the definition.
experiments = Table(
    "llmthrift_experiments",
    metadata,
    Column("name", Text, primary_key=True),
    Column("definition", Text, nullable=False),  # JSON object: arms, control, unit, salt
    Column("created_us", BigInteger, nullable=False),
)

# Versions of routers and configurations. One version of a name is in use.
versions = Table(
    "llmthrift_versions",
    metadata,
    Column("kind", Text, primary_key=True),  # "router" or "configuration"
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),  # 1, 2, 3, ... of a name
    Column("state", LargeBinary, nullable=False),  # a router: numbers and a header in JSON; a configuration: JSON
    Column("created_us", BigInteger, nullable=False),
    Column("note", Text),
    Column("active", SmallInteger, nullable=False),  # 1: the version in use
    Column("activated_us", BigInteger),  # when it was last put to use, later than any other of the name before; NULL: never
)

# Who does a piece of work that one process is enough for, and until when others leave it to him.
leases = Table(
    "llmthrift_leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("expires_us", BigInteger, nullable=False),
)

# Which alerts were told, so that one process tells each once. Holds no name: the key is a hash of the alert, whose it is, and its window.
told_alerts = Table(
    "llmthrift_told_alerts",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("kind", Text, nullable=False),  # "budget", "anomaly", ...
    Column("at_us", BigInteger, nullable=False),
    Index("ix_llmthrift_told_alerts_at", "at_us"),
)

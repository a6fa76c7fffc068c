"""A year of calls as one application makes them, written inside SQLite with the sums that the ledger keeps.

    python -m benchmarks.seeding ledger.db --calls 10000000

5,000 users of whom few make most calls, 20 features of which one begins and one ends within the year, 6 models at the prices of their
sellers (one has none), teams as tags, sessions of one feature, agents with runs of five calls, hits, retries, fallbacks, failures and
routed calls; more by day than by night, fewer at weekends, growing by a half over the year. The same numbers give the same ledger.
"""

from __future__ import annotations

import argparse
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final

from llmthrift_core import Thrift
from llmthrift_core.ledger.rollups import ALL, DAY, HOUR, QUARTER, THIRTY_DAYS, spans_of
from llmthrift_core.ledger.statements import MEASURES

NOW: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)
"""When the year ends."""
DAYS: Final = 365
_DIMENSIONS: Final = {
    **{name: name for name in ("model", "provider", "feature", "call_site", "cache", "user", "session")},
    "tag:team": "json_extract(tags, '$.team')",
}
# nano-USD per token: name, seller, input, output.
_MODELS: Final = (
    ("gpt-4o-mini", "openai", 150, 600),
    ("gpt-4o", "openai", 2_500, 10_000),
    ("claude-sonnet-4-5", "anthropic", 3_000, 15_000),
    ("o3", "openai", 2_000, 8_000),
    ("gemini-2.5-flash", "google", 300, 2_500),
    ("house-7b", "vllm", None, None),
)
_FEATURES: Final = (
    "chat", "search", "summaries", "tickets", "reports", "translation", "onboarding", "code review", "mail", "extraction",
    "pricing", "moderation", "titles", "tagging", "agents", "faq", "forms", "old editor", "new editor", "alerts",
)  # fmt: skip
_TEAMS: Final = ("search", "support", "growth", "platform")
# A number that looks random, from 0 to below 1, by the number of a call.
_U1, _U2, _U3, _U4 = (f"((n * {prime} + n / 7 * {other}) % 1000003) / 1000003.0" for prime, other in (
    (387_420_489, 7_919), (514_229, 104_729), (48_271, 611_953), (69_621, 15_485_863),
))  # fmt: skip
_PLAN: Final = f"""
WITH RECURSIVE numbers(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :first + :calls),
  placed AS (SELECT n, (n - :first + 0.5) / :calls AS x, {_U1} AS u1, {_U2} AS u2, {_U3} AS u3, {_U4} AS u4 FROM numbers)
INSERT INTO plan SELECT n,
  :day_us + CAST(86400e6 * (x + 1.5 * x * (1 - x) * (1 - 2 * x)) AS INTEGER),
  CASE CAST(20 * u1 * u1 AS INTEGER) WHEN 17 THEN CASE WHEN :day < 200 THEN 17 ELSE 0 END
    WHEN 18 THEN CASE WHEN :day >= 300 THEN 18 ELSE 0 END ELSE CAST(20 * u1 * u1 AS INTEGER) END,
  CAST(5000 * u2 * u2 * u2 AS INTEGER), 300 + CAST(6000 * u3 * u3 * u3 AS INTEGER) * CASE WHEN n % 499 = 0 THEN 12 ELSE 1 END,
  20 + CAST(900 * u4 * u4 AS INTEGER),
  CASE WHEN n % 100 = 1 THEN 'retry' WHEN n % 400 = 3 THEN 'fallback' END,
  CASE WHEN n % 100 = 0 THEN 'TimeoutError' WHEN n % 400 = 2 THEN 'RateLimitError' END,
  CASE WHEN n % 13 = 5 THEN 'exact' WHEN n % 37 = 6 THEN 'semantic' END, u4
FROM placed
"""
_CALLS: Final = """
INSERT INTO day SELECT n, at_us, 'c' || printf('%09d', n - (reason IS NOT NULL)), m.name, m.provider, 'user ' || printf('%04d', user),
  f.name, CASE WHEN p.feature = 0 THEN 'session ' || (user % 1000) || '-' || :day END, 'app.py:' || (p.feature * 3 % 8 + 12),
  '{"team":"' || f.team || '"}',
  printf('%012d', n / 5), CASE WHEN reason IS NULL THEN 1 ELSE 2 END, reason,
  CASE WHEN error IS NOT NULL OR hit IS NOT NULL THEN 0 ELSE input END,
  CASE WHEN error IS NOT NULL OR hit IS NOT NULL THEN 0 ELSE output END,
  CASE WHEN hit IS NOT NULL THEN input ELSE 0 END, CASE WHEN hit IS NOT NULL THEN output ELSE 0 END,
  CASE WHEN error IS NOT NULL OR hit IS NOT NULL THEN 0 ELSE input * m.on_input + output * m.on_output END,
  CASE WHEN error IS NOT NULL OR hit IS NOT NULL THEN 0 ELSE input * m.on_input END,
  CASE WHEN error IS NOT NULL OR hit IS NOT NULL THEN 0 ELSE output * m.on_output END,
  hit, CASE WHEN hit IS NOT NULL THEN input * m.on_input + output * m.on_output END,
  CASE WHEN hit IS NOT NULL THEN 2000 ELSE 200000 + CAST(2500000 * u * u AS INTEGER) END, error,
  CASE WHEN hit IS NULL AND p.feature IN (5, 6) THEN CASE WHEN p.model = 1 THEN 'complex' ELSE 'simple' END END,
  CASE WHEN hit IS NULL AND error IS NULL AND p.feature IN (5, 6) AND p.model = 0 THEN input * 2350 + output * 9400 END,
  CASE WHEN p.feature % 4 = 0 THEN 'h' || (n % 5000) ELSE 'h' || n END, input * 4, 1000 + p.feature * 37
FROM (SELECT *, CASE WHEN n % 89 = 0 THEN 5 WHEN n % 7 = 3 THEN 1 ELSE feature % 5 END AS model FROM plan) AS p
  JOIN models AS m ON m.id = p.model JOIN features AS f ON f.id = p.feature
"""
_COLUMNS: Final = (
    "n", "at_us", "call_id", "model", "provider", "user", "feature", "session", "call_site", "tags", "trace_id", "attempt",
    "attempt_reason", "input_tokens", "output_tokens", "saved_input_tokens", "saved_output_tokens", "cost_nano_usd", "input_cost_nano_usd",
    "output_cost_nano_usd", "cache", "cache_saved_nano_usd", "latency_us", "error", "tier", "routing_saved_nano_usd", "prompt_hash",
    "prompt_chars", "system_chars",
)  # fmt: skip
_KEEP: Final = f"""
INSERT INTO llmthrift_calls (request_id, run_id, path, {", ".join(_COLUMNS[1:])})
SELECT 'r' || printf('%09d', n), 'r' || n, '[["' || trace_id || '","clerk","agent"],["' || printf('%012d', n) || '","model"]]',
  {", ".join(_COLUMNS[1:])} FROM day
"""
_SUMS: Final = {
    "requests": "sum(attempt = 1)",
    "attempts": "count(*)",
    "errors": "count(error)",
    "retries": "sum(attempt_reason IS 'retry')",
    "fallbacks": "sum(attempt_reason IS 'fallback')",
    "cache_hits": "count(cache)",
    "unpriced": "sum(cost_nano_usd IS NULL)",
    "timed": "count(latency_us)",
    "routed": "sum(tier IS NOT NULL AND error IS NULL)",
    "retry_cost_nano_usd": "coalesce(sum(CASE WHEN attempt_reason = 'retry' THEN cost_nano_usd END), 0)",
    "fallback_cost_nano_usd": "coalesce(sum(CASE WHEN attempt_reason = 'fallback' THEN cost_nano_usd END), 0)",
    **{
        name: f"coalesce(sum({name}), 0)"
        for name in (*_COLUMNS[13:20], "cache_saved_nano_usd", "latency_us", "routing_saved_nano_usd")
    },
}  # fmt: skip


def seed(path: Path, calls: int) -> None:
    """Make a ledger of so many calls of the year before NOW, with its sums."""
    with Thrift(path):
        pass
    connection = sqlite3.connect(path, isolation_level=None)
    for name, value in {"synchronous": "OFF", "cache_size": -400_000, "temp_store": "MEMORY", "wal_autocheckpoint": 100_000}.items():
        connection.execute(f"PRAGMA {name} = {value}")
    indexes = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE tbl_name = 'llmthrift_calls' AND type = 'index' AND sql > ''"
    ).fetchall()
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}")
    connection.execute("CREATE TEMP TABLE models (id INTEGER PRIMARY KEY, name, provider, on_input, on_output)")
    connection.executemany("INSERT INTO models VALUES (?, ?, ?, ?, ?)", [(place, *each) for place, each in enumerate(_MODELS)])
    connection.execute("CREATE TEMP TABLE features (id INTEGER PRIMARY KEY, name, team)")
    features = [(place, name, _TEAMS[place % len(_TEAMS)]) for place, name in enumerate(_FEATURES)]
    connection.executemany("INSERT INTO features VALUES (?, ?, ?)", features)
    connection.execute("CREATE TEMP TABLE plan (n, at_us, feature, user, input, output, reason, error, hit, u)")
    connection.execute(f"CREATE TEMP TABLE day ({', '.join(_COLUMNS)})")
    first = 0
    for day, some in enumerate(_calls_by_day(calls)):
        begin = NOW.replace(hour=0) - timedelta(days=DAYS - 1 - day)
        _seed_day(connection, day, begin, first, some)
        first += some
    _seed_longer(connection)
    for _, sql in indexes:
        connection.execute(sql)
    connection.execute("ANALYZE")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _calls_by_day(calls: int) -> list[int]:
    """How many calls each day has; the last one ends at noon."""
    first = NOW - timedelta(days=DAYS - 1)
    weights = [(1 + day / DAYS / 2) * (0.5 if (first + timedelta(days=day)).weekday() > 4 else 1) for day in range(DAYS)]
    edges = [0.0]
    for weight in weights:
        edges.append(edges[-1] + weight)
    places = [round(calls * edge / edges[-1]) for edge in edges]
    return [after - before for before, after in pairwise(places)]


def _seed_day(connection: sqlite3.Connection, day: int, begin: datetime, first: int, calls: int) -> None:
    if not calls:
        return
    given = {"first": first, "calls": calls, "day": day, "day_us": int(begin.timestamp()) * 1_000_000}
    connection.execute("BEGIN")
    connection.execute("DELETE FROM plan")
    connection.execute("DELETE FROM day")
    connection.execute(_PLAN, given)
    if day == DAYS - 1:  # the clock stands at noon
        connection.execute("UPDATE plan SET at_us = :day_us + (at_us - :day_us) / 2", {"day_us": given["day_us"]})
    connection.execute(_CALLS, {"day": day})
    connection.execute(_KEEP)
    for dimension, value in ((ALL, "''"), *_DIMENSIONS.items()):
        span = QUARTER if dimension == ALL else HOUR
        sums = ", ".join(_SUMS.get(name, "0") for name in MEASURES)
        kept = "" if dimension == ALL else f"WHERE {value} IS NOT NULL"
        connection.execute(
            f"INSERT INTO llmthrift_rollups (dimension, span, bucket, value, {', '.join(MEASURES)}) SELECT '{dimension}', {span}, "
            f"at_us / 1000000 / {span} * {span} AS start, {value} AS named, {sums} FROM day {kept} GROUP BY start, named"
        )
    connection.execute("COMMIT")


def _seed_longer(connection: sqlite3.Connection) -> None:
    """The sums of longer buckets out of those of shorter ones."""
    sums = ", ".join(f"sum({name})" for name in MEASURES)
    for longer, shorter in ((HOUR, QUARTER), (DAY, HOUR), (THIRTY_DAYS, DAY)):
        for dimension in (ALL, *_DIMENSIONS):
            if longer in spans_of(dimension)[1:]:
                connection.execute(
                    f"INSERT INTO llmthrift_rollups (dimension, span, bucket, value, {', '.join(MEASURES)}) SELECT dimension, {longer}, "
                    f"bucket / {longer} * {longer} AS start, value, {sums} FROM llmthrift_rollups WHERE dimension = '{dimension}' "
                    f"AND span = {shorter} GROUP BY start, value"
                )


def main() -> None:
    """Seed the ledger at a path that does not exist yet."""
    parser = argparse.ArgumentParser(description="Make a ledger of a year of calls.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--calls", type=int, default=1_000_000)
    given = parser.parse_args()
    if given.path.exists():
        parser.error(f"{given.path} exists")
    started, worked = time.perf_counter(), time.process_time()
    seed(given.path, given.calls)
    taken, work = time.perf_counter() - started, time.process_time() - worked
    print(f"{given.calls:,} calls in {taken:.0f} s ({work:.0f} s of the processor), {given.path.stat().st_size / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()

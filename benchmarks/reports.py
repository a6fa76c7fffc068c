"""How long reports take on a large ledger.

python -m benchmarks.reports                     # a million calls
python -m benchmarks.reports --calls 10000000    # and more room on the disk: about 500 bytes a call

The ledger is made inside SQLite by INSERT ... SELECT: a year of calls of 5 models, 20 features, 2,000 users and 8 call sites, in runs of
five calls, with the sums that the ledger keeps. Beside the time on the clock stands the processor's, which a busy machine changes less.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from benchmarks.measure import table
from llmthrift_core import Alert, Thrift
from llmthrift_core.ledger.rollups import ALL, spans_of
from llmthrift_core.ledger.statements import MEASURES

_DAYS: Final = 365
_NOW: Final = datetime(2026, 6, 1, 12, tzinfo=UTC)
_DIMENSIONS: Final = ("model", "provider", "feature", "call_site", "cache", "user")
_CALLS: Final = """
WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers
  WHERE n + 1 < :calls)
INSERT INTO llmthrift_calls (
  request_id, call_id, at_us, model, provider, user, feature, call_site, run_id, trace_id, path, attempt, attempt_reason, input_tokens,
  output_tokens, cost_nano_usd, input_cost_nano_usd, output_cost_nano_usd, cache, cache_saved_nano_usd, latency_us, error, prompt_hash,
  prompt_chars, system_chars)
SELECT 'r' || n, 'r' || n, :first_us + n * :step_us,
  CASE WHEN n % 10 < 5 THEN 'gpt-4o-mini' WHEN n % 10 < 7 THEN 'gpt-4o' WHEN n % 10 = 7 THEN 'claude-sonnet-4-5'
    WHEN n % 10 = 8 THEN 'o3' ELSE 'gemini-2.5-flash' END,
  'openai', 'user ' || (n * 7919 % 2000), 'feature ' || (n % 20), 'app.py:' || (n % 8), 'r' || n, 'trace-' || printf('%012d', n / 5),
  '[["' || printf('%012d', n / 5) || '","clerk","agent"],["' || printf('%012d', n) || '","model"]]',
  CASE WHEN n % 100 = 1 THEN 2 ELSE 1 END,
  CASE WHEN n % 100 = 1 THEN 'retry' END, 500 + n % 3000, 50 + n * 31 % 400, a.cost, a.cost / 3, a.cost - a.cost / 3,
  CASE WHEN n % 9 = 0 THEN 'exact' END, CASE WHEN n % 9 = 0 THEN 400000 END, 200000 + n * 17 % 3000000,
  CASE WHEN n % 100 = 0 THEN 'TimeoutError' END, 'h' || (n % 50000), 2000 + n % 12000, 1000
FROM (SELECT n, CASE WHEN n % 9 = 0 THEN 0 WHEN n % 997 = 0 THEN 30000000 ELSE 100000 + n * 13 % 900000 END AS cost FROM numbers) AS a
"""
_SUMS: Final = {
    "requests": "sum(attempt = 1)",
    "attempts": "count(*)",
    "errors": "sum(error IS NOT NULL)",
    "retries": "sum(attempt_reason IS NOT NULL)",
    "cache_hits": "sum(cache IS NOT NULL)",
    "input_tokens": "sum(input_tokens)",
    "output_tokens": "sum(output_tokens)",
    "cost_nano_usd": "sum(cost_nano_usd)",
    "input_cost_nano_usd": "sum(input_cost_nano_usd)",
    "output_cost_nano_usd": "sum(output_cost_nano_usd)",
    "cache_saved_nano_usd": "sum(coalesce(cache_saved_nano_usd, 0))",
    "timed": "count(latency_us)",
    "latency_us": "sum(latency_us)",
    "retry_cost_nano_usd": "sum(CASE WHEN attempt_reason = 'retry' THEN cost_nano_usd ELSE 0 END)",
}


def fill(path: Path, calls: int) -> None:
    """Make the ledger."""
    with Thrift(path):
        pass
    first_us = int((_NOW - timedelta(days=_DAYS)).timestamp()) * 1_000_000
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(_CALLS, {"calls": calls, "first_us": first_us, "step_us": _DAYS * 86_400_000_000 // calls})
        sums = ", ".join(_SUMS.get(name, "0") for name in MEASURES)
        for dimension in (ALL, *_DIMENSIONS):
            value = "''" if dimension == ALL else dimension
            kept = "" if dimension == ALL else f"WHERE {dimension} IS NOT NULL"
            for span in spans_of(dimension):
                bucket = f"at_us / 1000000 / {span} * {span}"
                connection.execute(
                    f"INSERT INTO llmthrift_rollups (dimension, span, bucket, value, {', '.join(MEASURES)}) "
                    f"SELECT '{dimension}', {span}, {bucket}, {value}, {sums} FROM llmthrift_calls {kept} GROUP BY {bucket}, {value}"
                )
        connection.execute("ANALYZE")
    connection.close()


def reports(thrift: Thrift, calls: int) -> Mapping[str, Callable[[], object]]:
    """What is timed."""
    month = _NOW - timedelta(days=30)
    return {
        "report(by='model')": lambda: thrift.report("model"),
        "report(by='day')": lambda: thrift.report("day"),
        "report(by='month', tz='Europe/Berlin')": lambda: thrift.report("month", tz="Europe/Berlin"),
        "report(by='feature', since=month, details=True)": lambda: thrift.report("feature", month, details=True),
        "top(by='user', since=month)": lambda: thrift.top(20, "user", month),
        "top(by='user')": lambda: thrift.top(20, "user"),
        "top(by='call', since=month)": lambda: thrift.top(20, "call", month),
        "top(by='call')": lambda: thrift.top(20, "call"),
        "spend_rate()": thrift.spend_rate,
        "savings()": thrift.savings,
        "run_costs(run)": lambda: thrift.run_costs(f"trace-{calls // 10:012}"),
        "optimizations(since=month)": lambda: thrift.optimizations(month),
        "optimizations()": thrift.optimizations,
        "observed()": thrift.observed,
        "forecast()": thrift.forecast,
        "forecast(by='feature')": lambda: thrift.forecast(by="feature"),
        "forecast(by='user')": lambda: thrift.forecast(by="user"),
        "anomalies()": thrift.anomalies,
        "anomalies(since=month)": lambda: thrift.anomalies(month),
        "alerts.look(), forecast and anomaly": lambda: thrift.alerts.look([Alert(on="forecast"), Alert(on="anomaly")]),
        "review(since=month)": lambda: thrift.review(month).to_html(),
        "review()": lambda: thrift.review().to_html(),
    }


def main() -> None:
    """Fill and time."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--path", type=Path, help="Keep the ledger here, and use it again")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = given.path or Path(folder, "reports.db")
        if not path.exists():
            started = time.perf_counter()
            fill(path, given.calls)
            print(f"filled {given.calls:,} calls in {time.perf_counter() - started:.0f} s, {path.stat().st_size / 1e6:,.0f} MB")
        with Thrift(path, clock=lambda: _NOW.timestamp()) as thrift:
            assert thrift.run_costs(f"trace-{given.calls // 10:012}").tree.calls == 5
            rows = []
            for name, make in reports(thrift, given.calls).items():
                make()
                taken, worked = [], []
                for _ in range(given.rounds):
                    started, before = time.perf_counter(), time.process_time()
                    make()
                    taken.append((time.perf_counter() - started) * 1000)
                    worked.append((time.process_time() - before) * 1000)
                rows.append((name, *(f"{amount:.0f} ms" for amount in (statistics.median(taken), max(taken), statistics.median(worked)))))
                print(*rows[-1], flush=True)
    print(table(f"Reports, {given.calls:,} calls", ("report", "median", "slowest", "processor"), rows))


if __name__ == "__main__":
    main()

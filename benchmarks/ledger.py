"""The ledger: records per second through the public API, and reports over millions of calls.

    python -m benchmarks.ledger [--rows 1000000 10000000] [--records 200000]

The calls of the reports are seeded by SQL, with their sums. Everything is in a temporary directory that is removed.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import text

from llmthrift_core import Thrift, Usage
from llmthrift_core.ledger.statements import MEASURES

_DAYS = 365
_FEATURES = 20
_FIRST_US = 1_735_689_600_000_000  # 2025-01-01

_SEED_CALLS = """
WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :rows)
INSERT INTO llmthrift_calls (
    request_id, call_id, at_us, model, provider, user, feature, input_tokens, output_tokens,
    cost_nano_usd, input_cost_nano_usd, output_cost_nano_usd, price_version, latency_us)
SELECT printf('%032d', n), printf('%032d', n), :first + n * :step, 'model' || n % 4, 'openai', 'user' || n % 1000,
    'feature' || n % :features, 1000 + n % 500, 100 + n % 50,
    (1000 + n % 500) * 2500 + (100 + n % 50) * 10000, (1000 + n % 500) * 2500, (100 + n % 50) * 10000, 'seed', 800000
FROM numbers
"""

_AMOUNTS = {
    "requests": "count(*)",
    "attempts": "count(*)",
    "input_tokens": "sum(input_tokens)",
    "output_tokens": "sum(output_tokens)",
    "cost_nano_usd": "sum(cost_nano_usd)",
    "input_cost_nano_usd": "sum(input_cost_nano_usd)",
    "output_cost_nano_usd": "sum(output_cost_nano_usd)",
    "timed": "count(*)",
    "latency_us": "sum(latency_us)",
}
_SEED_HOURS = f"""
INSERT INTO llmthrift_rollups (dimension, span, bucket, value, {", ".join(MEASURES)})
SELECT :dimension, 3600, at_us / 3600000000 * 3600 AS start, {{value}}, {", ".join(_AMOUNTS.get(name, "0") for name in MEASURES)}
FROM llmthrift_calls GROUP BY start, {{value}}
"""
_SEED_DAYS = f"""
INSERT INTO llmthrift_rollups (dimension, span, bucket, value, {", ".join(MEASURES)})
SELECT dimension, 86400, bucket / 86400 * 86400 AS start, value, {", ".join(f"sum({name})" for name in MEASURES)}
FROM llmthrift_rollups WHERE span = 3600 GROUP BY dimension, start, value
"""
_GROUP_BY = "SELECT feature, count(*), sum(input_tokens), sum(cost_nano_usd) FROM llmthrift_calls GROUP BY feature"


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000_000, 10_000_000])
    parser.add_argument("--records", type=int, default=200_000)
    options = parser.parse_args()
    print("ledger")
    with tempfile.TemporaryDirectory() as folder:
        for users in (10, 1_000):
            rates = [_records_per_second(Path(folder) / f"records{users}-{turn}.db", options.records, users) for turn in range(3)]
            by_clock, by_processor = (statistics.median(each) for each in zip(*rates, strict=True))
            print(
                f"  record, {users:,} users, committed and summed   {by_clock:>10,.0f} records/s, "
                f"{by_processor:,.0f} for a second of the processor"
            )
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            _report_over(Path(folder) / "report.db", rows)


def _records_per_second(path: Path, records: int, users: int) -> tuple[float, float]:
    """From the first record to the end of the flush: by the clock, and by the time of the processor."""
    chance = random.Random(1)
    who = [(f"user{chance.randrange(users)}", f"feature{chance.randrange(_FEATURES)}") for _ in range(records)]
    usage = Usage(input_tokens=1_200, output_tokens=350, cache_read_tokens=400)
    with Thrift(path) as thrift:
        record = thrift.ledger.record
        record("gpt-4o-mini", usage, provider="openai")
        start, worked = time.perf_counter(), time.process_time()
        for user, feature in who:
            record("gpt-4o-mini", usage, provider="openai", user=user, feature=feature, latency_seconds=0.8)
        assert thrift.ledger.flush(120)
        elapsed, worked = time.perf_counter() - start, time.process_time() - worked
        health = thrift.ledger.health()
        assert (health["lost"], health["written"]) == (0, records + 1)
    return records / elapsed, records / worked


def seed(path: Path, rows: int) -> None:
    """A ledger of so many calls over a year, with their sums."""
    with Thrift(path) as thrift, thrift.database.write() as connection:
        connection.execute(text("PRAGMA cache_size = -262144"))
        step_us = _DAYS * 86_400_000_000 // rows
        connection.execute(text(_SEED_CALLS), {"rows": rows, "first": _FIRST_US, "step": step_us, "features": _FEATURES})
        for dimension, value in (("all", "''"), ("feature", "feature"), ("model", "model")):
            connection.execute(text(_SEED_HOURS.format(value=value)), {"dimension": dimension})
        connection.execute(text(_SEED_DAYS))


def _report_over(path: Path, rows: int) -> None:
    seed(path, rows)
    with Thrift(path) as thrift:
        for name, options in (
            ("by feature, all time", {}),
            ("by feature, 100 days from 12:34:56", {"since": "2025-03-01T12:34:56", "until": "2025-06-09T12:34:56"}),
        ):
            seconds = _median(lambda options=options: thrift.report(by="feature", **options), 9)
            print(f"  report {name}, {rows:,} calls   {seconds * 1e3:>10.1f} ms")
        total = thrift.report(by="feature").total["requests"]
        assert total == rows, total

        def group_by() -> None:
            with thrift.database.read() as connection:
                connection.execute(text(_GROUP_BY)).all()

        print(f"  the same sums by GROUP BY over {rows:,} rows   {_median(group_by, 1) * 1e3:>10.1f} ms")


def _median(call: Callable[[], object], times: int) -> float:
    call()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()

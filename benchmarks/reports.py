"""How long reports take on a large ledger.

python -m benchmarks.reports                     # a million calls
python -m benchmarks.reports --calls 10000000    # and more room on the disk: about 600 bytes a call

The ledger is that of `benchmarks.seeding`. Beside the time on the clock stands the processor's, which a busy machine changes less.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

from benchmarks.measure import table
from benchmarks.seeding import NOW, seed
from llmthrift_core import Alert, Thrift


def reports(thrift: Thrift, calls: int) -> Mapping[str, Callable[[], object]]:
    """What is timed."""
    month = NOW - timedelta(days=30)
    return {
        **{
            f"report(by='{by}')": lambda by=by: thrift.report(by)  # type: ignore[misc]
            for by in ("model", "provider", "feature", "user", "call_site", "cache", "team", "day", "hour", "month")
        },
        "report(by='month', tz='Europe/Berlin')": lambda: thrift.report("month", tz="Europe/Berlin"),
        "report(by='feature', since=month, details=True)": lambda: thrift.report("feature", month, details=True),
        "top(by='user', since=month)": lambda: thrift.top(20, "user", month),
        "top(by='session')": lambda: thrift.top(20, "session"),
        "top(by='run', since=month)": lambda: thrift.top(20, "run", month),
        "top(by='team', since=month)": lambda: thrift.top(20, "team", month),
        "top(by='user')": lambda: thrift.top(20, "user"),
        "top(by='call', since=month)": lambda: thrift.top(20, "call", month),
        "top(by='call')": lambda: thrift.top(20, "call"),
        "spend_rate()": thrift.spend_rate,
        "savings()": thrift.savings,
        "run_costs(run)": lambda: thrift.run_costs(f"{calls // 10:012}"),
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
            seed(path, given.calls)
            print(f"filled {given.calls:,} calls in {time.perf_counter() - started:.0f} s, {path.stat().st_size / 1e6:,.0f} MB")
        with Thrift(path, clock=lambda: NOW.timestamp()) as thrift:
            assert thrift.run_costs(f"{given.calls // 10:012}").tree.calls == 5
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

"""Exports of a ledger of a million calls: seconds, peak memory, size of the file.

    python -m benchmarks.exports [--rows 1000000] [--only "calls, Parquet"]

Each export runs in a process of its own, whose peak memory is that of the whole process; an export of no calls stands beside it. The calls
are those of `benchmarks.ledger`, in a temporary directory that is removed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.ledger import seed
from benchmarks.measure import table
from llmthrift_core import Thrift
from llmthrift_core.exporters import PrometheusExporter, export_calls, export_focus
from llmthrift_core.exporters.exported import Exported

_OF_NO_CALL = {"since": "1990-01-01", "until": "1990-01-02"}
_EXPORTS: dict[str, Callable[[Thrift, Path], Exported]] = {
    "no calls, Parquet": lambda thrift, out: export_calls(thrift, out / "none.parquet", **_OF_NO_CALL),  # type: ignore[arg-type]
    "calls, Parquet": lambda thrift, out: export_calls(thrift, out / "calls.parquet"),
    "calls, Parquet, a file a day": lambda thrift, out: export_calls(thrift, out / "days", per_day=True),
    "calls, CSV": lambda thrift, out: export_calls(thrift, out / "calls.csv"),
    "FOCUS, Parquet": lambda thrift, out: export_focus(thrift, out / "focus.parquet"),
    "FOCUS, CSV": lambda thrift, out: export_focus(thrift, out / "focus.csv"),
}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--only", nargs="*", choices=_EXPORTS, default=list(_EXPORTS))
    given = options.parse_args()
    rows = given.rows
    with tempfile.TemporaryDirectory() as directory:
        ledger = Path(directory, "ledger.db")
        seed(ledger, rows)
        found = [_measured(ledger, name) for name in given.only]
        print(table(f"Exports of {rows:,} calls", ("export", "rows", "seconds", "of CPU", "peak memory of the process", "size"), found))
        with Thrift(ledger) as thrift:
            exporter = PrometheusExporter(thrift)
            exporter.to_text()
            started = time.perf_counter()
            exporter.to_text()
            print(f"\nA scrape by Prometheus: {(time.perf_counter() - started) * 1000:,.0f} ms")


def _measured(ledger: Path, name: str) -> tuple[str, ...]:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    with tempfile.TemporaryDirectory() as directory:
        process = spawn.Process(target=_export, args=(ledger, name, Path(directory), theirs))
        process.start()
        theirs.close()  # so that a process that dies is an end of file here
        rows, seconds, cpu, peak = ours.recv()
        process.join()
        size = sum(file.stat().st_size for file in Path(directory).rglob("*") if file.is_file())
    return name, f"{rows:,}", f"{seconds:,.1f}", f"{cpu:,.1f}", f"{peak / 1024:,.0f} MB", f"{size / 1e6:,.1f} MB"


def _export(ledger: Path, name: str, out: Path, results: Connection) -> None:
    with Thrift(ledger) as thrift:
        started, worked = time.perf_counter(), time.process_time()
        found = _EXPORTS[name](thrift, out)
        seconds, cpu = time.perf_counter() - started, time.process_time() - worked
    results.send((found.rows, seconds, cpu, _peak_kb()))


def _peak_kb() -> int:
    """The peak of this process alone: what getrusage says includes the one that began it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    main()

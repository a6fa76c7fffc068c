"""Every benchmark, one after the other.

python -m benchmarks.run
"""

from __future__ import annotations

import platform
import subprocess
import sys

BENCHMARKS = (
    "pricing",
    "handler",
    "doors",
    "cache",
    "ledger",
    "exports",
    "batches",
    "budgets",
    "reservations",
    "semantic",
    "near_misses",
    "pairs",
    "prompt_caching",
    "routing",
    "adaptive",
    "checks",
    "refits",
    "forecasts",
    "anomalies",
    "audit",
    "llamaindex",
    "imports",
    "lab",
    "whole",
)


def main() -> None:
    """Run each in a process of its own."""
    print(f"Python {platform.python_version()} on {platform.machine()}")
    for name in BENCHMARKS:
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)


if __name__ == "__main__":
    main()

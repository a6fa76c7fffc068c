"""What `import llmthrift_langchain` costs over importing langchain-core's chat models, in fresh processes.

python -m benchmarks.imports
"""

from __future__ import annotations

import statistics
import subprocess
import sys

from benchmarks.measure import table

_ROUNDS = 15
_BASE = "import langchain_core.language_models.chat_models"
_PUBLIC = "from llmthrift_langchain import ThriftCallbackHandler, ThriftCache, ChatRouter, thrifty"
_TIMED = f"""
import time
started = time.perf_counter()
{_BASE}
base = time.perf_counter()
{_PUBLIC}
print(base - started, time.perf_counter() - base)
"""


def main() -> None:
    """Measure and print. Both are timed in the same process, so that a slow spell of the machine meets both."""
    taken: list[tuple[float, float]] = []
    for _ in range(_ROUNDS):
        done = subprocess.run([sys.executable, "-c", _TIMED], capture_output=True, text=True, check=True)
        base, added = (float(seconds) * 1000 for seconds in done.stdout.split())
        taken.append((base, added))
    base, added = (statistics.median(times) for times in zip(*taken, strict=True))
    rows = [("langchain_core chat models", f"{base:,.0f} ms"), ("then llmthrift_langchain's public classes", f"+{added:,.0f} ms")]
    print(table(f"Import in a fresh process, median of {_ROUNDS}", ("", "time"), rows))


if __name__ == "__main__":
    main()

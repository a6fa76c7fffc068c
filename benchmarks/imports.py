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
_SUBJECTS = {
    "langchain_core chat models": _BASE,
    "and llmthrift_langchain's public classes": f"{_BASE}\n{_PUBLIC}",
}


def main() -> None:
    """Measure and print."""
    taken: dict[str, list[float]] = {name: [] for name in _SUBJECTS}
    for _ in range(_ROUNDS):
        for name, code in _SUBJECTS.items():
            timed = f"import time; s = time.perf_counter()\n{code}\nprint(time.perf_counter() - s)"
            done = subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True)
            taken[name].append(float(done.stdout) * 1000)
    base = statistics.median(taken["langchain_core chat models"])
    rows = [(name, f"{statistics.median(t):,.0f} ms", f"{statistics.median(t) - base:+,.0f} ms") for name, t in taken.items()]
    print(table("Import in a fresh process, median of 15", ("", "time", "added"), rows))


if __name__ == "__main__":
    main()

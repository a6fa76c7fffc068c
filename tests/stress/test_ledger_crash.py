"""Kill a writing process at random points: the database stays whole, and what was promised is there.

`LLMTHRIFT_STRESS=long` kills more often.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from llmthrift_core.storage.database import Database
from tests.core.ledger.sums import stored_sums, sums_over_rows
from tests.long import LONG

_ROUNDS = 40 if LONG else 2

# Says on its standard output what is promised to be durable, after it is.
_WRITES_FOR_EVER = """
import itertools, sys
from llmthrift_core.ledger import Ledger
from llmthrift_core.storage import Database
from llmthrift_core.usage import Usage
from tests.core.ledger.prices import FlatPrices

url, durability, start = sys.argv[1], sys.argv[2], sys.argv[3]
ledger = Ledger(Database.open(url), FlatPrices(), durability=durability)
print("open", flush=True)
for number in itertools.count():
    ledger.record("m", Usage(input_tokens=number), request_id=f"{start}-{number}", user=f"u{number % 50}", tags={"t": str(number % 3)})
    if durability == "sync":
        print(number, flush=True)
    elif number % 500 == 499:
        assert ledger.flush()
        print(number, flush=True)
"""


@pytest.mark.stress
@pytest.mark.parametrize("durability", ["batched", "sync"])
@pytest.mark.parametrize("writers", [1, 2])
def test_a_killed_writer_leaves_a_whole_database(tmp_path: Path, durability: str, writers: int) -> None:
    path = tmp_path / "killed.db"
    chance = random.Random(f"{durability}{writers}")
    promised: dict[str, int] = {}
    for round_number in range(_ROUNDS):
        names = [f"{round_number}.{writer}" for writer in range(writers)]
        processes = [
            subprocess.Popen([sys.executable, "-c", _WRITES_FOR_EVER, str(path), durability, name], stdout=subprocess.PIPE, text=True)
            for name in names
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            if not promised:
                promised[names[0]] = int(process.stdout.readline())  # however slow the machine is
        time.sleep(chance.uniform(0.05, 0.4))
        for process in processes:
            process.send_signal(signal.SIGKILL)
        for name, process in zip(names, processes, strict=True):
            said = process.communicate(timeout=120)[0].splitlines()
            assert process.returncode == -signal.SIGKILL
            if said and said[-1].isdigit():
                promised[name] = int(said[-1])
        _check(path, promised)
    with Database.open(path) as database:
        assert stored_sums(database) == sums_over_rows(database)


def _check(path: Path, promised: dict[str, int]) -> None:
    with Database.open(path) as database:
        with database.read() as connection:
            assert connection.execute(text("PRAGMA integrity_check")).scalars().all() == ["ok"]
            found = set(connection.execute(text("SELECT request_id FROM llmthrift_calls")).scalars())
        missing = [f"{name}-{number}" for name, last in promised.items() for number in range(last + 1) if f"{name}-{number}" not in found]
        assert missing == []

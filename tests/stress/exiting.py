"""What the children of test_exits.py do. A module of its own: started by "spawn", a child imports little."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from llmthrift_core.ledger import Ledger
from llmthrift_core.storage import Database
from llmthrift_core.usage import Usage
from tests.core.ledger.prices import FlatPrices

ROWS = 300


def record_rows(path: Path) -> Ledger:
    """Record ROWS rows, and leave them in the queue."""
    ledger = Ledger(Database.open(path), FlatPrices())
    for _ in range(ROWS):
        ledger.record("m", Usage(input_tokens=1))
    return ledger


def end_normally(path: Path) -> None:
    record_rows(path)


def end_with_an_error(path: Path) -> None:
    record_rows(path)
    raise SystemExit(3)


def record_while_ending(path: Path) -> None:
    """The application's own finalizer runs first, and records too."""
    from multiprocessing.util import Finalize

    ledger = record_rows(path)
    Finalize(None, lambda: ledger.record("late", Usage(input_tokens=1)), exitpriority=0)


def be_terminated(path: Path) -> None:
    record_rows(path)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


def be_terminated_while_writing(path: Path, said: Any) -> None:
    """Writes in the main thread all the time, so that the signal comes in the middle of a transaction."""
    ledger = Ledger(Database.open(path), FlatPrices(), durability="sync")
    for number in range(1_000_000):
        ledger.record("m", Usage(input_tokens=1), request_id=str(number))
        said.send(number)


def be_terminated_with_a_handler(path: Path) -> None:
    """A handler of the application that calls the one before it, and then ends the process in its own way."""

    def handle(number: int, frame: Any) -> None:
        assert callable(before)
        before(number, frame)
        os._exit(7)

    record_rows(path)
    before = signal.signal(signal.SIGTERM, handle)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


def map_rows(path: Path) -> int:
    """A task of a pool: the ledger of the worker process stays open."""
    global _kept
    _kept = record_rows(path)
    return os.getpid()


_kept: Ledger | None = None

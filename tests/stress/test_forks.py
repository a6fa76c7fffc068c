"""Fork in the middle of other threads' work: the child runs, and can use the database."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import literal_column, select

from llmthrift_core.background.forks import ForkedLock
from llmthrift_core.cache.single_flight import Flights, whoami
from llmthrift_core.ledger import Ledger
from llmthrift_core.storage import Database
from llmthrift_core.storage.statements import Statement
from llmthrift_core.usage import Usage
from tests.core.ledger.prices import FlatPrices
from tests.long import LONG

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]
_ONE = Statement(select(literal_column("1")))
_FORKS = 40 if LONG else 12
_SECONDS = 60.0


def exit_code(work: Callable[[], bool]) -> int | None:
    """Of a forked child that does this; None if it hangs."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


@pytest.mark.stress
def test_children_that_are_forked_under_traffic_run_and_use_the_database(tmp_path: Path) -> None:
    with Database.open(tmp_path / "a.db") as database:
        ledger = Ledger(database, FlatPrices())
        ledger.record("m", Usage(input_tokens=1))
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set():
                ledger.output_sizes("m", features=None, most=10)
                database.fetch_all(_ONE)

        def write() -> None:
            while not stop.is_set():
                ledger.record("m", Usage(input_tokens=1), user="ada")
                ledger.flush()

        threads = [threading.Thread(target=work) for work in (read, read, read, write)]
        for thread in threads:
            thread.start()

        def use_it() -> bool:
            ledger.record("child", Usage(input_tokens=1))
            return ledger.flush(_SECONDS) and database.fetch_all(_ONE) == [(1,)]

        try:
            codes = [exit_code(lambda: True) for _ in range(_FORKS)]
            codes += [exit_code(use_it) for _ in range(_FORKS // 4)]
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert set(codes) == {0}
        ledger.flush()
        assert len(ledger.calls(model="child")) == _FORKS // 4
        ledger.close()


@pytest.mark.parametrize("write", [False, True])
def test_the_connection_of_a_thread_that_ended_is_closed_by_whoever_reads_in_a_new_thread_or_writes(tmp_path: Path, write: bool) -> None:
    def work(what: Callable[[], object]) -> None:
        thread = threading.Thread(target=what)
        thread.start()
        thread.join()

    with Database.open(tmp_path / "a.db") as database:
        ended = database._connected._ended  # type: ignore[union-attr]
        for _ in range(5):
            work(lambda: database.fetch_all(_ONE))
        (left,) = ended  # the others were closed by their followers
        if write:
            with database.transaction():
                pass
        else:
            reading, read = threading.Event(), threading.Event()
            thread = threading.Thread(target=lambda: (database.fetch_all(_ONE), reading.set(), read.wait(_SECONDS)))
            thread.start()
            assert reading.wait(_SECONDS)
        assert not ended
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            left.execute("SELECT 1")
        if not write:
            read.set()
            thread.join()


def test_a_child_finds_a_lock_free_that_another_thread_of_the_parent_holds() -> None:
    lock, entered, leave = ForkedLock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            entered.set()
            assert leave.wait(_SECONDS)

    thread = threading.Thread(target=hold)
    thread.start()
    assert entered.wait(_SECONDS)

    def take() -> bool:
        with lock:
            return True

    try:
        assert exit_code(take) == 0
        leave.set()
        with lock:
            assert exit_code(take) == 0  # forked inside the section
    finally:
        leave.set()
        thread.join()


def test_a_child_that_drops_its_parents_flight_waits_for_nobody() -> None:
    flights = Flights()
    flight = flights.join(b"key", whoami())
    condition = flight._done._condition  # type: ignore[union-attr]
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with condition:
            entered.set()
            assert leave.wait(_SECONDS)

    thread = threading.Thread(target=hold)
    thread.start()
    assert entered.wait(_SECONDS)

    def drop() -> bool:
        nonlocal flight
        flight = None
        return True

    try:
        assert exit_code(drop) == 0
    finally:
        leave.set()
        thread.join()

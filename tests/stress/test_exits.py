"""However a process ends that can still do something about it, what it recorded is there."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from llmthrift_core.ledger import Ledger
from llmthrift_core.storage import Database
from tests.core.ledger.prices import FlatPrices
from tests.stress import exiting
from tests.stress.exiting import ROWS

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="fork and SIGTERM"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]
_SECONDS = 120.0


@pytest.fixture(autouse=True)
def _default_sigterm() -> Iterator[None]:
    """The test's own process is as a program is that handles no signals."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def rows(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("SELECT count(*) FROM llmthrift_calls").fetchone()[0])
    finally:
        connection.close()


def run(method: str, target: Callable[..., None], *arguments: Any) -> int | None:
    """The exit code of a child."""
    child = multiprocessing.get_context(method).Process(target=target, args=arguments)  # type: ignore[attr-defined]
    child.start()
    child.join(_SECONDS)
    if child.is_alive():
        child.kill()
        child.join()
        pytest.fail("the child did not end")
    code: int | None = child.exitcode
    return code


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_child_of_multiprocessing_that_ends_has_written_its_rows(tmp_path: Path, method: str) -> None:
    assert run(method, exiting.end_normally, tmp_path / "a.db") == 0
    assert rows(tmp_path / "a.db") == ROWS


def test_a_child_that_exits_early_or_records_while_it_ends_has_written_its_rows(tmp_path: Path) -> None:
    assert run("fork", exiting.end_with_an_error, tmp_path / "a.db") == 3
    assert rows(tmp_path / "a.db") == ROWS
    assert run("fork", exiting.record_while_ending, tmp_path / "b.db") == 0
    assert rows(tmp_path / "b.db") == ROWS + 1


def test_the_workers_of_pools_have_written_their_rows(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    with fork.Pool(1) as pool:  # which ends its workers by SIGTERM
        assert pool.map_async(exiting.map_rows, [tmp_path / "a.db"] * 2).get(_SECONDS)
    pool.join()
    assert rows(tmp_path / "a.db") == 2 * ROWS
    with ProcessPoolExecutor(1, mp_context=fork) as executor:
        assert executor.submit(exiting.map_rows, tmp_path / "b.db").result(_SECONDS) != os.getpid()
    assert rows(tmp_path / "b.db") == ROWS


def test_a_terminated_process_writes_its_rows_and_dies_of_the_signal(tmp_path: Path) -> None:
    assert run("fork", exiting.be_terminated, tmp_path / "a.db") == -signal.SIGTERM
    assert rows(tmp_path / "a.db") == ROWS


def test_a_process_that_is_terminated_while_it_writes_dies_and_keeps_what_it_promised(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    fork = multiprocessing.get_context("fork")
    heard, said = fork.Pipe(duplex=False)
    child = fork.Process(target=exiting.be_terminated_while_writing, args=(path, said))
    child.start()
    said.close()
    assert heard.poll(_SECONDS)
    promised = heard.recv()
    child.terminate()
    try:
        while True:
            promised = heard.recv()
    except EOFError:
        pass
    child.join(_SECONDS)
    try:
        assert child.exitcode == -signal.SIGTERM
    finally:
        child.kill()
    assert rows(path) >= promised + 1


def test_a_handler_of_the_application_decides_and_may_call_the_one_before(tmp_path: Path) -> None:
    assert run("fork", exiting.be_terminated_with_a_handler, tmp_path / "a.db") == 7
    assert rows(tmp_path / "a.db") == ROWS


def test_a_handler_of_the_application_is_left_alone(tmp_path: Path) -> None:
    def handle(number: int, frame: Any) -> None: ...

    signal.signal(signal.SIGTERM, handle)
    with Database.open(tmp_path / "a.db") as database:
        Ledger(database, FlatPrices()).close()
    assert signal.getsignal(signal.SIGTERM) is handle


def test_the_signal_can_be_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMTHRIFT_FLUSH_ON_SIGTERM", "0")
    with Database.open(tmp_path / "a.db") as database:
        Ledger(database, FlatPrices()).close()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        monkeypatch.delenv("LLMTHRIFT_FLUSH_ON_SIGTERM")
        Ledger(database, FlatPrices()).close()
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL

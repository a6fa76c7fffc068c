"""Ways in which a store goes away: a file that is locked, write-protected or on a full disk, a server that is stopped or hangs."""

from __future__ import annotations

import itertools
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import llmthrift_core.budgets.settlements as settlements
import llmthrift_core.ledger.writer as writer
from llmthrift_core.ledger.ledger import Ledger
from llmthrift_core.storage.circuit import Circuit
from llmthrift_core.storage.sqlite_connection import SQLiteOpener
from tests.core.storage.backends import started_postgresql, started_valkey

_numbers = itertools.count(1)
BUSY_SECONDS = 0.2


@dataclass
class Outage:
    """How a store is opened, goes away and comes back.

    Attributes:
        options: for `Thrift`.
        begin, end: do nothing where it is away, or back, already.
        forgets: the store comes back empty.
        is_slow: beginning and ending it takes seconds, or each call that meets it.
    """

    options: dict[str, Any]
    begin: Callable[[], None]
    end: Callable[[], None]
    forgets: bool = False
    is_slow: bool = False


class Hanging:
    """Stops the processes of a server as a stalled disk or a dead network would: nothing answers, nothing is refused."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stopped: list[Any] = []

    def begin(self) -> None:
        import psutil

        if not self._stopped:
            server = psutil.Process(self._pid)
            self._stopped = [server, *server.children(recursive=True)]
            for process in self._stopped:
                process.send_signal(signal.SIGSTOP)

    def end(self) -> None:
        for process in self._stopped:
            process.send_signal(signal.SIGCONT)
        self._stopped = []


class Locked:
    """Another connection holds the write lock of an SQLite file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._holder: sqlite3.Connection | None = None

    def begin(self) -> None:
        if self._holder is None:
            self._holder = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=10)
            self._holder.execute("BEGIN IMMEDIATE")

    def end(self) -> None:
        if self._holder is not None:
            self._holder.execute("ROLLBACK")
            self._holder.close()
            self._holder = None


class WriteProtected:
    """No connection of this process may write any more: SQLite says what it says of a file system that became read-only."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._opened: list[sqlite3.Connection] = []
        self._is_away = False
        prepare = SQLiteOpener._prepare  # of writers

        def prepared(opener: SQLiteOpener, connection: sqlite3.Connection) -> None:
            prepare(opener, connection)
            self._opened.append(connection)

        monkeypatch.setattr(SQLiteOpener, "_prepare", prepared)

    def begin(self) -> None:
        self._set(True)

    def end(self) -> None:
        self._set(False)

    def _set(self, is_away: bool) -> None:
        if self._is_away is not is_away:
            self._is_away = is_away
            for connection in self._opened:
                with suppress(sqlite3.ProgrammingError):  # closed
                    connection.execute(f"PRAGMA query_only = {'ON' if is_away else 'OFF'}")


class Full:
    """The disk on which an SQLite file lies has no room left."""

    def __init__(self, folder: Path) -> None:
        self._filler = folder / "filler"

    def begin(self) -> None:
        with self._filler.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    def end(self) -> None:
        self._filler.unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A disk of 8 MB, where the process may mount one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


class Stopped:
    """A server is shut down, and started again."""

    def __init__(self, stop: Callable[[], None], start: Callable[[], None]) -> None:
        self._stop = stop
        self._start = start
        self._is_away = False

    def begin(self) -> None:
        if not self._is_away:
            self._is_away = True
            self._stop()

    def end(self) -> None:
        if self._is_away:
            self._start()
            self._is_away = False


@pytest.fixture(scope="session")
def own_postgresql() -> Iterator[Any]:
    """A PostgreSQL server that tests may stop."""
    with started_postgresql("stop") as server:
        yield server


@pytest.fixture(scope="session")
def own_valkey() -> Iterator[tuple[Any, str]]:
    """A Valkey server that tests may stop, and its URL."""
    with started_valkey() as server:
        yield server


def new_postgresql(server: Any) -> dict[str, Any]:
    """The options of a `Thrift` on an empty database of the server."""
    import psycopg

    url = server.get_uri()
    name = f"outage_{next(_numbers)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return {"url": url.replace("/postgres?", f"/{name}?")}


def _valkey(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, dict[str, Any]]:
    from llmthrift_core.storage.valkey import ValkeyServer

    server, url = request.getfixturevalue("own_valkey")
    with ValkeyServer(url) as connection:
        connection.ask("FLUSHALL")
    return server, {"url": tmp_path / "outage.db", "valkey_url": url}


def _impatient(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let what waits be tried again often, and a ledger that is closed not be waited for as long.

    Returns what ends the pauses of all circuits, after which a server is not asked.

    While a store is away, circuits pause as they always do.
    """
    for module in (settlements, writer):
        monkeypatch.setattr(module, "_LONGEST_PAUSE_SECONDS", 0.2)
    monkeypatch.setattr(Ledger.close, "__defaults__", (3.0,))
    circuits: list[Circuit] = []
    begin = Circuit.__init__

    def begun(self: Circuit, *args: Any, **options: Any) -> None:
        begin(self, *args, **options)
        circuits.append(self)

    monkeypatch.setattr(Circuit, "__init__", begun)

    def end_pauses() -> None:
        for circuit in circuits:
            with circuit._lock:
                if circuit._until is not None:
                    circuit._until = 0.0

    return end_pauses


@pytest.fixture
def outage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outage]:
    """The outage that the test's parameter names, ended afterwards."""
    kind, lasting = request.param, ExitStack()
    try_again = _impatient(monkeypatch)
    way: Hanging | Locked | Stopped | WriteProtected | Full
    options: dict[str, Any] = {"url": tmp_path / "outage.db"}
    if kind == "sqlite locked":
        way = Locked(tmp_path / "outage.db")
    elif kind == "sqlite read-only":
        way = WriteProtected(monkeypatch)
    elif kind == "sqlite full":
        lasting.enter_context(small_disk(tmp_path / "disk"))
        options["url"] = tmp_path / "disk" / "outage.db"
        way = Full(tmp_path / "disk")
    elif kind.startswith("postgresql"):
        server = request.getfixturevalue("own_postgresql")
        options = new_postgresql(server)
        way = Stopped(server.stop, server.start) if "stopped" in kind else Hanging(server.get_pid())
    else:
        server, options = _valkey(request, tmp_path)
        way = Stopped(server.stop, server.start) if "stopped" in kind else Hanging(server._process.pid)
    options["busy_timeout_seconds"] = BUSY_SECONDS

    def end() -> None:
        way.end()
        try_again()

    with lasting:
        yield Outage(options, way.begin, end, forgets=kind == "valkey stopped", is_slow="stopped" in kind or kind == "postgresql hangs")
        way.end()

"""Ways in which a store goes away and comes back: a locked file, a server that is stopped, one that hangs."""

from __future__ import annotations

import itertools
import signal
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

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
        is_slow: beginning and ending takes seconds.
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


@pytest.fixture
def outage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Outage]:
    """The outage that the test's parameter names, ended afterwards."""
    kind = request.param
    way: Hanging | Locked | Stopped
    if kind == "sqlite locked":
        options: dict[str, Any] = {"url": tmp_path / "outage.db"}
        way = Locked(tmp_path / "outage.db")
    elif kind.startswith("postgresql"):
        server = request.getfixturevalue("own_postgresql")
        options = new_postgresql(server)
        way = Stopped(server.stop, server.start) if "stopped" in kind else Hanging(server.get_pid())
    else:
        server, options = _valkey(request, tmp_path)
        way = Stopped(server.stop, server.start) if "stopped" in kind else Hanging(server._process.pid)
    options["busy_timeout_seconds"] = BUSY_SECONDS
    yield Outage(options, way.begin, way.end, forgets=kind == "valkey stopped", is_slow="stopped" in kind)
    way.end()

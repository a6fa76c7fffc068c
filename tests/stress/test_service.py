"""Two workers of the service on one database: killed under load, and ended under load."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmthrift_core import Thrift
from llmthrift_core.storage.database import Database
from llmthrift_core.testing import LoopbackProvider
from tests.core.ledger.sums import stored_sums, sums_over_rows

pytestmark = [pytest.mark.stress, pytest.mark.loopback]
_CONFIG = """
database = "calls.db"
durability = "{durability}"

[tiers.economy]
model = "openai:gpt-4o-mini"
base_url = "{url}"

[cache]
enabled = false
"""


class Load:
    """Clients that ask new questions until they are told to stop, or cannot connect any more."""

    def __init__(self, port: int, clients: int) -> None:
        self.answered: list[str] = []
        self.torn = 0
        self._port, self._ends = port, threading.Event()
        self._threads = [threading.Thread(target=self._ask_on, args=(number,)) for number in range(clients)]
        for thread in self._threads:
            thread.start()

    def until(self, answers: int) -> None:
        """Wait until so many answers came."""
        deadline = time.monotonic() + 60
        while len(self.answered) < answers:
            assert time.monotonic() < deadline, "the service does not answer"
            time.sleep(0.01)

    def end(self) -> None:
        """Stop, and wait."""
        self._ends.set()
        for thread in self._threads:
            thread.join(30)

    def _ask_on(self, client: int) -> None:
        number = 0
        while not self._ends.is_set():
            number += 1
            body = json.dumps({"model": "economy", "messages": [{"role": "user", "content": f"{client}: {number}"}]})
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
            try:
                connection.connect()
            except OSError:
                return
            try:
                connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
                answer = connection.getresponse()
                told = json.loads(answer.read())
                assert answer.status == 200, told
                self.answered.append(told["llmthrift"]["request_id"])
            except (OSError, http.client.HTTPException):
                self.torn += 1
                return
            finally:
                connection.close()


@contextmanager
def _service(folder: Path, provider: LoopbackProvider, durability: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    (folder / "llmthrift.toml").write_text(_CONFIG.format(durability=durability, url=provider.openai_url))
    command = [sys.executable, "-c", "from llmthrift_core.cli import main; main()", "serve", "--workers", "2", "--port", str(port)]
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, "OPENAI_API_KEY": "none"}, start_new_session=True)
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, "the service ended"
                assert time.monotonic() < deadline, "the service does not start"
                time.sleep(0.05)
        yield process, port
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


def test_what_was_answered_is_in_the_ledger_of_workers_that_were_killed(tmp_path: Path, provider: LoopbackProvider) -> None:
    with _service(tmp_path, provider, "sync") as (process, port):
        load = Load(port, 8)
        load.until(60)
        os.killpg(process.pid, signal.SIGKILL)
        load.end()
        process.wait(30)
    with Database.open(tmp_path / "calls.db") as database:
        assert not database.check().problems
        assert stored_sums(database) == sums_over_rows(database)
    with Thrift(tmp_path / "calls.db") as thrift:
        rows = [row.request_id for row in thrift.ledger.calls()]
        assert len(load.answered) >= 60
        assert len(set(rows)) == len(rows)
        assert set(load.answered) <= set(rows)
        # What was recorded and not told yet, at most one for each client.
        assert len(rows) - len(load.answered) <= 8


def test_workers_that_are_ended_answer_what_they_took(tmp_path: Path, provider: LoopbackProvider) -> None:
    with _service(tmp_path, provider, "batched") as (process, port):
        load = Load(port, 8)
        load.until(60)
        process.terminate()
        assert process.wait(60) in (0, -signal.SIGTERM)
        load.end()
    with Thrift(tmp_path / "calls.db") as thrift:
        assert sorted(row.request_id for row in thrift.ledger.calls()) == sorted(load.answered)

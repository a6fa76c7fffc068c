"""Shapes that nobody should send, and an upstream and a database that go away, against a real server on loopback."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient

from llmthrift_core import Budget, Thrift
from llmthrift_core.service import create_app
from llmthrift_core.testing import LoopbackProvider
from tests.contracts.outages import BUSY_SECONDS, WriteProtected
from tests.core.service.conftest import KINDS, app_of, backend_of

pytestmark = pytest.mark.loopback
FRANCE = {"prompt": "What is the capital of France?"}
HEAD = b"POST /v1/chat HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
HIDDEN = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with LoopbackProvider() as provider, Thrift(":memory:") as thrift:
        server = uvicorn.Server(uvicorn.Config(app_of(thrift, provider), host="127.0.0.1", port=0, log_level="critical"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
        server.should_exit = True
        thread.join()


def _said(port: int, sent: bytes) -> bytes:
    """All that the server says before it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(sent)
        said = b""
        while some := connection.recv(65_536):
            said += some
    return said


@pytest.mark.parametrize(
    "sent",
    [
        b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % (5 + len(HIDDEN)),
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}",
        b"Content-Length: +2\r\n\r\n{}",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"X-LLMThrift-User: a\x00b\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
def test_a_second_request_cannot_hide_in_a_first(port: int, sent: bytes) -> None:
    said = _said(port, HEAD + sent + HIDDEN)
    assert said.startswith(b"HTTP/1.1 400")
    assert said.count(b"HTTP/1.1 ") == 1


def test_a_body_above_ten_megabytes_is_refused_unread(port: int) -> None:
    said = _said(port, HEAD + b"Connection: close\r\nContent-Length: 10000001\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 413")
    assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_too_large"


def test_what_is_no_request_is_refused_in_openais_shape(client: TestClient) -> None:
    bodies = [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 50_000, b'{"prompt": NaN}', b'{"prompt": "a"} {}', b'{"colour": 1}']
    for path in ("/v1/chat", "/v1/chat/completions", "/v1/embeddings", "/v1/estimate"):
        for body in bodies:
            refused = client.post(path, content=body, headers={"content-type": "application/json"})
            assert (path, body[:20], refused.status_code) == (path, body[:20], 400)
            assert refused.json()["error"]["type"] == "invalid_request_error"


def test_names_cannot_add_headers_or_lines(client: TestClient, thrift: Thrift) -> None:
    evil = "ada\r\nSet-Cookie: a=b\x1b[31m"
    told = client.post("/v1/chat", json={**FRANCE, "user": evil, "metadata": {"team\n": evil}})
    refused = client.post("/v1/chat", json={**FRANCE, "model": evil})
    (row,) = thrift.ledger.calls()
    assert (row.user, dict(row.tags)) == ("adaSet-Cookie: a=b[31m", {"team": "adaSet-Cookie: a=b[31m"})
    assert refused.status_code == 404
    for answer in (told, refused):
        assert "set-cookie" not in answer.headers
        assert "Set-Cookie" not in str(answer.headers)


@contextmanager
def _dying() -> Iterator[str]:
    """A provider that sends two pieces of a stream, and hangs up."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for text in ("Par", "is"):
                choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
                chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini", "choices": [choice]}
                data = f"data: {json.dumps(chunk)}\n\n".encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("way", ["langchain", "llamaindex", "direct"])
def test_an_upstream_that_dies_in_a_stream_is_told_and_settled(thrift: Thrift, way: str) -> None:
    thrift.budgets.add(Budget(limit_usd=1, window="day"))
    asked = {"model": "economy", "messages": [{"role": "user", "content": "Which?"}], "stream": True}
    with _dying() as url:
        backend = backend_of(way, thrift, url)
        with TestClient(create_app(thrift, backend=backend)) as client:
            events = [line[6:] for line in client.post("/v1/chat/completions", json=asked).text.splitlines() if line]
    assert events[-1] == "[DONE]"
    assert json.loads(events[-2])["error"]["code"] == "upstream"
    texts = [json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events[:-2]]
    assert "".join(texts) == "Paris"
    (row,) = thrift.ledger.calls()
    assert row.error is not None
    assert row.cost_usd > 0
    assert thrift.budgets.status()[0]["reserved"] == 0


@pytest.mark.parametrize("kind", KINDS, indirect=True)
def test_a_database_that_goes_away(provider: LoopbackProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away = WriteProtected(monkeypatch)
    with Thrift(tmp_path / "calls.db", busy_timeout_seconds=BUSY_SECONDS) as thrift, TestClient(app_of(thrift, provider)) as client:
        client.post("/v1/chat", json=FRANCE).raise_for_status()
        thrift.flush()
        away.begin()
        told = client.post("/v1/chat", json={"prompt": "And of Spain?"})  # without a budget, calls go on
        away.end()
        thrift.budgets.add(Budget(limit_usd=1, window="day"))
        away.begin()
        refused = client.post("/v1/chat", json={"prompt": "And of Italy?"})
        away.end()
    assert told.status_code == 200
    assert (refused.status_code, refused.headers["retry-after"], refused.json()["error"]["code"]) == (503, "5", "storage")
    assert "sqlite" not in refused.text.lower()
    assert str(tmp_path) not in refused.text
    with Thrift(tmp_path / "calls.db") as thrift:
        assert sum(row.error is None for row in thrift.ledger.calls()) == 2  # what was called meanwhile is not lost

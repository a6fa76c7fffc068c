"""What real clients send, caught by a server that refuses everything, beside the keys under which their answers would be kept."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from llmthrift_core import Thrift
from llmthrift_core.cache.keys import relevant_headers

_REFUSAL = json.dumps({"error": {"message": "refused", "type": "invalid_request_error", "code": 400}, "message": "refused"}).encode()
# How a request is carried, by which client, and whether its answer comes in pieces.
_CARRIAGE = {
    "host", "accept", "accept-encoding", "connection", "content-length", "content-type", "x-goog-api-client", "amz-sdk-request",
    "amz-sdk-invocation-id", "x-amzn-bedrock-accept", "transfer-encoding", "expect", "x-amz-content-sha256", "x-server-timeout",
}  # fmt: skip
_WHOLE = re.compile(r":?streamGenerateContent|:?generateContent|\?alt=sse|-stream$")  # a path says whether the answer comes in pieces
_PIECES = {"stream", "stream_options"}


@dataclass
class Wire:
    """The server: its address, and what was sent since it was last asked."""

    url: str
    requests: list[Any] = field(default_factory=list)

    def taken(self) -> str:
        """Everything that was sent, as text."""
        taken, self.requests = self.requests, []
        return json.dumps(taken, sort_keys=True)


@contextmanager
def wire() -> Iterator[Wire]:
    """A server that writes down every request, and refuses it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # headers and body in one packet

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

        def handle_expect_100(self) -> bool:
            going_on = super().handle_expect_100()
            self.wfile.flush()
            return going_on

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            body = {name: value for name, value in body.items() if name not in _PIECES and value is not None}
            headers = {name: value for name, value in relevant_headers(dict(self.headers)).items() if name not in _CARRIAGE}
            path = (
                self.path.replace("streamGenerateContent", "generateContent").replace("?alt=sse", "").replace("converse-stream", "converse")
            )
            found.requests.append([path, body, headers])
            self.send_response(400)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(_REFUSAL)))
            self.end_headers()
            self.wfile.write(_REFUSAL)
            self.wfile.flush()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    found = Wire(f"http://127.0.0.1:{server.server_address[1]}")
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


class Keys:
    """Which key each call has: every lookup is written down, and is a miss."""

    def __init__(self, thrift: Thrift) -> None:
        self._seen: list[bytes] = []
        thrift.cache.lookup = self._miss  # type: ignore[method-assign]

    def _miss(self, key: bytes, policy: Any, **options: Any) -> None:
        self._seen.append(key)

    def taken(self) -> tuple[bytes, ...]:
        """The keys since it was last asked."""
        taken, self._seen = tuple(self._seen), []
        return tuple(dict.fromkeys(taken))


class Book:
    """What the calls of one client sent, and under which keys."""

    def __init__(self, server: Wire, keys: Keys) -> None:
        self._server = server
        self._keys = keys
        self._sent_under: dict[tuple[bytes, ...], tuple[Any, str]] = {}
        self._key_of: dict[tuple[Hashable, str], tuple[Any, tuple[bytes, ...]]] = {}

    @property
    def requests(self) -> int:
        """How many different requests were sent."""
        return len({sent for _, sent in self._sent_under.values()})

    def enter(self, name: Any, call: Callable[[], Any], alike: Hashable) -> None:
        """Make a call, which the server refuses, and compare it with all before.

        Args:
            alike: calls of which this is equal share a key where they send the same; None is equal to nothing.
        """
        self._keys.taken()
        self._server.taken()
        try:
            call()
        except Exception as error:  # the server's refusal, or the client's own
            _ = error
        sent, key = self._server.taken(), self._keys.taken()
        if sent == "[]":  # the client refused it itself
            return
        assert key, f"{name} has no key"
        one, earlier = self._sent_under.setdefault(key, (name, sent))
        assert earlier == sent, f"one key for what differs: {one} and {name}"
        if alike is not None:
            one, first = self._key_of.setdefault((alike, sent), (name, key))
            assert first == key, f"two keys for the same: {one} and {name}"

"""What real clients send, caught by a server that refuses everything, beside the keys under which their answers would be kept."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from llmthrift_core import Thrift
from llmthrift_core.cache.parameters import relevant_headers

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

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

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


@dataclass(frozen=True)
class Case:
    """A call, what it sent and the key that it had. `sent` is "[]" where the client refused it itself."""

    name: str
    sent: str
    key: tuple[bytes, ...]


def called(name: str, call: Callable[[], Any], server: Wire, keys: Keys) -> Case:
    """Make a call, which the server refuses."""
    keys.taken()
    server.taken()
    try:
        call()
    except Exception as error:  # the server's refusal, or the client's own
        _ = error
    return Case(name, server.taken(), keys.taken())


def compared(cases: list[Case]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Pairs that share a key and differ in what is sent; and pairs that do not share one, and send the same."""
    sent = [case for case in cases if case.sent != "[]" and case.key]
    wrong, missed = [], []
    for place, one in enumerate(sent):
        for other in sent[place + 1 :]:
            if one.key == other.key and one.sent != other.sent:
                wrong.append((one.name, other.name))
            elif one.key != other.key and one.sent == other.sent:
                missed.append((one.name, other.name))
    return wrong, missed

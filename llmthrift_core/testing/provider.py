"""The loopback provider: one HTTP server that speaks the OpenAI and the Anthropic format."""

from __future__ import annotations

import itertools
import json
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from llmthrift_core.testing import anthropic_wire, openai_wire
from llmthrift_core.testing.answers import Answer, Question, count_tokens, derive

# Providers answer an alias with the snapshot that it stands for.
SNAPSHOTS: Mapping[str, str] = {
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
}
_PIECES = re.compile(r"\S+\s*|\s+")


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request as it arrived. Headers are not kept: they carry keys."""

    path: str
    body: Mapping[str, Any]
    at: float


@dataclass(frozen=True, slots=True)
class Billed:
    """What the provider counted for one request."""

    model: str
    input_tokens: int
    output_tokens: int
    stream: bool


@dataclass(slots=True)
class _Failure:
    status: int
    left: int
    retry_after: float | None
    message: str
    model: str | None


class LoopbackProvider:
    """An OpenAI- and Anthropic-compatible provider on 127.0.0.1.

    Args:
        answerer: from a Question to an Answer, a text, or None for an answer derived from the request.
        latency_seconds: from a model's name to the seconds that it takes to answer.
        snapshots: alias -> the model name in the response.

    Attributes:
        requests: what arrived.
        usage_log: what was billed.
    """

    def __init__(
        self,
        answerer: Callable[[Question], Answer | str | None] | None = None,
        *,
        latency_seconds: Callable[[str], float] | None = None,
        snapshots: Mapping[str, str] = SNAPSHOTS,
    ) -> None:
        self.answerer = answerer
        self.latency_seconds = latency_seconds
        self.requests: list[ReceivedRequest] = []
        self.usage_log: list[Billed] = []
        self._snapshots = snapshots
        self._failures: deque[_Failure] = deque()
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="loopback-provider", daemon=True
        )

    @property
    def openai_url(self) -> str:
        """The base URL for OpenAI clients."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def anthropic_url(self) -> str:
        """The base URL for Anthropic clients."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def fail_next(
        self,
        *,
        status: int,
        times: int = 1,
        retry_after: float | None = None,
        message: str | None = None,
        model: str | None = None,
    ) -> None:
        """Answer the next requests (of one model, if given) with an error."""
        with self._lock:
            self._failures.append(_Failure(status, times, retry_after, message or f"failure {status} as asked for", model))

    def reset(self) -> None:
        """Forget requests, bills, failures and scripts."""
        with self._lock:
            self.requests = []
            self.usage_log = []
            self._failures.clear()
            self.answerer = None
            self.latency_seconds = None

    def close(self) -> None:
        """Stop the server and close every connection."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # --- for the request handler ---

    def failure_for(self, model: str) -> _Failure | None:
        """The failure that this request is to meet."""
        with self._lock:
            for failure in self._failures:
                if failure.model is None or failure.model == model:
                    failure.left -= 1
                    if failure.left <= 0:
                        self._failures.remove(failure)
                    return failure
        return None

    def receive(self, path: str, body: Mapping[str, Any]) -> str:
        """Note a request; its identity."""
        with self._lock:
            self.requests.append(ReceivedRequest(path, body, time.time()))
            return f"{next(self._numbers):08x}"

    def bill(self, model: str, sent: int, received: int, *, stream: bool) -> None:
        """Note what was counted."""
        with self._lock:
            self.usage_log.append(Billed(model, sent, received, stream))

    def snapshot(self, model: str) -> str:
        """The name in the response."""
        return self._snapshots.get(model, model)

    def answer(self, question: Question) -> Answer:
        """What to say, after the model's latency."""
        if self.latency_seconds is not None and (seconds := self.latency_seconds(question.model)) > 0:
            time.sleep(seconds)
        given = self.answerer(question) if self.answerer is not None else None
        if given is None:
            return derive(question)
        return Answer(given) if isinstance(given, str) else given


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, provider: LoopbackProvider) -> None:
        self.provider = provider
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may leave in the middle of a stream."""

    def server_close(self) -> None:
        super().server_close()
        for connection in list(self._open):
            self.shutdown_request(connection)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on standard error."""

    def do_GET(self) -> None:
        if self.path.rstrip("/").endswith("/models"):
            models = [{"id": name, "object": "model", "created": 0, "owned_by": "loopback"} for name in SNAPSHOTS]
            self._send(200, {"object": "list", "data": models})
        else:
            self._send(404, openai_wire.error(404, f"no such path: {self.path}", "not_found"))

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        provider = self.server.provider
        path = self.path.split("?")[0].rstrip("/")
        is_anthropic = path.endswith("/messages")
        try:
            body = json.loads(raw)
            model = str(body["model"])
        except (ValueError, KeyError, TypeError):
            self._send(400, openai_wire.error(400, "the body must be JSON with a model", "invalid_request_error"))
            return
        identity = provider.receive(path, body)
        if (failure := provider.failure_for(model)) is not None:
            self._fail(failure, is_anthropic=is_anthropic)
            return
        try:
            if path.endswith("/chat/completions"):
                self._chat(identity, body)
            elif path.endswith("/completions"):
                self._completion(identity, body)
            elif path.endswith("/embeddings"):
                made, tokens = openai_wire.embeddings(body, model)
                provider.bill(model, tokens, 0, stream=False)
                self._send(200, made)
            elif is_anthropic:
                self._anthropic(identity, body)
            else:
                self._send(404, openai_wire.error(404, f"no such path: {path}", "not_found"))
        except (KeyError, TypeError, ValueError) as error:
            self._send(400, openai_wire.error(400, f"malformed request: {type(error).__name__}: {error}", "invalid_request_error"))

    def _chat(self, identity: str, body: Mapping[str, Any]) -> None:
        question = openai_wire.read_chat(body)
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        answer, finish = self._answered(question, limit, body.get("stop"))
        sent, received = _counted(question, answer)
        used = openai_wire.usage(sent, received, answer)
        model, created = self.server.provider.snapshot(question.model), int(time.time())
        self.server.provider.bill(model, sent, received, stream=bool(body.get("stream")))
        reason = "tool_calls" if answer.tool_calls else finish
        if not body.get("stream"):
            self._send(200, openai_wire.chat_answer(identity, model, created, answer, reason, used))
            return
        with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        chunks = openai_wire.chat_stream(
            identity, model, created, answer, reason, used, _PIECES.findall(answer.text), with_usage=with_usage
        )
        self._stream(itertools.chain((f"data: {json.dumps(chunk)}\n\n" for chunk in chunks), ("data: [DONE]\n\n",)))

    def _completion(self, identity: str, body: Mapping[str, Any]) -> None:
        question = openai_wire.read_completion(body)
        answer, finish = self._answered(question, body.get("max_tokens"), body.get("stop"))
        sent, received = _counted(question, answer)
        model = self.server.provider.snapshot(question.model)
        self.server.provider.bill(model, sent, received, stream=False)
        used = openai_wire.usage(sent, received, answer)
        self._send(200, openai_wire.completion_answer(identity, model, int(time.time()), answer, finish, used))

    def _anthropic(self, identity: str, body: Mapping[str, Any]) -> None:
        question = anthropic_wire.read(body)
        answer, finish = self._answered(question, body.get("max_tokens"), body.get("stop_sequences"))
        sent, received = _counted(question, answer)
        used = anthropic_wire.usage(sent, received, answer)
        reason = "tool_use" if answer.tool_calls else {"stop": "end_turn", "length": "max_tokens"}[finish]
        self.server.provider.bill(question.model, sent, received, stream=bool(body.get("stream")))
        if not body.get("stream"):
            self._send(200, anthropic_wire.whole(identity, question.model, answer, reason, used))
            return
        events = anthropic_wire.stream(identity, question.model, answer, reason, used, _PIECES.findall(answer.text))
        self._stream(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)

    def _answered(self, question: Question, max_tokens: int | None, stop: str | Sequence[str] | None) -> tuple[Answer, str]:
        answer, finish = self.server.provider.answer(question), "stop"
        text = answer.text
        for sequence in (stop,) if isinstance(stop, str) else stop or ():
            text = text.split(sequence, 1)[0]
        if max_tokens is not None and count_tokens(text) > max_tokens:
            kept = itertools.islice(re.finditer(r"\w+|[^\w\s]", text), max_tokens)
            text, finish = text[: max((match.end() for match in kept), default=0)], "length"
        if text == answer.text:
            return answer, finish
        return Answer(text, answer.tool_calls, answer.cached_tokens, answer.reasoning_tokens), finish

    def _fail(self, failure: _Failure, *, is_anthropic: bool) -> None:
        kind = {429: "rate_limit_exceeded", 400: "invalid_request_error", 401: "invalid_api_key"}.get(failure.status, "server_error")
        body = anthropic_wire.error(failure.message, kind) if is_anthropic else openai_wire.error(failure.status, failure.message, kind)
        headers = {} if failure.retry_after is None else {"Retry-After": str(failure.retry_after)}
        self._send(failure.status, body, headers)

    def _send(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} Loopback", "Content-Type: application/json", f"Content-Length: {len(data)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self._write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)

    def _stream(self, events: Iterator[str]) -> None:
        if not self._write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"):
            return
        for event in events:
            data = event.encode()
            if not self._write(b"%x\r\n%s\r\n" % (len(data), data)):
                return
        self._write(b"0\r\n\r\n")

    def _write(self, data: bytes) -> bool:
        try:
            self.wfile.write(data)
        except OSError:  # the client has left
            self.close_connection = True
            return False
        return True


def _counted(question: Question, answer: Answer) -> tuple[int, int]:
    sent = sum(count_tokens(text) + 3 for _, text in question.messages) + sum(
        count_tokens(name + json.dumps(schema)) for name, schema in question.tools.items()
    )
    calls = sum(count_tokens(call.name + json.dumps(dict(call.arguments))) for call in answer.tool_calls)
    return sent, count_tokens(answer.text) + calls + answer.reasoning_tokens

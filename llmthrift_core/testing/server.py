"""The HTTP side of the loopback provider: paths, bodies, streams and errors."""

from __future__ import annotations

import itertools
import json
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Protocol
from uuid import uuid4

from llmthrift_core.testing import anthropic_wire, bedrock_wire, google_wire, openai_wire, responses_wire
from llmthrift_core.testing.answers import TOKEN, Answer, Question, count_exchange, count_tokens
from llmthrift_core.testing.batch_desk import BatchDesk
from llmthrift_core.testing.batch_wire import is_of_batches, reply_to
from llmthrift_core.testing.google_caches import GoogleCaches
from llmthrift_core.testing.prompt_caches import Cached, PromptCaches

_KINDS: Final[Mapping[int, str]] = {400: "invalid_request_error", 401: "invalid_api_key", 404: "not_found", 429: "rate_limit_exceeded"}
# Anthropic names its errors differently, and overload is a status of its own.
_ANTHROPIC_KINDS: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}
_ANTHROPIC_REASONS: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class ScriptError(Exception):
    """A script raised; its own error is the cause."""


class Failing(Protocol):
    """An error that requests meet."""

    status: int
    retry_after: float | None
    message: str
    error_type: str | None


class Provider(Protocol):
    """What answers the requests that the server takes."""

    @property
    def models(self) -> Any: ...

    @property
    def batches(self) -> BatchDesk: ...

    @property
    def google_caches(self) -> GoogleCaches: ...

    @property
    def prompt_caches(self) -> PromptCaches | None: ...

    def receive(self, path: str, body: Mapping[str, Any], *, has_key: bool) -> str: ...

    def failure_for(self, model: str) -> Failing | None: ...

    def snapshot(self, model: str) -> str: ...

    def bill(self, model: str, sent: int, received: int, *, stream: bool, batch: bool = False) -> None: ...

    def answer(self, question: Question) -> Answer: ...


class Server(ThreadingHTTPServer):
    """One thread for each connection, on a free port of 127.0.0.1."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, provider: Provider) -> None:
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
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on standard error."""

    def do_GET(self) -> None:
        if is_of_batches(self.path):
            self._batches(None)
        elif self.path.split("?")[0].rstrip("/").endswith("/models"):
            names = self.server.provider.models
            models = [{"id": name, "object": "model", "created": 0, "owned_by": "loopback"} for name in names]
            self._send(200, {"object": "list", "data": models})
        elif not self._caches("GET", {}):
            self._refuse(404, f"no such path: {self.path}")

    def do_DELETE(self) -> None:
        if is_of_batches(self.path):
            self._batches(None)
        elif not self._caches("DELETE", {}):
            self._refuse(404, f"no such path: {self.path}")

    def do_PATCH(self) -> None:
        if not self._caches("PATCH", json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")):
            self._refuse(404, f"no such path: {self.path}")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length") or ""
        if not length.isdecimal():
            self.close_connection = True  # where the body ends is unknown
            self._refuse(411, "a request needs a Content-Length")
            return
        raw = self.rfile.read(int(length))
        if is_of_batches(self.path):
            self._batches(raw)
            return
        path = self.path.split("?")[0].rstrip("/")
        if google_wire.CACHES.search(path) and self._caches("POST", json.loads(raw)):
            return
        answer = next((method for end, method in _ROUTES.items() if path.endswith(end)), None)
        if answer is None:
            self._refuse(404, f"no such path: {path}")
            return
        try:
            body = json.loads(raw)
            if (named := bedrock_wire.model_in(path) or google_wire.model_in(path)) is not None:
                body["model"] = named
            model = str(body["model"])
        except (ValueError, KeyError, TypeError):
            self._refuse(400, "the body must be JSON with a model")
            return
        has_key = bool(self.headers.get("Authorization") or self.headers.get("x-api-key"))
        identity = self.server.provider.receive(path, body, has_key=has_key)
        if (failure := self.server.provider.failure_for(model)) is not None:
            self._fail(failure)
            return
        try:
            answer(self, identity, body)
        except ScriptError as error:
            cause = error.__cause__
            self._refuse(500, f"the answerer raised {type(cause).__name__}: {cause}")
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            self._refuse(400, f"malformed request: {type(error).__name__}: {error}")

    def _batches(self, raw: bytes | None) -> None:
        """The batch APIs. `fail_next(model="batches")` fails a submission."""
        provider, path = self.server.provider, self.path.split("?")[0].rstrip("/")
        kind = self.headers.get("Content-Type") or ""
        try:
            body: Any = (kind, raw) if kind.startswith("multipart/") else json.loads(raw) if raw else None
            if raw is not None:
                has_key = bool(self.headers.get("Authorization") or self.headers.get("x-api-key"))
                provider.receive(path, body if isinstance(body, dict) else {}, has_key=has_key)
            if raw is not None and path.endswith("/batches") and (failure := provider.failure_for("batches")) is not None:
                self._fail(failure)
                return
            reply = reply_to(provider.batches, self.command, self.path, body, f"http://127.0.0.1:{self.server.server_port}")
        except KeyError as error:
            self._refuse(404, f"there is no {error.args[0] if error.args else path}")
        except (ValueError, TypeError) as error:
            self._refuse(400, str(error))
        else:
            if reply.is_lost:
                self.close_connection = True
                return
            if isinstance(reply.body, bytes):
                lines = [f"HTTP/1.1 {reply.status} Loopback", "Content-Type: application/binary", f"Content-Length: {len(reply.body)}"]
                self._write("\r\n".join(lines).encode() + b"\r\n\r\n" + reply.body)
            else:
                self._send(reply.status, reply.body)

    def _chat(self, identity: str, body: Mapping[str, Any]) -> None:
        question = openai_wire.read_chat(body)
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        answer, finish = self._answered(question, limit, body.get("stop"))
        answer = self._cached(answer, lambda caches: caches.take_openai(body, question))
        sent, received = count_exchange(question, answer)
        answers = [answer] * int(body.get("n") or 1)
        used = openai_wire.usage(sent, received * len(answers), answers)
        head, logprobs = self._head("chatcmpl", identity, question), bool(body.get("logprobs"))
        self._bill(question, sent, received * len(answers), body)
        if body.get("stream"):
            with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
            chunks = openai_wire.chat_stream(head, answers, finish, used, with_usage=with_usage, logprobs=logprobs)
            self._stream_chunks(chunks)
        else:
            self._send(200, openai_wire.chat_answer(head, answers, finish, used, logprobs=logprobs))

    def _completion(self, identity: str, body: Mapping[str, Any]) -> None:
        questions = openai_wire.read_completion(body)
        count = int(body.get("n") or 1)
        sent = received = 0
        answers: list[tuple[Answer, str]] = []
        for question in questions:
            answer, finish = self._answered(question, body.get("max_tokens"), body.get("stop"))
            asked, said = count_exchange(question, answer)
            sent, received = sent + asked, received + said * count
            answers += [(answer, finish)] * count
        used = openai_wire.usage(sent, received, [answer for answer, _ in answers])
        head = self._head("cmpl", identity, questions[0])
        self._bill(questions[0], sent, received, body)
        if body.get("stream"):
            with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
            self._stream_chunks(openai_wire.completion_stream(head, answers, used, with_usage=with_usage))
        else:
            self._send(200, openai_wire.completion_answer(head, answers, used))

    def _responses(self, identity: str, body: Mapping[str, Any]) -> None:
        question = responses_wire.read(body)
        answer, finish = self._answered(question, body.get("max_output_tokens"), None)
        answer = self._cached(answer, lambda caches: caches.take_openai(body, question))
        sent, received = count_exchange(question, answer)
        used = responses_wire.usage(sent, received, answer)
        model = self.server.provider.snapshot(question.model)
        head = responses_wire.head(identity, model, int(time.time()), body)
        self._bill(question, sent, received, body)
        if body.get("stream"):
            self._stream_events(responses_wire.stream(head, answer, finish, used, openai_wire.pieces_of(answer.text)))
        else:
            self._send(200, responses_wire.whole(head, answer, finish, used))

    def _embeddings(self, identity: str, body: Mapping[str, Any]) -> None:
        made, tokens = openai_wire.embeddings(body, body["model"])
        self.server.provider.bill(body["model"], tokens, 0, stream=False)
        self._send(200, made)

    def _messages(self, identity: str, body: Mapping[str, Any]) -> None:
        question = anthropic_wire.read(body)
        answer, finish = self._answered(question, body.get("max_tokens"), body.get("stop_sequences"))
        answer = self._cached(answer, lambda caches: caches.take_anthropic(body))
        sent, received = count_exchange(question, answer)
        used = anthropic_wire.usage(sent, received, answer)
        reason = _ANTHROPIC_REASONS[finish]
        self._bill(question, sent, received, body)
        if body.get("stream"):
            pieces = openai_wire.pieces_of(answer.text)
            self._stream_events(anthropic_wire.stream(identity, question.model, answer, reason, used, pieces))
        else:
            message = anthropic_wire.whole(identity, question.model, answer, reason, used)
            caches = self.server.provider.prompt_caches
            if caches is not None and (told := caches.diagnose(message["id"], body)) is not None:
                message["diagnostics"] = told
            self._send(200, message)

    def _converse(self, identity: str, body: Mapping[str, Any]) -> None:
        question = bedrock_wire.read(body)
        limits = body.get("inferenceConfig") or {}
        answer, finish = self._answered(question, limits.get("maxTokens"), limits.get("stopSequences"))
        answer = self._cached(answer, lambda caches: caches.take_bedrock(body))
        sent, received = count_exchange(question, answer)
        used = bedrock_wire.usage(sent, received, answer)
        is_stream = self.path.endswith("converse-stream")
        self._bill(question, sent, received, {"stream": is_stream})
        if is_stream:
            events = bedrock_wire.stream(identity, answer, finish, used, openai_wire.pieces_of(answer.text))
            self._stream(events, "application/vnd.amazon.eventstream")
        else:
            self._send(200, bedrock_wire.whole(identity, answer, finish, used))

    def _generate(self, identity: str, body: Mapping[str, Any]) -> None:
        given, kept = self.server.provider.google_caches.take(body)
        question = google_wire.read(given)
        answer, finish = self._answered(question, (body.get("generationConfig") or {}).get("maxOutputTokens"), None)
        answer = replace(answer, cached_tokens=answer.cached_tokens or kept)
        sent, received = count_exchange(question, answer)
        used = google_wire.usage(sent, received, answer)
        is_stream = ":stream" in self.path
        self._bill(question, sent, received, {"stream": is_stream})
        if is_stream:
            events = google_wire.stream(identity, question.model, answer, finish, used, openai_wire.pieces_of(answer.text))
            self._stream(f"data: {json.dumps(event)}\r\n\r\n".encode() for event in events)
        else:
            self._send(200, google_wire.whole(identity, question.model, answer, finish, used))

    def _caches(self, method: str, body: Mapping[str, Any]) -> bool:
        """Answer a request about Gemini's explicit caches; whether it is one."""
        found = google_wire.CACHES.search(self.path.split("?")[0].rstrip("/"))
        if found is None:
            return False
        try:
            self._send(200, self.server.provider.google_caches.reply(method, found[1], body))
        except (KeyError, TypeError, ValueError) as error:
            self._refuse(404 if "not found" in str(error) else 400, str(error))
        return True

    def _count(self, identity: str, body: Mapping[str, Any]) -> None:
        sent, _ = count_exchange(anthropic_wire.read(body), Answer())
        self._send(200, {"input_tokens": sent})

    def _cached(self, answer: Answer, take: Callable[[PromptCaches], Cached]) -> Answer:
        """The answer with what the prompt cache had and took; what a script says of it stands."""
        caches = self.server.provider.prompt_caches
        if caches is None:
            return answer
        found = take(caches)
        if answer.cached_tokens or answer.cache_write_tokens:
            return answer
        return replace(answer, cached_tokens=found.read, cache_write_tokens=found.written, cache_write_1h_tokens=found.written_1h)

    def _answered(self, question: Question, max_tokens: int | None, stop: str | Sequence[str] | None) -> tuple[Answer, str]:
        """The answer as far as it goes, and why it ends: stop, length or tool_calls."""
        answer = self.server.provider.answer(question)
        if answer.tool_calls:
            return answer, "tool_calls"
        text, finish = answer.text, "stop"
        for sequence in (stop,) if isinstance(stop, str) else stop or ():
            text = text.split(sequence, 1)[0]
        if max_tokens is not None and count_tokens(text) > max_tokens:
            kept = itertools.islice(TOKEN.finditer(text), max_tokens)
            text, finish = text[: max((match.end() for match in kept), default=0)], "length"
        return replace(answer, text=text), finish

    def _head(self, prefix: str, identity: str, question: Question) -> Mapping[str, Any]:
        return {
            "id": f"{prefix}-{identity}",
            "created": int(time.time()),
            "model": self.server.provider.snapshot(question.model),
        }

    def _bill(self, question: Question, sent: int, received: int, body: Mapping[str, Any]) -> None:
        self.server.provider.bill(question.model, sent, received, stream=bool(body.get("stream")))

    def _fail(self, failure: Failing) -> None:
        headers = {} if failure.retry_after is None else {"Retry-After": str(failure.retry_after)}
        self._refuse(failure.status, failure.message, failure.error_type, headers)

    def _refuse(self, status: int, message: str, kind: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        if re.search(r"/messages(/count_tokens|/batches[^?]*)?/?(\?|$)", self.path):
            body = anthropic_wire.error(message, kind or _ANTHROPIC_KINDS.get(status, "api_error"))
        elif bedrock_wire.model_in(self.path.split("?")[0]) is not None:
            body = bedrock_wire.error(message)
        elif google_wire.model_in(self.path.split("?")[0]) is not None or google_wire.CACHES.search(self.path.split("?")[0]):
            body = google_wire.error(status, message)
        else:
            body = openai_wire.error(status, message, kind or _KINDS.get(status, "server_error"))
        self._send(status, body, headers)

    def _send(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} Loopback", "Content-Type: application/json", f"Content-Length: {len(data)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        lines += ["Connection: close"] if self.close_connection else []
        self._write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)

    def _stream_chunks(self, chunks: Iterator[Mapping[str, Any]]) -> None:
        self._stream(itertools.chain((f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks), (b"data: [DONE]\n\n",)))

    def _stream_events(self, events: Iterator[Mapping[str, Any]]) -> None:
        self._stream(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)

    def _stream(self, events: Iterator[bytes], content_type: str = "text/event-stream") -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
        if not self._write(head.encode()):
            return
        for data in events:
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


class Unsent(_Handler):
    """Answers a request of a batch: as a single call's, with no connection."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.sent: tuple[int, Mapping[str, Any]] = (404, {"error": {"message": "no such path"}})

    def ask(self, path: str, body: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
        """Status and body of the answer."""
        self.path = path
        answer = next((method for end, method in _ROUTES.items() if path.endswith(end)), None)
        if answer is not None:
            try:
                answer(self, uuid4().hex[:8], body)
            except ScriptError as error:
                self._refuse(500, f"the answerer raised {type(error.__cause__).__name__}: {error.__cause__}")
            except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
                self._refuse(400, f"malformed request: {type(error).__name__}: {error}")
        return self.sent

    def _send(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        self.sent = (status, body)

    def _bill(self, question: Question, sent: int, received: int, body: Mapping[str, Any]) -> None:
        self.server.provider.bill(question.model, sent, received, stream=False, batch=True)


# The end of the path decides; the longer of two that fit comes first.
_ROUTES: Final = {
    "/chat/completions": _Handler._chat,
    "/completions": _Handler._completion,
    "/responses": _Handler._responses,
    "/embeddings": _Handler._embeddings,
    "/messages/count_tokens": _Handler._count,
    "/messages": _Handler._messages,
    "/converse": _Handler._converse,
    "/converse-stream": _Handler._converse,
    ":generateContent": _Handler._generate,
    ":streamGenerateContent": _Handler._generate,
}

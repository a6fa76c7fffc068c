"""A server on loopback that answers every request with a given payload, and the payloads of the providers' APIs."""

from __future__ import annotations

import binascii
import json
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What the server says to everything."""

    body: bytes
    content_type: str = "application/json"


@contextmanager
def served(reply: Reply) -> Iterator[str]:
    """The address of a server that gives the reply."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            """Say nothing."""

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(200)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def whole(body: Any) -> Reply:
    """A JSON answer."""
    return Reply(json.dumps(body).encode())


def events(bodies: Sequence[Any], *, named: bool = False, done: bool = False) -> Reply:
    """A stream of server-sent events."""
    lines = [(f"event: {body['type']}\n" if named else "") + f"data: {json.dumps(body)}\n\n" for body in bodies]
    return Reply("".join([*lines, *(["data: [DONE]\n\n"] * done)]).encode(), "text/event-stream")


# --- chat completions ---


def chat(usage: Any, model: str, **more: Any) -> Reply:
    """A whole answer of a chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "All is fine."}, "finish_reason": "stop"}
    return whole({"id": "c", "object": "chat.completion", "created": 1, "model": model, "choices": [choice], "usage": usage, **more})


def chat_stream(model: str, *, each: Sequence[Any] = (), last: Any = None, pieces: int = 3, **finish: Any) -> Reply:
    """A stream of a chat completion.

    Args:
        each: the usage in each piece. last: the usage in a chunk of its own at the end.
        finish: fields of the chunk that has the reason for the end.
    """
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model}
    chunks: list[dict[str, Any]] = []
    for place in range(pieces):
        chunk = {**head, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "word "}, "finish_reason": None}]}
        chunks.append({**chunk, "usage": each[place]} if place < len(each) else chunk)
    chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], **finish})
    if last is not None:
        chunks.append({**head, "choices": [], "usage": last})
    return events(chunks, done=True)


# --- OpenAI's Responses API ---


def _response(usage: Any, model: str, outputs: Sequence[Any], more: dict[str, Any]) -> dict[str, Any]:
    text = {"type": "output_text", "text": "All is fine.", "annotations": []}
    message = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [text]}
    return {
        "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": model, "output": [*outputs, message],
        "error": None, "incomplete_details": None, "instructions": None, "metadata": {}, "parallel_tool_calls": True, "temperature": 1.0,
        "tool_choice": "auto", "tools": [], "top_p": 1.0, "usage": usage, **more,
    }  # fmt: skip


def responses(usage: Any, model: str, *, outputs: Sequence[Any] = (), **more: Any) -> Reply:
    """A whole answer of the Responses API."""
    return whole(_response(usage, model, outputs, more))


def responses_stream(usage: Any, model: str, *, outputs: Sequence[Any] = (), **more: Any) -> Reply:
    """A stream of the Responses API."""
    body = _response(usage, model, outputs, more)
    index = len(outputs)
    place = {"output_index": index, "content_index": 0, "item_id": "msg_1"}
    started: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**body, "status": "in_progress", "output": [], "usage": None}}
    ]
    for number, item in enumerate(outputs):
        started += [{"type": f"response.output_item.{step}", "output_index": number, "item": item} for step in ("added", "done")]
    message = body["output"][-1]
    started += [
        {"type": "response.output_item.added", "output_index": index, "item": {**message, "content": []}},
        {"type": "response.content_part.added", **place, "part": {"type": "output_text", "text": "", "annotations": []}},
        {"type": "response.output_text.delta", **place, "delta": "All is fine.", "logprobs": []},
        {"type": "response.output_item.done", "output_index": index, "item": message},
        {"type": "response.completed", "response": body},
    ]
    return events([{**event, "sequence_number": number} for number, event in enumerate(started)], named=True)


def web_search(number: int) -> dict[str, Any]:
    """A search among the outputs of the Responses API."""
    action = {"type": "search", "query": "x"}
    return {"type": "web_search_call", "id": f"ws_{number}", "status": "completed", "action": action}


def file_search(number: int) -> dict[str, Any]:
    """A search in stored files among the outputs of the Responses API."""
    return {"type": "file_search_call", "id": f"fs_{number}", "status": "completed", "queries": ["x"], "results": None}


# --- Anthropic ---


def messages(usage: Any, model: str, *, blocks: Sequence[Any] = ()) -> Reply:
    """A whole answer of Anthropic's.

    Args:
        blocks: content before the text.
    """
    head = {"id": "m", "type": "message", "role": "assistant", "model": model, "stop_sequence": None}
    return whole({**head, "content": [*blocks, {"type": "text", "text": "All is fine."}], "stop_reason": "end_turn", "usage": usage})


def messages_stream(start: Any, delta: Any, model: str) -> Reply:
    """A stream of Anthropic's, with the usage at its start and at its end."""
    head = {"id": "m", "type": "message", "role": "assistant", "model": model, "content": [], "stop_reason": None, "stop_sequence": None}
    pieces = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}} for text in ("All ", "is ", "fine.")
    ]
    return events(
        [
            {"type": "message_start", "message": {**head, "usage": start}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            *pieces,
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": delta},
            {"type": "message_stop"},
        ],
        named=True,
    )


def anthropic_search(number: int) -> list[dict[str, Any]]:
    """A search among the content of an Anthropic answer, with what it found."""
    found = {"type": "web_search_result", "title": "t", "url": "http://a", "encrypted_content": "e", "page_age": None}
    return [
        {"type": "server_tool_use", "id": f"srvtoolu_{number}", "name": "web_search", "input": {"query": "x"}},
        {"type": "web_search_tool_result", "tool_use_id": f"srvtoolu_{number}", "content": [found]},
    ]


# --- Google ---


def gemini(usage: Any, model: str, *, queries: Sequence[str] = ()) -> Reply:
    """A whole answer of Gemini's."""
    return whole(_gemini_chunk("All is fine.", usage, model, queries=queries, is_last=True))


def gemini_stream(usages: Sequence[Any], model: str, *, queries: Sequence[str] = ()) -> Reply:
    """A stream of Gemini's, with what was used so far in each chunk."""
    last = len(usages) - 1
    return events(
        [_gemini_chunk("word ", usage, model, queries=queries if n == last else (), is_last=n == last) for n, usage in enumerate(usages)]
    )


def _gemini_chunk(text: str, usage: Any, model: str, *, queries: Sequence[str], is_last: bool) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
    if is_last:
        candidate["finishReason"] = "STOP"
    if queries:
        candidate["groundingMetadata"] = {"webSearchQueries": list(queries)}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model, "responseId": "r"}


# --- Bedrock ---


def converse(usage: Any) -> Reply:
    """A whole answer of Bedrock's Converse API."""
    message = {"role": "assistant", "content": [{"text": "All is fine."}]}
    return whole({"output": {"message": message}, "stopReason": "end_turn", "usage": usage, "metrics": {"latencyMs": 1}})


def converse_stream(usage: Any) -> Reply:
    """A stream of Bedrock's Converse API, in AWS's event-stream encoding."""
    sent = [
        _event("messageStart", {"role": "assistant"}),
        *(_event("contentBlockDelta", {"delta": {"text": text}, "contentBlockIndex": 0}) for text in ("All ", "is ", "fine.")),
        _event("contentBlockStop", {"contentBlockIndex": 0}),
        _event("messageStop", {"stopReason": "end_turn"}),
        _event("metadata", {"usage": usage, "metrics": {"latencyMs": 1}}),
    ]
    return Reply(b"".join(sent), "application/vnd.amazon.eventstream")


def _event(kind: str, payload: Any) -> bytes:
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in ((":event-type", kind), (":content-type", "application/json"), (":message-type", "event"))
    )
    body = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    message = prelude + struct.pack(">I", binascii.crc32(prelude)) + headers + body
    return message + struct.pack(">I", binascii.crc32(message))

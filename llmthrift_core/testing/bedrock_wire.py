"""Bedrock's Converse format, whole and in AWS's event-stream encoding."""

from __future__ import annotations

import binascii
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

from llmthrift_core.testing.answers import Answer, Question

_REASONS: Final[Mapping[str, str]] = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def model_in(path: str) -> str | None:
    """The model that a path names; None for a path of another API.

    >>> model_in("/model/anthropic.claude-sonnet-4-5-v1%3A0/converse-stream")
    'anthropic.claude-sonnet-4-5-v1:0'
    """
    begin, _, end = path.rpartition("/")
    return unquote(begin.rpartition("/")[2]) if end in ("converse", "converse-stream") else None


def read(body: Mapping[str, Any]) -> Question:
    """A Converse request."""
    messages: list[tuple[str, str]] = []
    if body.get("system"):
        messages.append(("system", text_of(body["system"])))
    for message in body["messages"]:
        is_result = any("toolResult" in block for block in message["content"])
        messages.append(("tool" if is_result else message["role"], text_of(message["content"])))
    config = body.get("toolConfig") or {}
    specs = [tool["toolSpec"] for tool in config.get("tools") or () if "toolSpec" in tool]
    choice = config.get("toolChoice") or {}
    return Question(
        model=body["model"],
        messages=messages,
        tools={spec["name"]: (spec.get("inputSchema") or {}).get("json") or {} for spec in specs},
        tool_choice=choice["tool"]["name"] if "tool" in choice else "any" if "any" in choice else "auto",
    )


def text_of(blocks: Sequence[Mapping[str, Any]]) -> str:
    """The text of content blocks; the calls of an assistant and results of tools are part of it."""
    return "\n".join(text for block in blocks if (text := _text(block)))


def usage(sent: int, received: int, answer: Answer) -> dict[str, Any]:
    """The usage block: inputTokens excludes what was read from the cache or written to it."""
    details = {"5m": answer.cache_write_tokens - answer.cache_write_1h_tokens, "1h": answer.cache_write_1h_tokens}
    return {
        "inputTokens": sent - answer.cached_tokens - answer.cache_write_tokens,
        "outputTokens": received,
        "totalTokens": sent + received,
        "cacheReadInputTokens": answer.cached_tokens,
        "cacheWriteInputTokens": answer.cache_write_tokens,
        "cacheDetails": [{"ttl": life, "inputTokens": tokens} for life, tokens in details.items() if tokens],
    }


def whole(identity: str, answer: Answer, finish: str, used: Mapping[str, Any]) -> dict[str, Any]:
    """A whole answer."""
    return {
        "output": {"message": {"role": "assistant", "content": _blocks(identity, answer)}},
        "stopReason": _REASONS[finish],
        "usage": used,
        "metrics": {"latencyMs": 1},
    }


def stream(identity: str, answer: Answer, finish: str, used: Mapping[str, Any], pieces: Sequence[str]) -> Iterator[bytes]:
    """The events of a streamed answer, encoded."""
    yield _event("messageStart", {"role": "assistant"})
    for index, block in enumerate(_blocks(identity, answer)):
        at = {"contentBlockIndex": index}
        if "toolUse" in block:
            call = block["toolUse"]
            start = {"toolUse": {"toolUseId": call["toolUseId"], "name": call["name"]}}
            yield _event("contentBlockStart", {"start": start, **at})
            yield _event("contentBlockDelta", {"delta": {"toolUse": {"input": json.dumps(call["input"])}}, **at})
        else:
            for piece in pieces:
                yield _event("contentBlockDelta", {"delta": {"text": piece}, **at})
        yield _event("contentBlockStop", at)
    yield _event("messageStop", {"stopReason": _REASONS[finish]})
    yield _event("metadata", {"usage": used, "metrics": {"latencyMs": 1}})


def error(message: str) -> dict[str, Any]:
    """An error body."""
    return {"message": message}


def _blocks(identity: str, answer: Answer) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = [{"text": answer.text}] if answer.text or not answer.tool_calls else []
    for number, call in enumerate(answer.tool_calls):
        blocks.append({"toolUse": {"toolUseId": f"tooluse_{identity}_{number}", "name": call.name, "input": dict(call.arguments)}})
    return blocks


def _text(block: Mapping[str, Any]) -> str:
    if "text" in block:
        return str(block["text"])
    if "toolUse" in block:
        return str(block["toolUse"]["name"]) + json.dumps(block["toolUse"]["input"])
    if "toolResult" in block:
        return text_of(block["toolResult"]["content"])
    return json.dumps(block["json"]) if "json" in block else ""


def _event(kind: str, payload: Mapping[str, Any]) -> bytes:
    """A message of the event stream: lengths, their checksum, headers, the payload, and a checksum of it all."""
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in ((":event-type", kind), (":content-type", "application/json"), (":message-type", "event"))
    )
    body = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    message = prelude + struct.pack(">I", binascii.crc32(prelude)) + headers + body
    return message + struct.pack(">I", binascii.crc32(message))

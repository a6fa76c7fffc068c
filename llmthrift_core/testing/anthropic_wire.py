"""The Anthropic messages format."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmthrift_core.testing.answers import Answer, Question


def read(body: Mapping[str, Any]) -> Question:
    """A messages request."""
    messages: list[tuple[str, str]] = []
    if body.get("system"):
        messages.append(("system", text_of(body["system"])))
    for message in body["messages"]:
        content = message["content"]
        is_result = isinstance(content, list) and any(block.get("type") == "tool_result" for block in content)
        messages.append(("tool" if is_result else message["role"], text_of(content)))
    choice = body.get("tool_choice") or {"type": "auto"}
    form = (body.get("output_config") or {}).get("format") or {}
    return Question(
        model=body["model"],
        messages=messages,
        tools={tool["name"]: tool.get("input_schema") or {} for tool in body.get("tools") or ()},
        tool_choice=choice["name"] if choice["type"] == "tool" else choice["type"],
        schema=form.get("schema") if form.get("type") == "json_schema" else None,
    )


def usage(sent: int, received: int, answer: Answer) -> dict[str, Any]:
    """The usage block: input_tokens excludes what was read from the cache or written to it."""
    return {
        "input_tokens": sent - answer.cached_tokens - answer.cache_write_tokens,
        "output_tokens": received,
        "cache_read_input_tokens": answer.cached_tokens,
        "cache_creation_input_tokens": answer.cache_write_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": answer.cache_write_tokens - answer.cache_write_1h_tokens,
            "ephemeral_1h_input_tokens": answer.cache_write_1h_tokens,
        },
    }


def whole(identity: str, model: str, answer: Answer, finish: str, used: Mapping[str, Any]) -> dict[str, Any]:
    """A whole message."""
    return {
        "id": f"msg_{identity}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": _blocks(identity, answer),
        "stop_reason": finish,
        "stop_sequence": None,
        "usage": used,
    }


def stream(
    identity: str, model: str, answer: Answer, finish: str, used: Mapping[str, Any], pieces: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The events of a streamed message."""
    start = {**whole(identity, model, Answer(), finish, {**used, "output_tokens": 1}), "content": [], "stop_reason": None}
    yield {"type": "message_start", "message": start}
    yield {"type": "ping"}
    for index, block in enumerate(_blocks(identity, answer)):
        if block["type"] == "text":
            yield {"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}}
            for piece in pieces:
                yield {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": piece}}
        else:
            yield {"type": "content_block_start", "index": index, "content_block": {**block, "input": {}}}
            arguments = json.dumps(block["input"], ensure_ascii=False)
            half = len(arguments) // 2
            for part in ("", arguments[:half], arguments[half:]):
                yield {"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": part}}
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": {"stop_reason": finish, "stop_sequence": None}, "usage": used}
    yield {"type": "message_stop"}


def error(message: str, kind: str) -> dict[str, Any]:
    """An error body."""
    return {"type": "error", "error": {"type": kind, "message": message}}


def _blocks(identity: str, answer: Answer) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if answer.text:
        blocks.append({"type": "text", "text": answer.text})
    for index, call in enumerate(answer.tool_calls):
        blocks.append({"type": "tool_use", "id": f"toolu_{identity}_{index}", "name": call.name, "input": dict(call.arguments)})
    return blocks


def text_of(content: Any) -> str:
    """The text in a message's content."""
    if isinstance(content, str):
        return content
    return "\n".join(_block_text(block) for block in content)


def _block_text(block: Mapping[str, Any]) -> str:
    if block["type"] == "tool_use":
        return str(block["name"]) + json.dumps(block["input"])
    if block["type"] == "tool_result":
        return text_of(block.get("content") or "")
    return str(block.get("text") or block["type"])

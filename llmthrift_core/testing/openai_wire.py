"""The OpenAI chat completions, completions and embeddings formats."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from llmthrift_core.testing.answers import Answer, Question, count_tokens

_DIMENSIONS = 256


def read_chat(body: Mapping[str, Any]) -> Question:
    """A chat completions request."""
    tools = {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in body.get("tools") or ()}
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, Mapping):
        choice = choice["function"]["name"]
    form = body.get("response_format") or {}
    schema = None
    if form.get("type") == "json_schema":
        schema = form["json_schema"].get("schema") or {}
    elif form.get("type") == "json_object":
        schema = {}
    return Question(
        model=body["model"],
        messages=[(_ROLES.get(m["role"], m["role"]), text_of(m.get("content")) + _calls_of(m)) for m in body["messages"]],
        tools=tools,
        tool_choice="any" if choice == "required" else choice,
        schema=schema,
    )


def read_completion(body: Mapping[str, Any]) -> Question:
    """A legacy completions request."""
    prompt = body["prompt"]
    return Question(model=body["model"], messages=[("user", prompt if isinstance(prompt, str) else "\n".join(map(str, prompt)))])


def usage(sent: int, received: int, answer: Answer) -> dict[str, Any]:
    """The usage block."""
    return {
        "prompt_tokens": sent,
        "completion_tokens": received,
        "total_tokens": sent + received,
        "prompt_tokens_details": {
            "cached_tokens": answer.cached_tokens,
            "cache_write_tokens": 0,
            "audio_tokens": 0,
            "image_tokens": 0,
            "text_tokens": sent,
        },
        "completion_tokens_details": {
            "reasoning_tokens": answer.reasoning_tokens,
            "audio_tokens": 0,
            "text_tokens": received - answer.reasoning_tokens,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def chat_answer(identity: str, model: str, created: int, answer: Answer, finish: str, used: Mapping[str, Any]) -> dict[str, Any]:
    """A whole chat completion."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None, "refusal": None}
    if answer.tool_calls:
        message["tool_calls"] = [_tool_call(identity, index, call.name, call.arguments) for index, call in enumerate(answer.tool_calls)]
    return {
        "id": f"chatcmpl-{identity}",
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
        "usage": used,
        "system_fingerprint": "fp_loopback",
    }


def chat_stream(
    identity: str,
    model: str,
    created: int,
    answer: Answer,
    finish: str,
    used: Mapping[str, Any],
    pieces: Sequence[str],
    *,
    with_usage: bool,
) -> Iterator[dict[str, Any]]:
    """The chunks of a streamed chat completion."""

    def chunk(delta: Mapping[str, Any], reason: str | None = None) -> dict[str, Any]:
        made: dict[str, Any] = {
            "id": f"chatcmpl-{identity}",
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
            "system_fingerprint": "fp_loopback",
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}],
        }
        if with_usage:
            made["usage"] = None
        return made

    yield chunk({"role": "assistant", "content": ""})
    for piece in pieces:
        yield chunk({"content": piece})
    for index, call in enumerate(answer.tool_calls):
        whole = _tool_call(identity, index, call.name, call.arguments)
        arguments = whole["function"]["arguments"]
        yield chunk({"tool_calls": [{"index": index, **whole, "function": {"name": call.name, "arguments": ""}}]})
        half = len(arguments) // 2
        for part in (arguments[:half], arguments[half:]):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
    yield chunk({}, finish)
    if with_usage:
        yield {**chunk({}), "choices": [], "usage": used}


def completion_answer(identity: str, model: str, created: int, answer: Answer, finish: str, used: Mapping[str, Any]) -> dict[str, Any]:
    """A whole legacy completion."""
    return {
        "id": f"cmpl-{identity}",
        "object": "text_completion",
        "created": created,
        "model": model,
        "choices": [{"index": 0, "text": answer.text, "finish_reason": finish, "logprobs": None}],
        "usage": used,
    }


def embeddings(body: Mapping[str, Any], model: str) -> tuple[dict[str, Any], int]:
    """Deterministic vectors from hashed words, so that texts with the same words lie close; and the tokens billed."""
    given = body["input"]
    texts = [given] if isinstance(given, str) else [text if isinstance(text, str) else repr(text) for text in given]
    dimensions = int(body.get("dimensions") or _DIMENSIONS)
    vectors = [_vector(text, dimensions) for text in texts]
    encoded: list[Any] = vectors
    if body.get("encoding_format") == "base64":
        encoded = [base64.b64encode(struct.pack(f"<{dimensions}f", *vector)).decode() for vector in vectors]
    tokens = sum(count_tokens(text) for text in texts)
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(encoded)]
    return {"object": "list", "model": model, "data": data, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}, tokens


def error(status: int, message: str, kind: str) -> dict[str, Any]:
    """An error body."""
    return {"error": {"message": message, "type": kind, "param": None, "code": kind if status == 429 else None}}


def text_of(content: Any) -> str:
    """The text in a message's content."""
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(str(part.get("text") or part.get("content") or part.get("type")) for part in content if isinstance(part, Mapping))


_ROLES = {"developer": "system", "function": "tool"}


def _calls_of(message: Mapping[str, Any]) -> str:
    return "".join(call["function"]["name"] + call["function"]["arguments"] for call in message.get("tool_calls") or ())


def _tool_call(identity: str, index: int, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": f"call_{identity}_{index}",
        "type": "function",
        "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)},
    }


def _vector(text: str, dimensions: int) -> list[float]:
    vector = [0.0] * dimensions
    for word in text.lower().split():
        hashed = int.from_bytes(blake2b(word.encode("utf-8", "replace"), digest_size=6).digest(), "big")
        vector[hashed % dimensions] += 1.0 if hashed & (1 << 40) else -1.0
    length = sum(value * value for value in vector) ** 0.5
    return [value / length for value in vector] if length else [1.0] + [0.0] * (dimensions - 1)

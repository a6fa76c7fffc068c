"""The OpenAI chat completions, completions and embeddings formats."""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

from llmthrift_core.testing.answers import Answer, Question, ToolCall, count_tokens

ROLES: Final[Mapping[str, str]] = {"developer": "system", "function": "tool"}
_DIMENSIONS: Final = 256
# Pieces of a stream: a word with the space behind it.
_PIECE: Final = re.compile(r"\S+\s*|\s+")


def pieces_of(text: str) -> list[str]:
    """A text in the pieces in which it is streamed; together they are the text.

    >>> pieces_of("To be, or not")
    ['To ', 'be, ', 'or ', 'not']
    """
    return _PIECE.findall(text)


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
        messages=[(ROLES.get(m["role"], m["role"]), text_of(m.get("content")) + _calls_of(m)) for m in body["messages"]],
        tools=tools,
        tool_choice="any" if choice == "required" else choice,
        schema=schema,
    )


def read_completion(body: Mapping[str, Any]) -> list[Question]:
    """A legacy completions request: one question for each prompt. A prompt of token numbers is read as their list."""
    prompt = body["prompt"]
    prompts = prompt if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else [prompt]
    return [Question(model=body["model"], messages=[("user", text if isinstance(text, str) else repr(text))]) for text in prompts]


def usage(sent: int, received: int, answers: Sequence[Answer]) -> dict[str, Any]:
    """The usage block of all choices; totals are inclusive."""
    reasoning = sum(answer.reasoning_tokens for answer in answers)
    return {
        "prompt_tokens": sent,
        "completion_tokens": received,
        "total_tokens": sent + received,
        "prompt_tokens_details": {
            "cached_tokens": answers[0].cached_tokens,
            "cache_write_tokens": answers[0].cache_write_tokens,
            "audio_tokens": 0,
            "image_tokens": 0,
            "text_tokens": sent,
        },
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            "audio_tokens": 0,
            "text_tokens": received - reasoning,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def chat_answer(
    head: Mapping[str, Any], answers: Sequence[Answer], finish: str, used: Mapping[str, Any], *, logprobs: bool
) -> dict[str, Any]:
    """A whole chat completion. The head holds id, created and model."""
    choices = []
    for index, answer in enumerate(answers):
        message: dict[str, Any] = {"role": "assistant", "content": answer.text or None, "refusal": None}
        if answer.tool_calls:
            message["tool_calls"] = [
                _tool_call(head["id"], number, call, answer.raw_arguments) for number, call in enumerate(answer.tool_calls)
            ]
        likely = _logprobs(pieces_of(answer.text), answer.logprob) if logprobs else None
        choices.append({"index": index, "message": message, "finish_reason": finish, "logprobs": likely})
    return {**head, "object": "chat.completion", "choices": choices, "usage": used, "system_fingerprint": "fp_loopback"}


def chat_stream(
    head: Mapping[str, Any], answers: Sequence[Answer], finish: str, used: Mapping[str, Any], *, with_usage: bool, logprobs: bool
) -> Iterator[dict[str, Any]]:
    """The chunks of a streamed chat completion, one choice after the other."""
    shared = {**head, "object": "chat.completion.chunk", "system_fingerprint": "fp_loopback", **({"usage": None} if with_usage else {})}

    def chunk(index: int, delta: Mapping[str, Any], reason: str | None = None, likely: Any = None) -> dict[str, Any]:
        return {**shared, "choices": [{"index": index, "delta": delta, "finish_reason": reason, "logprobs": likely}]}

    for index, answer in enumerate(answers):
        yield chunk(index, {"role": "assistant", "content": "", "refusal": None})
        for piece in pieces_of(answer.text):
            yield chunk(index, {"content": piece}, likely=_logprobs([piece], answer.logprob) if logprobs else None)
        for number, call in enumerate(answer.tool_calls):
            whole = _tool_call(head["id"], number, call, answer.raw_arguments)
            arguments = whole["function"]["arguments"]
            yield chunk(index, {"tool_calls": [{"index": number, **whole, "function": {"name": call.name, "arguments": ""}}]})
            half = len(arguments) // 2
            for part in (arguments[:half], arguments[half:]):
                yield chunk(index, {"tool_calls": [{"index": number, "function": {"arguments": part}}]})
        yield chunk(index, {}, finish)
    if with_usage:
        yield {**shared, "choices": [], "usage": used}


def completion_answer(head: Mapping[str, Any], answers: Sequence[tuple[Answer, str]], used: Mapping[str, Any]) -> dict[str, Any]:
    """A whole legacy completion: answers with their finish reasons."""
    choices = [
        {"index": index, "text": answer.text, "finish_reason": finish, "logprobs": None} for index, (answer, finish) in enumerate(answers)
    ]
    return {**head, "object": "text_completion", "choices": choices, "usage": used}


def completion_stream(
    head: Mapping[str, Any], answers: Sequence[tuple[Answer, str]], used: Mapping[str, Any], *, with_usage: bool
) -> Iterator[dict[str, Any]]:
    """The chunks of a streamed legacy completion."""
    shared = {**head, "object": "text_completion", **({"usage": None} if with_usage else {})}
    for index, (answer, finish) in enumerate(answers):
        for piece in pieces_of(answer.text):
            yield {**shared, "choices": [{"index": index, "text": piece, "finish_reason": None, "logprobs": None}]}
        yield {**shared, "choices": [{"index": index, "text": "", "finish_reason": finish, "logprobs": None}]}
    if with_usage:
        yield {**shared, "choices": [], "usage": used}


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


def _calls_of(message: Mapping[str, Any]) -> str:
    return "".join(call["function"]["name"] + call["function"]["arguments"] for call in message.get("tool_calls") or ())


def _tool_call(identity: str, number: int, call: ToolCall, raw_arguments: str | None) -> dict[str, Any]:
    return {
        "id": f"call_{identity.rpartition('-')[2]}_{number}",
        "type": "function",
        "function": {
            "name": call.name,
            "arguments": json.dumps(dict(call.arguments), ensure_ascii=False) if raw_arguments is None else raw_arguments,
        },
    }


def _logprobs(pieces: Sequence[str], logprob: float) -> dict[str, Any]:
    content = [
        {"token": piece, "logprob": logprob, "bytes": list(piece.encode("utf-8", "replace")), "top_logprobs": []} for piece in pieces
    ]
    return {"content": content, "refusal": None}


def _vector(text: str, dimensions: int) -> list[float]:
    vector = [0.0] * dimensions
    for word in text.lower().split():
        hashed = int.from_bytes(blake2b(word.encode("utf-8", "replace"), digest_size=6).digest(), "big")
        vector[hashed % dimensions] += 1.0 if hashed & (1 << 40) else -1.0
    length = sum(value * value for value in vector) ** 0.5
    return [value / length for value in vector] if length else [1.0] + [0.0] * (dimensions - 1)

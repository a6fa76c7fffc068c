"""Gemini's format: generateContent whole and as events, and explicit caches."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from llmthrift_core.testing.answers import Answer, Question

_REASONS: Final[Mapping[str, str]] = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"}
_METHOD: Final = re.compile(r"/models/([^/:]+):(?:generateContent|streamGenerateContent)$")
CACHES: Final = re.compile(r"/(cachedContents(?:/[^/?]+)?)$")


def model_in(path: str) -> str | None:
    """The model that a path names; None for a path of another API.

    >>> model_in("/v1beta/models/gemini-2.5-flash:generateContent")
    'gemini-2.5-flash'
    """
    found = _METHOD.search(path)
    return None if found is None else found[1]


def read(body: Mapping[str, Any]) -> Question:
    """A generateContent request."""
    messages: list[tuple[str, str]] = []
    if system := body.get("systemInstruction"):
        messages.append(("system", _text(system.get("parts") or ())))
    for content in body.get("contents") or ():
        parts = content.get("parts") or ()
        is_result = any("functionResponse" in part for part in parts)
        role = "tool" if is_result else "assistant" if content.get("role") == "model" else "user"
        messages.append((role, _text(parts)))
    declared = [each for tool in body.get("tools") or () for each in tool.get("functionDeclarations") or ()]
    return Question(
        model=body["model"],
        messages=messages,
        tools={each["name"]: each.get("parameters") or each.get("parametersJsonSchema") or {} for each in declared},
    )


def usage(sent: int, received: int, answer: Answer) -> dict[str, Any]:
    """The usage block: promptTokenCount includes what was read from a cache."""
    return {
        "promptTokenCount": sent,
        "cachedContentTokenCount": answer.cached_tokens,
        "candidatesTokenCount": received - answer.reasoning_tokens,
        "thoughtsTokenCount": answer.reasoning_tokens,
        "totalTokenCount": sent + received,
    }


def whole(identity: str, model: str, answer: Answer, finish: str, used: Mapping[str, Any]) -> dict[str, Any]:
    """A whole answer."""
    parts: list[dict[str, Any]] = [{"text": answer.text}] if answer.text or not answer.tool_calls else []
    parts += [{"functionCall": {"name": call.name, "args": dict(call.arguments)}} for call in answer.tool_calls]
    return _piece(identity, model, parts, used, _REASONS[finish])


def stream(
    identity: str, model: str, answer: Answer, finish: str, used: Mapping[str, Any], pieces: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The events of a streamed answer."""
    if answer.tool_calls:
        yield whole(identity, model, answer, finish, used)
        return
    for number, piece in enumerate(pieces, 1):
        yield _piece(identity, model, [{"text": piece}], used, _REASONS[finish] if number == len(pieces) else None)


def error(status: int, message: str) -> dict[str, Any]:
    """An error body."""
    return {"error": {"code": status, "message": message, "status": "NOT_FOUND" if status == 404 else "INVALID_ARGUMENT"}}


def _piece(identity: str, model: str, parts: list[dict[str, Any]], used: Mapping[str, Any], reason: str | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if reason is not None:
        candidate["finishReason"] = reason
    return {"candidates": [candidate], "usageMetadata": used, "modelVersion": model, "responseId": identity}


def _text(parts: Sequence[Mapping[str, Any]]) -> str:
    found = []
    for part in parts:
        if "text" in part:
            found.append(str(part["text"]))
        elif "functionCall" in part:
            found.append(part["functionCall"]["name"] + json.dumps(part["functionCall"].get("args") or {}))
        elif "functionResponse" in part:
            found.append(json.dumps(part["functionResponse"].get("response") or {}))
    return "\n".join(found)

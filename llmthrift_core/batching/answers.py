"""The answer to one request of a batch, read off the provider's response: its text, its usage, and whether it is whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from llmthrift_core.cache.wholeness import are_arguments, ends_in, flaw_of
from llmthrift_core.errors import ConfigurationError, UsageError
from llmthrift_core.pricing.batch_terms import BATCH
from llmthrift_core.usage import Usage

_FLAVORS: Final[Mapping[str, str]] = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "responses",
    "/v1/embeddings": "embeddings",
}


def usage_of_body(body: Mapping[str, Any], provider: str, endpoint: str) -> Usage | None:
    """What the provider reports, at the tier of batches; None where it reports nothing."""
    try:
        return replace_tier(Usage.from_payload(body, provider=provider, api_flavor=_FLAVORS.get(endpoint)))
    except (UsageError, ConfigurationError):
        pass
    try:
        return replace_tier(Usage.from_payload(body, provider=provider))
    except (UsageError, ConfigurationError):
        return None


def replace_tier(usage: Usage, tier: str | None = BATCH) -> Usage:
    """The same usage at another service tier. A provider's own contradiction stays as it is."""
    try:
        return replace(usage, service_tier=tier)
    except UsageError:
        changed = object.__new__(Usage)
        for name in Usage.__slots__:
            object.__setattr__(changed, name, getattr(usage, name))
        object.__setattr__(changed, "service_tier", tier)
        return changed


def text_of_body(body: Mapping[str, Any]) -> str:
    """The answer's text, whichever API gave it; "" where there is none."""
    for choice in _mappings(body.get("choices")):
        message = choice.get("message")
        return _text(message.get("content")) if isinstance(message, Mapping) else _text(choice.get("text"))
    for candidate in _mappings(body.get("candidates")):
        content = candidate.get("content")
        return _text(content.get("parts")) if isinstance(content, Mapping) else ""
    if "output" in body:
        said = (_text(item.get("content")) for item in _mappings(body["output"]) if item.get("type") == "message")
        return "".join(said)
    return _text(body.get("content"))


def flaw_of_body(body: Mapping[str, Any]) -> str | None:
    """Why an answer must not be kept for others; None where it is whole and good."""
    if "data" in body and body.get("object") == "list":  # embeddings
        return None if body["data"] else "the answer is empty"
    calls, arguments = _calls(body)
    return flaw_of(
        ends_in(body), says=bool(text_of_body(body).strip()) or calls > 0, calls_are_whole=all(map(are_arguments, arguments)), must_end=True
    )


def _calls(body: Mapping[str, Any]) -> tuple[int, list[Any]]:
    """How many tools an answer calls, and with which arguments."""
    found: list[Any] = []
    for choice in _mappings(body.get("choices")):
        message = choice.get("message")
        for call in _mappings(message.get("tool_calls") if isinstance(message, Mapping) else None):
            function = call.get("function")
            found.append(function.get("arguments") if isinstance(function, Mapping) else None)
    found += [item.get("arguments") for item in _mappings(body.get("output")) if item.get("type") == "function_call"]
    found += [block.get("input") for block in _mappings(body.get("content")) if block.get("type") == "tool_use"]
    for candidate in _mappings(body.get("candidates")):
        content = candidate.get("content")
        parts = _mappings(content.get("parts") if isinstance(content, Mapping) else None)
        found += [
            (part.get("functionCall") or part.get("function_call") or {}).get("args")
            for part in parts
            if "functionCall" in part or "function_call" in part
        ]
    return len(found), found


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text") or "") for part in _mappings(content) if not part.get("thought"))


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []

"""Requests of a batch job, read from whatever an application has: texts, messages, bodies, lines of a provider's batch file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from llmthrift_core.attribution import EMPTY, Attribution, current_attribution
from llmthrift_core.cache.keys import canonical_json, digest
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.outgoing import Outgoing, Sent, outgoing_of
from llmthrift_core.texts import is_storable

# Anthropic's API demands a limit on each answer. It is set where a request names none.
DEFAULT_MAX_TOKENS: Final = 1_024
# Of a single call; a batch has no use for them.
_OF_SINGLE_CALLS: Final = frozenset({"stream", "stream_options", "timeout", "extra_headers"})
_CHAT: Final = "/v1/chat/completions"
_RESPONSES: Final = "/v1/responses"
_EMBEDDINGS: Final = "/v1/embeddings"
_COMPLETIONS: Final = "/v1/completions"
_MESSAGES: Final = "/v1/messages"
_GENERATE: Final = "generateContent"


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """One request of a job.

    Attributes:
        body: what a single call would send, as the provider's API takes it. Its model may be left out.
        custom_id: the application's name for it, unique in its job; None: its number.
        attribution: whom it is for, on top of the surrounding `attribute(...)`.
        cache_key: the exact cache's key for the same single call; None: one is made of the body.
        codec: what the cache holds under that key: "body" is the provider's JSON, else the payload of the adapter of that name.
    """

    body: Mapping[str, Any]
    custom_id: str | None = None
    attribution: Attribution = EMPTY
    cache_key: bytes | None = None
    codec: str = "body"


def read_requests(given: Iterable[Any], *, provider: str, model: str) -> tuple[list[BatchRequest], str]:
    """The requests with bodies as they are sent, each with an id, and the endpoint that all of them go to.

    Args:
        given: each a text, a list of messages, a body with "messages", a line of OpenAI's ("custom_id", "body") or Anthropic's
            ("custom_id", "params") batch files, or a BatchRequest.

    Raises:
        ConfigurationError: none at all, one that cannot be read, ids that repeat, or another model or endpoint than the job's.
    """
    if isinstance(given, str | bytes | Mapping):
        raise ConfigurationError(f"requests must be a list of requests, not one {type(given).__name__}; put it into a list")
    requests = [_completed(_read(each, number), number, provider, model) for number, each in enumerate(given)]
    if not requests:
        raise ConfigurationError("a batch needs at least one request, and got an empty list")
    seen: dict[str, int] = {}
    for number, request in enumerate(requests):
        identity = str(request.custom_id)
        if identity in seen:
            raise ConfigurationError(f"custom ids must differ: requests {seen[identity]} and {number} are both {identity!r}")
        seen[identity] = number
    endpoints = {endpoint_of(request.body, provider, model) for request in requests}
    if len(endpoints) > 1:
        raise ConfigurationError(
            f"the requests of a job go to one endpoint, and these go to {', '.join(sorted(endpoints))}; make a job of each"
        )
    return requests, endpoints.pop()


def endpoint_of(body: Mapping[str, Any], provider: str, model: str) -> str:
    """Which of a provider's APIs takes a body."""
    if provider == "anthropic":
        return _MESSAGES
    if provider == "google":
        return _GENERATE
    if "messages" in body:
        return _CHAT
    if "input" in body:
        return _EMBEDDINGS if "embedding" in model.lower() else _RESPONSES
    return _COMPLETIONS


def digest_of(requests: Sequence[BatchRequest], provider: str, model: str) -> bytes:
    """What two submissions of the same job have in common."""
    parts = (canonical_json([request.custom_id, dict(request.body)]) for request in requests)
    return digest("batch-job", provider.encode(), model.encode("utf-8", "surrogatepass"), *parts)


def outgoing_of_body(body: Mapping[str, Any], model: str) -> Outgoing:
    """What a body sends, counted for a reservation."""
    messages = body.get("messages") or body.get("contents")
    said = body.get("input", body.get("prompt"))
    if messages is None and isinstance(said, list) and said and isinstance(said[0], Mapping):
        messages = said
    if messages is None:
        text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
        sent = [Sent("user", text)]
    else:
        sent = [Sent(str(each.get("role") or "user"), each.get("content", each.get("parts")), more=_calls_of(each)) for each in messages]
    if instructions := body.get("system") or body.get("instructions"):
        sent.insert(0, Sent("system", instructions))
    parameters = {name: value for name, value in body.items() if name not in ("messages", "contents", "input", "prompt", "system")}
    return outgoing_of(sent, model, parameters)


def text_of_request(body: Mapping[str, Any]) -> str:
    """What a body asks, as text: for `capture="text"`."""
    messages = body.get("messages") or body.get("contents") or body.get("input") or body.get("prompt")
    if isinstance(messages, list) and all(isinstance(each, Mapping) for each in messages):
        system = body.get("system") or body.get("instructions")
        lines = [] if not system else [f"system: {_plain(system)}"]
        return "\n".join([*lines, *(f"{each.get('role', 'user')}: {_plain(each.get('content', each.get('parts')))}" for each in messages)])
    return _plain(messages)


def texts_of_user(body: Mapping[str, Any]) -> list[str]:
    """What the user wrote, to tell whether it is about its asker."""
    messages = body.get("messages") or body.get("contents") or body.get("input") or body.get("prompt") or ()
    if isinstance(messages, str):
        return [messages]
    return [
        _plain(each.get("content", each.get("parts"))) for each in messages if isinstance(each, Mapping) and each.get("role") != "system"
    ]


def _read(given: Any, number: int) -> BatchRequest:
    if isinstance(given, BatchRequest):
        return given
    if isinstance(given, str):
        return BatchRequest({"messages": [{"role": "user", "content": given}]})
    if isinstance(given, Mapping):
        inner = given.get("body", given.get("params"))
        if isinstance(inner, Mapping):
            return BatchRequest(dict(inner), _identity(given.get("custom_id"), number))
        body = dict(given)
        return BatchRequest(body, _identity(body.pop("custom_id", None), number))
    if isinstance(given, list | tuple) and given and all(isinstance(each, Mapping) for each in given):
        return BatchRequest({"messages": [dict(each) for each in given]})
    raise ConfigurationError(
        f"request {number} must be a text, a list of messages, a body with 'messages', or a BatchRequest, not {given!r:.200}"
    )


def _identity(given: Any, number: int) -> str | None:
    if given is not None and (not isinstance(given, str) or not given or not is_storable(given)):
        raise ConfigurationError(f"the custom_id of request {number} must be a text that can be stored, not {given!r:.200}")
    return given


def _completed(request: BatchRequest, number: int, provider: str, model: str) -> BatchRequest:
    body = {name: value for name, value in request.body.items() if name not in _OF_SINGLE_CALLS}
    if (named := body.get("model")) not in (None, model):
        raise ConfigurationError(f"request {number} names model {named!r} in a job for {model!r}; make a job of each model")
    if not any(body.get(name) for name in ("messages", "input", "prompt", "contents")):
        raise ConfigurationError(f"request {number} asks nothing: its body has no messages, input, prompt or contents")
    if provider == "google":
        body.pop("model", None)
        if "messages" in body:
            body = _as_contents(body)
    else:
        body["model"] = model
    if provider == "anthropic":
        body = _with_system(body)
        body.setdefault("max_tokens", DEFAULT_MAX_TOKENS)
    try:
        text = json.dumps(body, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"the body of request {number} is no JSON: {error}") from None
    if not is_storable(text):
        raise ConfigurationError(f"the body of request {number} holds characters that no database stores")
    who = request.attribution.over(current_attribution())
    return replace(request, body=body, custom_id=_identity(request.custom_id, number) or str(number), attribution=who)


def _with_system(body: dict[str, Any]) -> dict[str, Any]:
    """Anthropic takes the system prompt beside the messages."""
    messages = body["messages"]
    system = [each["content"] for each in messages if each.get("role") == "system"]
    if not system or "system" in body:
        return body
    return {**body, "system": "\n\n".join(map(_plain, system)), "messages": [each for each in messages if each.get("role") != "system"]}


def _as_contents(body: dict[str, Any]) -> dict[str, Any]:
    """Gemini's form of messages."""
    messages = body.pop("messages")
    roles = {"assistant": "model", "user": "user"}
    said = [each for each in messages if each.get("role") != "system"]
    contents = [{"role": roles.get(each.get("role"), "user"), "parts": [{"text": _plain(each.get("content"))}]} for each in said]
    if system := [_plain(each.get("content")) for each in messages if each.get("role") == "system"]:
        body["system_instruction"] = {"parts": [{"text": "\n\n".join(system)}]}
    if (limit := body.pop("max_tokens", None)) is not None:
        body["generation_config"] = {**(body.get("generation_config") or {}), "max_output_tokens": limit}
    return {**body, "contents": contents}


def _calls_of(message: Mapping[str, Any]) -> Mapping[str, Any] | None:
    calls = message.get("tool_calls")
    return {"tool_calls": calls} if calls else None


def _plain(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, list):
        return "\n".join(str(part.get("text") or "") if isinstance(part, Mapping) else str(part) for part in content)
    return json.dumps(content, ensure_ascii=False, default=str)

"""Usage and model of a LlamaIndex response, in the shapes that its integrations leave them in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from llmthrift_core.errors import LLMThriftError
from llmthrift_core.payloads import payload_cost_usd
from llmthrift_core.usage import Usage

# A count that only one API's usage block has: which API that is, for genai-prices.
_SHAPES: Final[tuple[tuple[str, str, str | None], ...]] = (
    ("prompt_tokens", "openai", "chat"),
    ("promptTokenCount", "google", None),
    ("inputTokens", "aws", None),
    ("cache_read_input_tokens", "anthropic", None),
    ("cache_creation_input_tokens", "anthropic", None),
    ("input_tokens", "openai", "responses"),
)
_ANTHROPIC: Final = frozenset({"anthropic"})
_BILLED_TIERS: Final = frozenset({"flex", "priority", "batch"})


@dataclass(slots=True)
class Served:
    """What a response says of the call that produced it. None means that it does not say.

    Attributes:
        usage: tokens as the provider reported them.
        model: the model that answered.
        provider_cost_usd: the provider's own bill, in US dollars.
    """

    usage: Usage | None = None
    model: str | None = None
    provider_cost_usd: float | None = None


def served_by(response: Any, provider: str | None) -> Served:
    """Read a ChatResponse or CompletionResponse. Never raises: what cannot be read is not reported.

    Args:
        provider: as `provider_of` names it; it decides between shapes that look alike.
    """
    raw = response.raw
    block = usage_block(response)
    usage = None if block is None else _read(block, provider)
    tier = _field(raw, "service_tier")
    if usage is not None and tier in _BILLED_TIERS:
        usage = replace(usage, service_tier=tier)
    cost = None if block is None else _cost(block)
    return Served(usage, _model(raw), cost)


def usage_block(response: Any) -> Any:
    """The provider's usage block in a response or in a chunk of a stream; None if there is none."""
    raw = response.raw
    if raw is not None:
        found = _field(raw, "usage") or _field(raw, "usage_metadata") or _field(_field(raw, "response"), "usage")
        if found:
            return found
    more = response.additional_kwargs
    if more:
        if found := more.get("usage"):
            return found
        if more.get("prompt_tokens") or more.get("completion_tokens"):
            return {name: more.get(name) or 0 for name in ("prompt_tokens", "completion_tokens")}
    message = getattr(response, "message", None)
    return (message.additional_kwargs.get("usage") or None) if message is not None else None


def _read(block: Any, provider: str | None) -> Usage | None:
    body = block if isinstance(block, Mapping) else block.model_dump() if hasattr(block, "model_dump") else None
    if not isinstance(body, Mapping) or not any(body.values()):
        return None
    if "prompt_token_count" in body:  # Google's SDK in snake case, where its API has camel case
        body = _camel(body)
    for count, shape, flavor in _SHAPES:
        if count in body:
            if shape == "openai" and provider in _ANTHROPIC:
                shape, flavor = "anthropic", None
            try:
                usage = Usage.from_payload(_without_none(body), provider=shape, api_flavor=flavor)
            except LLMThriftError:
                return _nearest(body)
            return usage if usage.input_tokens or usage.output_tokens else None
    return None


def _nearest(body: Mapping[str, Any]) -> Usage:
    def count(*names: str) -> Any:
        return next((body[name] for name in names if name in body), 0)

    return Usage.clamped(
        input_tokens=count("prompt_tokens", "input_tokens", "promptTokenCount", "inputTokens"),
        output_tokens=count("completion_tokens", "output_tokens", "candidatesTokenCount", "outputTokens"),
        estimated=True,
    )


def _model(raw: Any) -> str | None:
    for place in (raw, _field(raw, "response")):
        for name in ("model", "model_version", "modelVersion"):
            value = _field(place, name)
            if isinstance(value, str) and value:
                return value
    return None


def _cost(block: Any) -> float | None:
    if _field(block, "cost") is None:
        return None
    cost = payload_cost_usd({"usage": block if isinstance(block, Mapping) else block.model_dump()})
    return None if cost is None else float(cost)


def _field(value: Any, name: str) -> Any:
    if value is None:
        return None
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _without_none(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


def _camel(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_camel_name(str(name)): _camel(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_camel(inner) for inner in value]
    return getattr(value, "value", value)  # Google's modalities are members of an enumeration


def _camel_name(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)

"""Usage and model of a LlamaIndex response, from the places that its integrations leave them in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from llmthrift_core.errors import place_of
from llmthrift_core.outgoing.terms import Loss
from llmthrift_core.usage import Usage
from llmthrift_core.usage.block import billed_tier, body_of, field_of, read_usage, tells_cache, tells_lifetimes
from llmthrift_core.usage.chunks import UsageOfChunks
from llmthrift_core.usage.payloads import payload_cost_usd
from llmthrift_core.usage.searches import file_searches_in, grounding_searches, searches_in, with_fees

logger = logging.getLogger("llmthrift")

# Where the provider's response, or a chunk of it, has its usage block.
_PLACES: Final[tuple[tuple[str, ...], ...]] = (
    ("usage",),
    ("usage_metadata",),  # Google
    ("response", "usage"),  # the last event of a Responses stream
    ("metadata", "usage"),  # the last event of a Bedrock stream
    ("data", "usage"),  # an event of a Mistral stream
    ("x_groq", "usage"),
)
_NOTHING: Final[frozenset[Loss]] = frozenset()
_TOLD: Final[Mapping[Loss, Callable[[Mapping[str, Any]], bool]]] = {"speed": lambda block: "speed" in block, "cache": tells_cache}
_TIERS: Final = ("service_tier", "serviceTier")
# Where it has the provider's name of it: of an event, "response" (OpenAI's Responses API) or "message" (Anthropic) is the whole.
_ID_PLACES: Final[tuple[tuple[str, ...], ...]] = (
    ("response", "id"),
    ("message", "id"),
    ("id",),
    ("response_id",),
    ("ResponseMetadata", "RequestId"),
)


@dataclass(slots=True)
class Served:
    """What a response says of the call that produced it. None means that it does not say.

    Attributes:
        usage: tokens as the provider reported them.
        model: the model that answered.
        provider_cost_usd: the provider's own bill, in US dollars.
        lost: what decides the price and is not told: integrations keep less of a stream than of a whole answer.
    """

    usage: Usage | None = None
    model: str | None = None
    provider_cost_usd: float | None = None
    lost: frozenset[Loss] = frozenset()


def served_by(
    response: Any,
    provider: str | None,
    *,
    model: str | None = None,
    chunks: UsageOfChunks | None = None,
    tier: str | None = None,
    grounding: Any = None,
) -> Served:
    """Read a ChatResponse or CompletionResponse. Never raises: what cannot be read is not reported.

    Args:
        provider: as `provider_of` names it; it decides between shapes that look alike.
        model: the model that was asked.
        chunks: what the chunks of a stream reported; None of a whole answer.
        tier: the service tier that a chunk of a stream told.
        grounding: what a chunk of a stream told of Google's searches.
    """
    try:
        return _served_by(response, provider, model, chunks, grounding, tier)
    except Exception as error:
        logger.error("the usage of an answer cannot be read, and is counted: %s", place_of(error))
        return Served()


def _served_by(
    response: Any, provider: str | None, model: str | None, chunks: UsageOfChunks | None, grounding: Any, tier: str | None
) -> Served:
    raw = response.raw
    block: Mapping[str, Any] | None = None if chunks is None else chunks.together()
    if block is None:
        block = usage_block(response)
    answered = _model(raw)
    usage = None if block is None else read_usage(block, provider=provider)
    if usage is not None:
        usage = _with_fees(usage, raw, tier or tier_of(response), grounding or field_of(raw, "grounding_metadata"), answered or model)
    cost: Any = None if block is None else payload_cost_usd(block)
    if cost is None:  # LiteLLM's
        cost = field_of(field_of(raw, "_hidden_params"), "response_cost")
    is_amount = isinstance(cost, int | float | Decimal) and not isinstance(cost, bool)
    return Served(usage, answered, float(cost) if is_amount else None, _NOTHING if block is None else _lost(block, provider))


def _lost(block: Mapping[str, Any], provider: str | None) -> frozenset[Loss]:
    lost: set[Loss] = set() if tells_lifetimes(block) else {"lifetimes"}
    if provider == "anthropic":
        lost |= {name for name, is_told in _TOLD.items() if not is_told(block)}
    return frozenset(lost)


def usage_block(response: Any) -> Mapping[str, Any] | None:
    """The provider's usage block in a response or in a chunk of a stream; None if there is none."""
    raw = response.raw
    if raw is not None:
        for path in _PLACES:
            found = raw
            for step in path:
                found = field_of(found, step)
            if found and (body := body_of(found)):
                return body
    more = response.additional_kwargs
    if more:
        if (found := more.get("usage")) and (body := body_of(found)):
            return body
        if more.get("prompt_tokens") or more.get("completion_tokens"):
            return {name: more.get(name) or 0 for name in ("prompt_tokens", "completion_tokens")}
    message = getattr(response, "message", None)
    found = message.additional_kwargs.get("usage") if message is not None else None
    return body_of(found) or None if found else None


def response_id_of(response: Any) -> str | None:
    """The provider's name of a response, in it or in a chunk of its stream; None if it is not told."""
    raw = response.raw
    for path in _ID_PLACES if raw is not None else ():
        found = raw
        for step in path:
            found = field_of(found, step)
        if found and isinstance(found, str):
            return found
    return None


def grounding_of(response: Any) -> Any:
    """What a chunk of a stream tells of Google's searches; None if nothing."""
    raw = response.raw
    return raw.get("grounding_metadata") if isinstance(raw, Mapping) else None


def tier_of(response: Any) -> str | None:
    """The service tier that a response or a chunk of a stream says that it is billed by; None for the standard one."""
    raw = response.raw
    for place in (raw, field_of(raw, "response"), field_of(raw, "metadata")):
        told = {name: value for name in _TIERS if (value := field_of(place, name)) is not None}
        if told and (tier := billed_tier(told)) is not None:
            return tier
    return None


def _with_fees(usage: Usage, raw: Any, tier: str | None, grounding: Any, model: str | None) -> Usage:
    """With the tier that bills the tokens, and the searches that are billed beside them."""
    tier, searches, file_searches = usage.service_tier or tier, usage.web_searches, 0
    for place in (raw, field_of(raw, "response")):
        for name in ("output", "content"):  # OpenAI's Responses API, Anthropic
            if isinstance(blocks := field_of(place, name), list):
                searches, file_searches = searches or searches_in(blocks), file_searches or file_searches_in(blocks)
    if not searches and grounding:
        searches = grounding_searches(grounding, model)
    return with_fees(usage, tier, searches, file_searches)


def _model(raw: Any) -> str | None:
    for place in (raw, field_of(raw, "response"), field_of(raw, "data")):
        for name in ("model", "model_version", "modelVersion"):
            value = field_of(place, name)
            if isinstance(value, str) and value:
                return value
    return None

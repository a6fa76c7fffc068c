"""Usage and model of a LlamaIndex response, from the places that its integrations leave them in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, NamedTuple

from llmthrift_core.errors import place_of
from llmthrift_core.outgoing.terms import Loss
from llmthrift_core.usage import Usage
from llmthrift_core.usage.block import billed_tier, body_of, field_of, names_of, read_usage, tells_cache, tells_lifetimes
from llmthrift_core.usage.chunks import UsageOfChunks
from llmthrift_core.usage.payloads import payload_cost_usd
from llmthrift_core.usage.searches import file_searches_in, grounding_searches, searches_in, with_fees

logger = logging.getLogger("llmthrift")

_OWN_BLOCKS: Final = ("usage", "usage_metadata")
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
_MODELS: Final = ("model", "model_version", "modelVersion")
_BLOCKS: Final = ("output", "content")  # of OpenAI's Responses API, of Anthropic
_AROUND: Final = ("response", "message", "metadata", "data", "x_groq")  # of events, which have the response or its usage in them
_FIELDS: Final = frozenset({
    *(path[0] for path in (*_PLACES, *_ID_PLACES)), *_MODELS, *_TIERS, *_BLOCKS, *_AROUND,
    "grounding_metadata", "diagnostics", "_hidden_params",
})  # fmt: skip
"""What is looked up in a provider's response."""
_COUNTS: Final = (("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens"))


@dataclass(slots=True)
class Served:
    """What a response says of the call that produced it. None means that it does not say.

    Attributes:
        usage: tokens as the provider reported them.
        model: the model that answered.
        provider_cost_usd: the provider's own bill, in US dollars.
        lost: what decides the price and is not told: integrations keep less of a stream than of a whole answer.
        response_id: the provider's name of the response.
    """

    usage: Usage | None = None
    model: str | None = None
    provider_cost_usd: float | None = None
    lost: frozenset[Loss] = frozenset()
    response_id: str | None = None


def fields_of_raw(raw: Any) -> Mapping[str, Any]:
    """The fields of a provider's response, or of a chunk of it, that are looked up here; those of a mapping are all of its own."""
    if isinstance(raw, Mapping):
        return raw
    if raw is None:
        return {}
    try:
        if (known := names_of(type(raw))) is None:  # type: ignore[arg-type] # as in `field_of`
            return {name: value for name in _FIELDS if (value := field_of(raw, name)) is not None}
        fields = {**vars(raw), **(raw.model_extra or {})}
    except Exception:  # an object of somebody's class
        return {}
    for name in known & _FIELDS:
        fields[name] = field_of(raw, name)
    return fields


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
        raw = fields_of_raw(response.raw)
        block: Mapping[str, Any] | None = None if chunks is None else chunks.together()
        if block is None:
            block = _usage_block(raw, response)
        served = _served_by(raw, block, provider, model, grounding, tier)
        served.response_id = _response_id(raw)
        return served
    except Exception as error:
        return _unread(error)


def _unread(error: Exception) -> Served:
    logger.error("the usage of an answer cannot be read, and is counted: %s", place_of(error))
    return Served()


def _served_by(
    raw: Mapping[str, Any], block: Mapping[str, Any] | None, provider: str | None, model: str | None, grounding: Any, tier: str | None
) -> Served:
    answered = _model(raw)
    usage = None if block is None else read_usage(block, provider=provider)
    if usage is not None:
        usage = _with_fees(usage, raw, tier or _tier(raw), grounding or raw.get("grounding_metadata"), answered or model)
    cost: Any = None if block is None else payload_cost_usd(block)
    if cost is None:  # LiteLLM's
        cost = field_of(raw.get("_hidden_params"), "response_cost")
    is_amount = isinstance(cost, int | float | Decimal) and not isinstance(cost, bool)
    return Served(usage, answered, float(cost) if is_amount else None, _NOTHING if block is None else _lost(block, provider))


class Told(NamedTuple):
    """What a whole response tells of its usage: copies of its fields, and none of its text.

    Attributes:
        raw: the fields beside the answer.
        sent, made: tokens, as the block has them.
        response_id: the provider's name of the response.
    """

    raw: Mapping[str, Any]
    sent: int
    made: int
    response_id: str | None


def told_by(response: Any) -> Told | None:
    """What a whole response tells of its usage; None where that is not all: its text counts, or blocks of it are billed."""
    fields = fields_of_raw(response.raw)
    if any(fields.get(name) for name in (*_BLOCKS, *_AROUND)):
        return None
    block = next((found for name in _OWN_BLOCKS if (found := fields.get(name))), None)
    for names in _COUNTS if block is not None else ():
        sent, made = field_of(block, names[0]), field_of(block, names[1])
        if type(sent) is int and type(made) is int and sent > 0 and made > 0:
            return Told({name: value for name in _FIELDS if (value := fields.get(name)) is not None}, sent, made, _response_id(fields))
    return None


def served_by_told(told: Told, provider: str | None, model: str) -> Served:
    """As `served_by`. The counts that are there hold where the rest cannot be read."""
    try:
        served = _served_by(told.raw, _block_in(told.raw), provider, model, None, None)
    except Exception as error:
        served = _unread(error)
    if served.usage is None or not (served.usage.input_tokens and served.usage.output_tokens):
        served.usage = Usage(told.sent, told.made, estimated=True)
    return served


def _lost(block: Mapping[str, Any], provider: str | None) -> frozenset[Loss]:
    lost: set[Loss] = set() if tells_lifetimes(block) else {"lifetimes"}
    if provider == "anthropic":
        lost |= {name for name, is_told in _TOLD.items() if not is_told(block)}
    return frozenset(lost)


def usage_block(response: Any) -> Mapping[str, Any] | None:
    """The provider's usage block in a response or in a chunk of a stream; None if there is none."""
    return _usage_block(fields_of_raw(response.raw), response)


def _usage_block(raw: Mapping[str, Any], response: Any) -> Mapping[str, Any] | None:
    if (block := _block_in(raw)) is not None:
        return block
    more = response.additional_kwargs
    if more:
        if (found := more.get("usage")) and (body := body_of(found)):
            return body
        if more.get("prompt_tokens") or more.get("completion_tokens"):
            return {name: more.get(name) or 0 for name in ("prompt_tokens", "completion_tokens")}
    message = getattr(response, "message", None)
    found = message.additional_kwargs.get("usage") if message is not None else None
    return body_of(found) or None if found else None


def _block_in(raw: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for first, *others in _PLACES if raw else ():
        found = raw.get(first)
        for step in others:
            found = None if found is None else field_of(found, step)
        if found and (body := body_of(found)):
            return body
    return None


def response_id_of(response: Any) -> str | None:
    """The provider's name of a response, in it or in a chunk of its stream; None if it is not told."""
    return _response_id(fields_of_raw(response.raw))


def _response_id(raw: Mapping[str, Any]) -> str | None:
    for first, *others in _ID_PLACES if raw else ():
        found = raw.get(first)
        for step in others:
            found = None if found is None else field_of(found, step)
        if found and isinstance(found, str):
            return found
    return None


def grounding_of(response: Any) -> Any:
    """What a chunk of a stream tells of Google's searches; None if nothing."""
    raw = response.raw
    return raw.get("grounding_metadata") if isinstance(raw, Mapping) else None


def tier_of(response: Any) -> str | None:
    """The service tier that a response or a chunk of a stream says that it is billed by; None for the standard one."""
    return _tier(fields_of_raw(response.raw))


def _tier(raw: Mapping[str, Any]) -> str | None:
    for place in _places(raw, "response", "metadata"):
        told = {name: value for name in _TIERS if (value := field_of(place, name)) is not None}
        if told and (tier := billed_tier(told)) is not None:
            return tier
    return None


def _places(raw: Mapping[str, Any], *inner: str) -> Sequence[Any]:
    """The response, and what an event has in it."""
    return [raw, *(value for name in inner if (value := raw.get(name)) is not None)]


def _with_fees(usage: Usage, raw: Mapping[str, Any], tier: str | None, grounding: Any, model: str | None) -> Usage:
    """With the tier that bills the tokens, and the searches that are billed beside them."""
    tier, searches, file_searches = usage.service_tier or tier, usage.web_searches, 0
    for place in _places(raw, "response"):
        for name in _BLOCKS:
            if isinstance(blocks := field_of(place, name), list):
                searches, file_searches = searches or searches_in(blocks), file_searches or file_searches_in(blocks)
    if not searches and grounding:
        searches = grounding_searches(grounding, model)
    return with_fees(usage, tier, searches, file_searches)


def _model(raw: Mapping[str, Any]) -> str | None:
    for place in _places(raw, "response", "data"):
        for name in _MODELS:
            value = field_of(place, name)
            if isinstance(value, str) and value:
                return value
    return None

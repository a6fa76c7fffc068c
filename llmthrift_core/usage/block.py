"""One usage block, whoever wrote it: which API's shape it has, what else it tells of the bill, and whether its total agrees with its parts.

Integrations hand the same few shapes on under many names, and providers that speak OpenAI's language keep their own words for what
OpenAI has no word for. So the shape is read from the names, and each count is looked for wherever a provider is known to put it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from llmthrift_core.errors import LLMThriftError, UsageError
from llmthrift_core.usage.payloads import provider_id
from llmthrift_core.usage.usage import PART_FIELDS, Usage, with_reasoning

_Path = tuple[str, ...]

_TOTALS: Final = (("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens"), ("inputTokens", "outputTokens"))
_BEDROCK: Final = "inputTokens"
_GOOGLE: Final = ("promptTokenCount", "prompt_token_count", "candidatesTokenCount", "candidates_token_count")
_ANTHROPIC: Final = frozenset({"cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation", "server_tool_use"})

_CACHE_READ: Final[tuple[_Path, ...]] = (
    ("prompt_tokens_details", "cached_tokens"),
    ("input_tokens_details", "cached_tokens"),
    ("input_tokens_details", "cache_read_input_tokens"),  # Perplexity
    ("cache_read_input_tokens",),  # Anthropic, litellm
    ("cacheReadInputTokens",),  # Bedrock
    ("prompt_cache_hit_tokens",),  # DeepSeek
    ("num_cached_tokens",),  # Mistral
    ("cached_tokens",),
    ("cached_prompt_text_tokens",),  # xAI
)
_CACHE_WRITE: Final[tuple[_Path, ...]] = (
    ("prompt_tokens_details", "cache_write_tokens"),
    ("prompt_tokens_details", "cache_creation_tokens"),  # litellm
    ("input_tokens_details", "cache_write_tokens"),
    ("cache_creation_input_tokens",),
    ("cache_write_input_tokens",),
    ("cacheWriteInputTokens",),
)
_LIFETIMES: Final[tuple[_Path, ...]] = (("cache_creation",), ("prompt_tokens_details", "cache_creation_token_details"))
_REASONING: Final[tuple[_Path, ...]] = (
    ("completion_tokens_details", "reasoning_tokens"),
    ("output_tokens_details", "reasoning_tokens"),
    ("output_tokens_details", "thinking_tokens"),  # Anthropic
    ("reasoning_tokens",),
)
_INPUT_AUDIO: Final[tuple[_Path, ...]] = (("prompt_tokens_details", "audio_tokens"), ("input_tokens_details", "audio_tokens"))
_CACHED_AUDIO: Final[tuple[_Path, ...]] = (("prompt_tokens_details", "cached_tokens_details", "audio_tokens"),)
_OUTPUT_AUDIO: Final[tuple[_Path, ...]] = (("completion_tokens_details", "audio_tokens"), ("output_tokens_details", "audio_tokens"))
_INPUT_IMAGE: Final[tuple[_Path, ...]] = (("prompt_tokens_details", "image_tokens"), ("input_tokens_details", "image_tokens"))
_OUTPUT_IMAGE: Final[tuple[_Path, ...]] = (("completion_tokens_details", "image_tokens"), ("output_tokens_details", "image_tokens"))
_SEARCHES: Final[tuple[_Path, ...]] = (
    ("server_tool_use", "web_search_requests"),  # Anthropic
    ("prompt_tokens_details", "web_search_requests"),  # litellm
    ("num_search_queries",),  # Perplexity
    ("server_side_tool_usage_details", "web_search_calls"),  # xAI
)
_PLACES: Final = (
    *_CACHE_READ, *_CACHE_WRITE, *_LIFETIMES, *_REASONING, *_INPUT_AUDIO, *_CACHED_AUDIO, *_OUTPUT_AUDIO, *_INPUT_IMAGE, *_OUTPUT_IMAGE,
    *_SEARCHES,
)  # fmt: skip
_DETAILS: Final = frozenset({"cacheDetails", *(path[0] for path in _PLACES)})
"""Where there is anything beside the totals."""
_BILLED_TIERS: Final = frozenset({"batch", "fast", "flex", "priority"})
# Google's `traffic_type`.
_TRAFFIC: Final = {"ON_DEMAND_PRIORITY": "priority", "ON_DEMAND_FLEX": "flex"}


def read_usage(block: object, *, provider: str | None = None) -> Usage | None:
    """The usage that a block reports, in the shape of any provider's API or client. None where it has no counts. Never raises.

    Counts that contradict each other, and parts that do not make up the total beside them, mark the result as estimated.

    Args:
        block: a mapping, or an object of a provider's SDK.
        provider: LangChain's or LlamaIndex's name for it, or None. It decides where the block does not.

    >>> counts = {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 125}
    >>> read_usage({**counts, "completion_tokens_details": {"reasoning_tokens": 20}})
    Usage(input_tokens=100, output_tokens=25, reasoning_tokens=20)
    """
    body = body_of(block)
    if body is None:
        return None
    if isinstance(billed := body.get("billed_units"), Mapping):  # Cohere
        body = billed
    usage = _of_google(body) if any(name in body for name in _GOOGLE) else _of_counts(body, provider)
    tier = billed_tier(body)
    return replace(usage, service_tier=tier) if usage is not None and tier is not None else usage


def body_of(block: object) -> Mapping[str, Any] | None:
    """A block as a mapping without what it leaves open; None for what is no block."""
    if not isinstance(block, Mapping):
        dump = getattr(block, "model_dump", None)
        try:
            block = dump() if callable(dump) else None
        except (TypeError, ValueError):  # an object that its own SDK cannot write
            return None
        if not isinstance(block, Mapping):
            return None
    return {name: value for name, value in block.items() if value is not None}


def field_of(value: Any, name: str) -> Any:
    """An entry of a mapping, or an attribute of an object of somebody's class; None where it is not there or cannot be read."""
    try:
        if isinstance(value, Mapping):
            return value.get(name)
        known = names_of(type(value))  # type: ignore[arg-type] # mypy takes a class of Any for one that cannot be hashed
        if known is None or name in known:
            return getattr(value, name, None)
        # Most places are tried in vain, and pydantic takes long to say that there is nothing.
        fields = vars(value)
        return fields[name] if name in fields else (value.model_extra or {}).get(name)
    except Exception:  # a property that fails
        return None


@lru_cache(maxsize=512)
def names_of(kind: type) -> frozenset[str] | None:
    """What a pydantic class gives its objects beside their own fields; None for other classes, and where it says so in a way of its own."""
    saying = next((each for each in kind.__mro__ if "__getattr__" in vars(each)), None)
    if saying is None or saying.__module__ != "pydantic.main":
        return None
    return frozenset(name for each in kind.__mro__ for name in vars(each))


def billed_tier(body: Mapping[str, Any]) -> str | None:
    """The service tier by which a response or usage block says that it is billed; None for the standard one."""
    if body.get("speed") == "fast":  # Anthropic
        return "fast"
    tier = body.get("service_tier", body.get("serviceTier"))
    if isinstance(tier, Mapping):  # Bedrock
        tier = tier.get("type")
    if tier is None and (traffic := body.get("traffic_type", body.get("trafficType"))) is not None:
        tier = _TRAFFIC.get(str(getattr(traffic, "value", traffic)))
    return tier if isinstance(tier, str) and tier in _BILLED_TIERS else None


def tells_lifetimes(body: Mapping[str, Any]) -> bool:
    """Whether a block says how long the cache keeps what it wrote."""
    return "cacheDetails" in body or any(_value(body, path) is not None for path in _LIFETIMES)


def tells_cache(body: Mapping[str, Any]) -> bool:
    """Whether a block says what the cache read or wrote, be it nothing."""
    return any(_value(body, path) is not None for path in (*_CACHE_READ, *_CACHE_WRITE))


def completed(usage: Usage, told: Usage) -> Usage:
    """A client's reading of a block, completed by the block itself: clients keep the totals and drop what they have no word for."""
    same = (usage.input_tokens, usage.output_tokens) == (told.input_tokens, told.output_tokens)
    kept, more = (told, usage) if same or (usage.estimated and not told.estimated) else (usage, told)
    parts = {name: count for name in PART_FIELDS if (count := getattr(more, name)) > getattr(kept, name)}
    tier = kept.service_tier or more.service_tier
    if not parts and tier == kept.service_tier:
        return kept
    try:
        return replace(kept, service_tier=tier, **parts)
    except UsageError:  # they count differently
        return replace(kept, service_tier=tier)


def _of_counts(body: Mapping[str, Any], provider: str | None) -> Usage | None:
    names = next((names for names in _TOTALS if not body.keys().isdisjoint(names)), None)
    if names is None:
        return None
    sent_name, made_name = names
    sent, made = _number(body.get(sent_name)), _number(body.get(made_name))
    if sent is None and made is None:
        return None
    total = _number(body.get("total_tokens", body.get("totalTokens"))) or 0
    sound = sent is not None and (made is not None or total == sent)  # an embedding makes no tokens, and some say so by the total alone
    sent, made = sent or 0, made or 0
    has_details = not _DETAILS.isdisjoint(body)
    read, write = (_most(body, _CACHE_READ), _most(body, _CACHE_WRITE)) if has_details else (0, 0)
    one_hour, five_minutes = _lifetimes(body) if has_details else (0, 0)
    write = max(write, one_hour + five_minutes)
    if read + write and (sent_name == _BEDROCK or _excludes_cache(body, provider, sent, made, read + write, total)):
        sent += read + write
    reasoning = _most(body, _REASONING)
    made, fits = with_reasoning(sent, made, reasoning, total, read + write)
    if not has_details:
        return Usage(sent, made, estimated=not (sound and fits))
    counts: dict[str, Any] = {
        "cache_read_tokens": read,
        "cache_write_tokens": write,
        "cache_write_1h_tokens": one_hour,
        "reasoning_tokens": reasoning,
        "input_audio_tokens": _most(body, _INPUT_AUDIO),
        "output_audio_tokens": _most(body, _OUTPUT_AUDIO),
        "web_searches": _most(body, _SEARCHES),
        "cache_read_audio_tokens": _most(body, _CACHED_AUDIO),
        "input_image_tokens": _most(body, _INPUT_IMAGE),
        "output_image_tokens": _most(body, _OUTPUT_IMAGE),
    }
    return Usage.clamped(input_tokens=sent, output_tokens=made, estimated=not (sound and fits), **counts)


def _excludes_cache(body: Mapping[str, Any], provider: str | None, sent: int, made: int, cached: int, total: int) -> bool:
    """Whether the input does not contain what the cache read and wrote, as Anthropic counts."""
    if cached > sent or total == sent + made + cached:
        return True
    if "input_tokens" not in body or total == sent + made:
        return False
    return not _ANTHROPIC.isdisjoint(body) or (provider is not None and provider_id(provider) == "anthropic")


def _of_google(body: Mapping[str, Any]) -> Usage | None:
    if "promptTokenCount" not in body and "candidatesTokenCount" not in body:
        body = _camel(body)  # Google's SDK writes in snake case what its API has in camel case
    try:
        usage = Usage.from_payload(body, provider="google")
    except (LLMThriftError, TypeError, ValueError, OverflowError):  # counts that are no numbers
        return None
    total = _number(body.get("totalTokenCount"))
    fits = not total or total == usage.input_tokens + usage.output_tokens
    try:
        return replace(usage, estimated=not fits)  # which looks at the parts too
    except UsageError:
        return Usage.clamped(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, estimated=True)


def _lifetimes(body: Mapping[str, Any]) -> tuple[int, int]:
    """What the prompt cache keeps for one hour, and for five minutes."""
    one_hour = five_minutes = 0
    for path in _LIFETIMES:
        one_hour = max(one_hour, _at(body, (*path, "ephemeral_1h_input_tokens")))
        five_minutes = max(five_minutes, _at(body, (*path, "ephemeral_5m_input_tokens")))
    details = body.get("cacheDetails")  # Bedrock
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, Mapping):
            tokens = _number(detail.get("inputTokens")) or 0
            if detail.get("ttl") == "1h":
                one_hour += tokens
            else:
                five_minutes += tokens
    return one_hour, five_minutes


def _most(body: Mapping[str, Any], paths: tuple[_Path, ...]) -> int:
    """The largest count at any of the places: those that repeat it agree, and those that do not know it say 0."""
    most = 0
    for path in paths:
        if path[0] in body:
            most = max(most, _at(body, path))
    return most


def _at(body: Mapping[str, Any], path: _Path) -> int:
    return _number(_value(body, path)) or 0


def _value(body: Mapping[str, Any], path: _Path) -> Any:
    value: Any = body
    for step in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(step)
    return value


def _number(value: Any) -> int | None:
    """A count; a whole float is one too, as OpenRouter writes them."""
    if type(value) is int:
        return max(value, 0)
    return int(value) if isinstance(value, float) and value >= 0 and value.is_integer() else None


def _camel(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_camel_name(str(name)): _camel(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_camel(inner) for inner in value]
    return getattr(value, "value", value)  # Google's modalities are members of an enumeration


def _camel_name(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)

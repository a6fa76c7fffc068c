"""`Usage`: what one model call consumed, and which count includes which.

Totals are inclusive: `input_tokens` contains the cache reads, the cache writes, audio and images; `output_tokens` contains the
reasoning tokens and audio. Prices apply to the disjoint parts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from typing import Any, Self

from llmthrift_core.errors import UsageError
from llmthrift_core.usage.payloads import Count, payload_counts
from llmthrift_core.usage.units import unreported_units

# The counts that have a field of their own, in the order of the fields, each with its key among the units.
UNIT_OF_FIELD: dict[str, str] = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "cache_write_1h_tokens": "cache_write_1h_tokens",
    "reasoning_tokens": "output_reasoning_tokens",
    "input_audio_tokens": "input_audio_tokens",
    "output_audio_tokens": "output_audio_tokens",
    "web_searches": "web_searches",
    "cache_read_audio_tokens": "cache_audio_read_tokens",
    "input_image_tokens": "input_image_tokens",
    "output_image_tokens": "output_image_tokens",
}
_FIELD_OF_UNIT = {unit: field for field, unit in UNIT_OF_FIELD.items()}
_FIELDS = tuple(UNIT_OF_FIELD)
_INT = frozenset({int})
# A total, and parts of it that exclude each other.
_PARTS: tuple[tuple[str, ...], ...] = (
    ("input_tokens", "cache_read_tokens", "cache_write_tokens"),
    ("input_tokens", "input_audio_tokens", "input_image_tokens"),
    ("output_tokens", "output_audio_tokens", "output_image_tokens"),
    ("output_tokens", "reasoning_tokens"),
    ("cache_write_tokens", "cache_write_1h_tokens"),
    ("cache_read_tokens", "cache_read_audio_tokens"),
    ("input_audio_tokens", "cache_read_audio_tokens"),
)

PART_FIELDS = tuple(name for name in _FIELDS if name not in ("input_tokens", "output_tokens"))
"""The counts that are part of the input or the output, or are billed beside them."""

counts_of = attrgetter(*_FIELDS)
"""The counts of a Usage as a tuple, in the order of `UNIT_OF_FIELD`."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one model call consumed.

    Attributes:
        input_tokens: everything sent, including cache reads and writes, audio and image tokens.
        output_tokens: everything generated, including reasoning and audio tokens.
        cache_read_tokens: part of input_tokens that the provider read from its prompt cache.
        cache_write_tokens: part of input_tokens written to the provider's prompt cache, for any lifetime.
        cache_write_1h_tokens: part of cache_write_tokens kept for one hour; the rest is kept for five minutes.
        reasoning_tokens: part of output_tokens that is not shown to the user.
        input_audio_tokens: part of input_tokens.
        output_audio_tokens: part of output_tokens.
        web_searches: searches that the provider bills per request, beside the tokens.
        cache_read_audio_tokens: part of both cache_read_tokens and input_audio_tokens.
        input_image_tokens: part of input_tokens.
        output_image_tokens: part of output_tokens.
        service_tier: "batch", "flex" or "priority" where the provider billed the call so; None is the standard tier.
        estimated: the counts were estimated by us, not reported by the provider.
        other: counts without a field of their own, as (unit, count) pairs sorted by unit, such as ("input_video_tokens", 258)
            or ("audio_seconds", 12.5). A count of None is one that the provider left open although the price may
            depend on it.

    Raises:
        UsageError: a count that is negative or not an integer, or parts larger than their total.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    web_searches: int = 0
    cache_read_audio_tokens: int = 0
    input_image_tokens: int = 0
    output_image_tokens: int = 0
    service_tier: str | None = None
    estimated: bool = False
    other: tuple[tuple[str, Count | None], ...] = ()

    def __post_init__(self) -> None:
        counts = counts_of(self)
        if not _INT.issuperset(map(type, counts)) or min(counts) < 0:
            for field, count in zip(_FIELDS, counts, strict=True):
                if type(count) is not int or count < 0:
                    raise UsageError(f"{field} must be a count of at least 0, not {count!r}")
        sent, made, read, write, write_1h, reasoning, audio_in, audio_out, _, read_audio, image_in, image_out = counts
        if (
            read + write > sent
            or audio_in + image_in > sent
            or audio_out + image_out > made
            or reasoning > made
            or write_1h > write
            or read_audio > read
            or read_audio > audio_in
        ):
            self._refuse_parts()
        if self.other:
            object.__setattr__(self, "other", _checked_other(self.other))

    @classmethod
    def clamped(
        cls,
        *,
        input_tokens: object = 0,
        output_tokens: object = 0,
        cache_read_tokens: object = 0,
        cache_write_tokens: object = 0,
        cache_write_1h_tokens: object = 0,
        reasoning_tokens: object = 0,
        input_audio_tokens: object = 0,
        output_audio_tokens: object = 0,
        web_searches: object = 0,
        cache_read_audio_tokens: object = 0,
        input_image_tokens: object = 0,
        output_image_tokens: object = 0,
        service_tier: str | None = None,
        estimated: bool = False,
    ) -> Self:
        """The nearest usage that can be, for metering, which must not fail: never raises.

        What is no count (None, NaN, negative, text) becomes 0, and a total smaller than its parts becomes their sum; either
        marks the result as estimated. None for a part is taken as not reported, which is normal.

        >>> from llmthrift_core import Usage
        >>> Usage.clamped(input_tokens=10.0, output_tokens=-1)
        Usage(input_tokens=10, estimated=True)
        """
        sound = True

        def count(value: object, *, optional: bool = True) -> int:
            nonlocal sound
            if type(value) is int and value >= 0:
                return value
            if value is None and optional:
                return 0
            if (isinstance(value, float) and 0 <= value < math.inf) or (isinstance(value, Decimal) and value.is_finite() and value >= 0):
                whole = int(value)
                sound = sound and whole == value
                return whole
            sound = False
            return 0

        cache_read, cache_read_audio = count(cache_read_tokens), count(cache_read_audio_tokens)
        cache_write, cache_write_1h = count(cache_write_tokens), count(cache_write_1h_tokens)
        input_audio, input_image = count(input_audio_tokens), count(input_image_tokens)
        output_audio, output_image = count(output_audio_tokens), count(output_image_tokens)
        reasoning = count(reasoning_tokens)
        sent, made = count(input_tokens, optional=False), count(output_tokens, optional=False)
        reported = (sent, made, cache_write, cache_read, input_audio)
        cache_write = max(cache_write, cache_write_1h)
        cache_read, input_audio = max(cache_read, cache_read_audio), max(input_audio, cache_read_audio)
        sent = max(sent, cache_read + cache_write, input_audio + input_image)
        made = max(made, reasoning, output_audio + output_image)
        sound = sound and reported == (sent, made, cache_write, cache_read, input_audio)
        return cls(
            sent,
            made,
            cache_read,
            cache_write,
            cache_write_1h,
            reasoning,
            input_audio,
            output_audio,
            count(web_searches),
            cache_read_audio,
            input_image,
            output_image,
            service_tier,
            estimated or not sound,
        )

    @classmethod
    def from_payload(cls, body: object, *, provider: str, api_flavor: str | None = None) -> Self:
        """The usage that a provider's raw response reports.

        The counts are kept as the provider states them, even where they contradict each other: such a usage has no price. The
        service tier is left to the caller, as genai-prices leaves it: `dataclasses.replace(usage, service_tier="flex")`.

        Args:
            body: the response, or its bare usage block: a mapping, or an object of the provider's SDK.
            provider: genai-prices' identifier or LangChain's name, such as "openai" or "google_genai".
            api_flavor: which of the provider's APIs answered, such as "chat" or "responses"; None is the provider's default.

        Raises:
            ConfigurationError: an unknown provider or flavor.
            UsageError: no usage in the body, or it fits several APIs of the provider that disagree.

        >>> from llmthrift_core import Usage
        >>> body = {"model": "gpt-4o", "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}}
        >>> Usage.from_payload(body, provider="openai")
        Usage(input_tokens=9, output_tokens=3)
        """
        counts: dict[str, Count | None] = dict(payload_counts(body, provider=provider, api_flavor=api_flavor))
        counts.update(dict.fromkeys(unreported_units([key for key, count in counts.items() if count]) - counts.keys()))
        # Not through __init__: a provider's own contradiction is recorded as it is.
        usage = object.__new__(cls)
        put = object.__setattr__
        for field, unit in UNIT_OF_FIELD.items():
            count = counts.get(unit)
            put(usage, field, count if type(count) is int else 0)
        put(usage, "service_tier", None)
        put(usage, "estimated", False)
        put(usage, "other", tuple(sorted((unit, count) for unit, count in counts.items() if _is_other(unit, count))))
        return usage

    @classmethod
    def from_langchain(cls, usage_metadata: object, *, service_tier: str | None = None, web_searches: int = 0) -> Self:
        """The usage in LangChain's `usage_metadata`. Never raises: what cannot be right is clamped and marked as estimated.

        langchain-openai prefixes the details of a call billed as flex or priority (`flex_cache_read`, `priority_reasoning`)
        and adds `flex` or `priority`: these set the service tier. `cache_creation` may or may not repeat the lifetimes that
        langchain-anthropic lists beside it: the larger of the two is the cache write, and what has no lifetime lives 5
        minutes.

        >>> from llmthrift_core import Usage
        >>> Usage.from_langchain({"input_tokens": 10, "output_tokens": 5, "input_token_details": {"cache_read": 4}})
        Usage(input_tokens=10, output_tokens=5, cache_read_tokens=4)
        """
        if not isinstance(usage_metadata, Mapping):
            return cls(service_tier=service_tier, estimated=True)
        sent: Any = usage_metadata.get("input_tokens")
        made: Any = usage_metadata.get("output_tokens")
        inputs, outputs = usage_metadata.get("input_token_details"), usage_metadata.get("output_token_details")
        total = usage_metadata.get("total_tokens")
        is_counted = type(sent) is int and type(made) is int and sent >= 0 and made >= 0
        if not (inputs or outputs) and is_counted and not web_searches:
            return cls(sent, made, service_tier=service_tier, estimated=bool(total) and total != sent + made)
        inputs = inputs if isinstance(inputs, Mapping) else {}
        outputs = outputs if isinstance(outputs, Mapping) else {}
        prefix = ""
        for tier in ("flex", "priority"):
            if tier in inputs or tier in outputs:
                prefix, service_tier = f"{tier}_", service_tier or tier
        read, written = inputs.get(prefix + "cache_read") or 0, inputs.get(prefix + "cache_creation")
        five_minutes, one_hour = inputs.get("ephemeral_5m_input_tokens"), inputs.get("ephemeral_1h_input_tokens")
        if five_minutes or one_hour:
            written = max(_or_zero(written), _or_zero(five_minutes) + _or_zero(one_hour))
        reasoning = outputs.get(prefix + "reasoning") or 0
        fits = True
        if is_counted and type(reasoning) is int and reasoning >= 0:
            cached = _or_zero(read) + _or_zero(written)
            made, fits = with_reasoning(sent, made, reasoning, _or_zero(total), cached, may_be_doubled=True)
        counts: dict[str, Any] = {
            "input_tokens": sent,
            "output_tokens": made,
            "cache_read_tokens": read,
            "cache_write_tokens": written or 0,
            "cache_write_1h_tokens": one_hour or 0,
            "reasoning_tokens": reasoning,
            "input_audio_tokens": inputs.get("audio") or 0,
            "output_audio_tokens": outputs.get("audio") or 0,
            "web_searches": web_searches,
            "input_image_tokens": inputs.get("image") or 0,
            "output_image_tokens": outputs.get("image") or 0,
        }
        try:
            return cls(**counts, service_tier=service_tier, estimated=not fits)
        except UsageError:
            return cls.clamped(**counts, service_tier=service_tier, estimated=not fits)

    def count(self, unit: str) -> Count | None:
        """The count of a unit by its key, such as "cache_audio_read_tokens"; None where it is needed but was not reported."""
        for key, count in self.other:
            if key == unit:
                return count
        field = _FIELD_OF_UNIT.get(unit)
        return getattr(self, field) if field is not None else 0

    def __repr__(self) -> str:
        shown = [f"{name}={value!r}" for name in self.__slots__ if (value := getattr(self, name)) not in (0, None, False, ())]
        return f"Usage({', '.join(shown)})"

    def _refuse_parts(self) -> None:
        for total_name, *part_names in _PARTS:
            total, parts = getattr(self, total_name), sum(getattr(self, name) for name in part_names)
            if parts > total:
                raise UsageError(f"{' + '.join(part_names)} ({parts}) cannot exceed {total_name} ({total}), which includes it")


def with_reasoning(sent: int, made: int, reasoning: int, total: int, cached: int, *, may_be_doubled: bool = False) -> tuple[int, bool]:
    """The output with its reasoning in it, and whether the provider's own total agrees with the parts.

    OpenAI counts the reasoning in the output; xAI, and Gemini behind OpenAI's API, beside it. The total tells which.

    Args:
        total: as the provider states it; 0 where it does not.
        cached: reads and writes of the prompt cache, which are part of `sent`, and which some totals leave out.
        may_be_doubled: the client may have added reasoning to an output that had it already.

    >>> with_reasoning(10_120, 1_499, 2_809, 14_428, 128), with_reasoning(10_120, 4_308, 2_809, 14_428, 128)
    ((4308, True), (4308, True))
    """
    if total in (sent + made, sent + made - cached) and reasoning <= made:
        return made, True
    if reasoning and total in (sent + made + reasoning, sent + made + reasoning - cached):
        return made + reasoning, True
    if may_be_doubled and reasoning and made >= 2 * reasoning and total in (sent + made - reasoning, sent + made - reasoning - cached):
        return made - reasoning, True
    if reasoning > made:  # a part cannot be larger than its whole
        return made + reasoning, False
    return made, not total


def _is_other(unit: str, count: Count | None) -> bool:
    if unit in _FIELD_OF_UNIT:
        return type(count) is not int
    return count is None or count != 0


def _or_zero(value: object) -> int:
    return value if type(value) is int else 0


def uncached_counts_of(usage: Usage) -> tuple[int, ...]:
    """The counts of a call with the same tokens, nothing of which was read from a provider's cache or written to it."""
    return (
        usage.input_tokens,
        usage.output_tokens,
        0,
        0,
        0,
        usage.reasoning_tokens,
        usage.input_audio_tokens,
        usage.output_audio_tokens,
        usage.web_searches,
        0,
        usage.input_image_tokens,
        usage.output_image_tokens,
    )


def _checked_other(other: object) -> tuple[tuple[str, Count | None], ...]:
    pairs: dict[str, Count | None] = {}
    try:
        for unit, count in other:  # type: ignore[attr-defined]  # pairs come back from JSON as lists
            sound = count is None or (type(count) in (int, float) and 0 <= count < math.inf)
            if not sound or not isinstance(unit, str):
                raise UsageError(f"{unit} must be a count of at least 0, not {count!r}")
            pairs[unit] = count
    except (TypeError, ValueError) as error:
        raise UsageError(f"other must hold pairs of a unit and a count: {error}") from None
    return tuple(sorted(pairs.items()))

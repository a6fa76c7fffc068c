"""`Usage`: what one model call consumed, and which count includes which.

Totals are inclusive: `input_tokens` contains the cache reads, the cache writes, audio and images; `output_tokens` contains the
reasoning tokens and audio. Prices apply to the disjoint parts.
"""

from __future__ import annotations

from dataclasses import dataclass


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

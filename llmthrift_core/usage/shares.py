"""What one call took, shared out over the requests that it answered: to the token and to the nano-dollar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from llmthrift_core.usage.usage import Usage

_TOGETHER: Final = (
    "input_audio_tokens", "output_audio_tokens", "cache_read_audio_tokens", "input_image_tokens", "output_image_tokens", "other",
)  # fmt: skip


def split(total: int, weights: Sequence[int]) -> list[int]:
    """Shares in proportion to the weights, whose sum is the total: the largest remainders are rounded up.

    >>> split(10, [1, 1, 1]), split(7, [0, 0])
    ([4, 3, 3], [4, 3])
    """
    if not weights:
        return []
    if min(weights) < 0:
        raise ValueError(f"weights must not be negative: {weights!r}")
    given = list(weights) if sum(weights) else [1] * len(weights)
    whole = sum(given)
    shares = [total * weight // whole for weight in given]
    by_rest = sorted(range(len(given)), key=lambda number: (-(total * given[number] % whole), number))
    for number in by_rest[: total - sum(shares)]:
        shares[number] += 1
    return shares


def split_usage(usage: Usage, sent: Sequence[int], made: Sequence[int]) -> list[Usage]:
    """A usage for each request, each without contradiction, which add up to the whole exactly.

    Nobody knows whose audio, pictures and other units are: of a usage that has such, the first request gets all.

    Args:
        sent, made: how large each request and its answers are, in any measure.

    >>> split_usage(Usage(30, 15), [1, 1, 1], [2, 2, 1])
    [Usage(input_tokens=10, output_tokens=6), Usage(input_tokens=10, output_tokens=6), Usage(input_tokens=10, output_tokens=3)]
    """
    if any(getattr(usage, name) for name in _TOGETHER):
        return [usage, *(Usage(service_tier=usage.service_tier, estimated=usage.estimated) for _ in sent[1:])]
    written, written_1h = usage.cache_write_tokens, min(usage.cache_write_1h_tokens, usage.cache_write_tokens)
    plain = max(usage.input_tokens - usage.cache_read_tokens - written, 0)
    read, short, long = split(usage.cache_read_tokens, sent), split(written - written_1h, sent), split(written_1h, sent)
    rest, searches = split(plain, sent), split(usage.web_searches, sent)
    reasoning = split(min(usage.reasoning_tokens, usage.output_tokens), made)
    visible = split(max(usage.output_tokens - usage.reasoning_tokens, 0), made)
    return [
        Usage(
            input_tokens=rest[number] + read[number] + short[number] + long[number],
            output_tokens=visible[number] + reasoning[number],
            cache_read_tokens=read[number],
            cache_write_tokens=short[number] + long[number],
            cache_write_1h_tokens=long[number],
            reasoning_tokens=reasoning[number],
            web_searches=searches[number],
            service_tier=usage.service_tier,
            estimated=usage.estimated,
        )
        for number in range(len(sent))
    ]

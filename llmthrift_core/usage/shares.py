"""One request's usage, shared out over the prompts that it carried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from llmthrift_core.usage.usage import PART_FIELDS, Usage


def shared_out(usage: Usage, sent: Sequence[int], made: Sequence[int]) -> list[Usage]:
    """A usage for each prompt, which add up to the whole exactly.

    Args:
        sent, made: how large each prompt and its answers are, in any measure.

    >>> shared_out(Usage(30, 15), [1, 1, 1], [2, 2, 1])
    [Usage(input_tokens=10, output_tokens=6), Usage(input_tokens=10, output_tokens=6), Usage(input_tokens=10, output_tokens=3)]
    """
    if usage.other or any(getattr(usage, name) for name in PART_FIELDS):
        # Nobody knows whose the parts are, and they could outgrow a share: the first prompt answers for all.
        return [usage, *(Usage(service_tier=usage.service_tier, estimated=usage.estimated) for _ in sent[1:])]
    shares = zip(_shares(usage.input_tokens, sent), _shares(usage.output_tokens, made), strict=True)
    return [replace(usage, input_tokens=tokens_in, output_tokens=tokens_out) for tokens_in, tokens_out in shares]


def _shares(total: int, weights: Sequence[int]) -> Iterator[int]:
    whole = sum(weights)
    if not whole:
        weights, whole = [1] * len(weights), len(weights)
    given = reached = 0
    for weight in weights:
        reached += weight
        upto = total * reached // whole
        yield upto - given
        given = upto

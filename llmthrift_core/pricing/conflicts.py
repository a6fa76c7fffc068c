"""Where genai-prices and litellm disagree about a price."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmthrift_core.pricing.genai import GenaiPrices
    from llmthrift_core.pricing.litellm import LitellmPrices

_COMPARED = {
    "input_usd_per_million": "input_tokens",
    "output_usd_per_million": "output_tokens",
    "cache_read_usd_per_million": "cache_read_tokens",
}


@dataclass(frozen=True, slots=True)
class Conflict:
    """One price on which the lists disagree. genai-prices' is the one that counts.

    Attributes:
        model: the name in genai-prices.
        provider: whose price it is.
        litellm_model: the key in litellm's map.
        field: "input_usd_per_million", "output_usd_per_million" or "cache_read_usd_per_million".
        genai_usd, litellm_usd: US dollars.
    """

    model: str
    provider: str
    litellm_model: str
    field: str
    genai_usd: Decimal
    litellm_usd: Decimal


def conflicts_between(genai: GenaiPrices, litellm: LitellmPrices, at_us: int) -> list[Conflict]:
    """Every disagreement at a time, by provider and model; prices that only one of the lists has are none."""
    found: list[Conflict] = []
    for provider, name, key in litellm.models():
        ours = genai.find(provider, name, None, at_us) if genai.has_provider(provider) else None
        theirs = litellm.listing(key) if ours is not None else None
        if ours is None or theirs is None:
            continue
        for field, unit in _COMPARED.items():
            a, b = ours.sheet.usd_per(unit, 1_000_000), theirs.sheet.usd_per(unit, 1_000_000)
            if a is not None and b is not None and a != b:
                found.append(Conflict(ours.model, provider, key, field, a, b))
    return sorted(found, key=lambda conflict: (conflict.provider, conflict.model, conflict.litellm_model, conflict.field))

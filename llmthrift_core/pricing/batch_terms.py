"""The discounts of providers' batch APIs, for models whose batch prices a price list leaves out.

| provider | discount | on cached input |
|---|---|---|
| Anthropic | 50% of every token price, on all models | stacks: reads and writes are halved, too (platform.claude.com, "Batch processing") |
| OpenAI | 50% of input and output | does not: the standard price of cached input (developers.openai.com, "Batch API") |
| Google | 50% of input and output | does not: the standard price of context caching (ai.google.dev, "Batch API") |

As of November 2026. Searches and other requests beside the tokens have no discount. A price that a list states is never changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Final

from llmthrift_core.pricing.sheet import Rate

BATCH: Final = "batch"
_HALF: Final = Fraction(1, 2)
# Whether the discount also applies to what is read from the prompt cache, and written to it.
_STACKS: Final[Mapping[str, bool]] = {"anthropic": True, "openai": False, "google": False}
_ONLY_MAKERS: Final[Mapping[str, tuple[str, ...]]] = {"google": ("gemini", "gemma")}  # it also sells models on others' terms


def batch_rates(
    standard: Mapping[str, Rate], provider: str | None, model: str, *, listed: Mapping[str, Rate] | None = None
) -> dict[str, Rate]:
    """The prices of a batch: those that a list states, and the provider's discount on the others.

    Args:
        standard: the prices of single calls, by unit.
        listed: the list's own batch prices, by unit.
    """
    own = dict(listed or {})
    if provider is None or provider not in _STACKS or not _is_on_terms(provider, model):
        return {**standard, **own}
    stacks = _STACKS[provider]
    return {unit: own[unit] if unit in own else _discounted(unit, rate, stacks) for unit, rate in standard.items()} | own


def _discounted(unit: str, rate: Rate, stacks: bool) -> Rate:
    if not unit.endswith("_tokens") or (unit.startswith("cache_") and not stacks):
        return rate
    return rate.times(_HALF)


def _is_on_terms(provider: str, model: str) -> bool:
    makers = _ONLY_MAKERS.get(provider)
    return makers is None or model.lower().startswith(makers)

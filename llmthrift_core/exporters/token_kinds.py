"""The cost of a group of calls, divided over the kinds of tokens that it was paid for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from llmthrift_core.errors import UnknownModelError
from llmthrift_core.moments import from_us
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.usage.usage import UNIT_OF_FIELD

COUNTS: Final = tuple(name for name in UNIT_OF_FIELD if name != "web_searches")
"""The counts of a call that its cost is divided by."""


@dataclass(frozen=True, slots=True)
class Part:
    """A share of a group's cost.

    Attributes:
        kind: "input", "cache read", "output", ...: disjoint, other than the counts of a `Usage`.
        unit: "tokens", or of what is billed beside tokens "searches" and "attempts".
    """

    kind: str
    unit: str
    quantity: int
    cost_nano_usd: int


class CostDivider:
    """Divides what calls did cost by what their kinds of tokens cost in proportion.

    A row has what it cost by its input and by its output. Within these the price list of its day gives the proportions; every sum stays
    what it was. A model that no list knows any more is divided by the proportions that are usual.
    """

    def __init__(self, prices: PriceCatalog) -> None:
        self._prices = prices
        self._rates: dict[tuple[str, str | None, int], Mapping[str, Decimal]] = {}

    def divide(self, sums: Mapping[str, Any], *, model: str, provider: str | None, day_us: int) -> list[Part]:
        """The parts of a group's cost; those without tokens and cost are left out.

        Args:
            sums: COUNTS, web_searches, attempts, and the costs in nano-USD: cost_nano_usd, input_cost_nano_usd, output_cost_nano_usd.
        """
        rates = self._rates_of(model, provider, day_us)
        sent, made = _disjoint(sums)
        parts = [
            *_shares(sent, sums["input_cost_nano_usd"], rates),
            *_shares(made, sums["output_cost_nano_usd"], rates),
        ]
        rest = sums["cost_nano_usd"] - sum(part.cost_nano_usd for part in parts)
        if sums["web_searches"]:
            parts.append(Part("web search", "searches", sums["web_searches"], rest))
        elif rest and parts and abs(rest) <= 2 * sums["attempts"]:
            # A row's total and its two parts are rounded by themselves, which leaves a nano-dollar or two a call.
            largest = max(range(len(parts)), key=lambda index: abs(parts[index].cost_nano_usd))
            found = parts[largest]
            parts[largest] = Part(found.kind, found.unit, found.quantity, found.cost_nano_usd + rest)
        elif rest:
            parts.append(Part("other fees", "attempts", sums["attempts"], rest))
        return parts

    def _rates_of(self, model: str, provider: str | None, day_us: int) -> Mapping[str, Decimal]:
        key = (model, provider, day_us)
        if key not in self._rates:
            if len(self._rates) >= 10_000:  # one day has few models; an export goes through its days in order
                self._rates.clear()
            try:
                found = self._prices.find(model, provider=provider, at=from_us(day_us))
            except UnknownModelError:
                self._rates[key] = _USUAL
            else:
                known = {kind: getattr(found, name) for kind, name in _PRICES.items()}
                self._rates[key] = _filled(known)
        return self._rates[key]


_PRICES: Final = {
    "input": "input_usd_per_million",
    "cache read": "cache_read_usd_per_million",
    "cache write": "cache_write_usd_per_million",
    "cache write, 1 hour": "cache_write_1h_usd_per_million",
    "audio input": "input_audio_usd_per_million",
    "image input": "input_image_usd_per_million",
    "output": "output_usd_per_million",
    "audio output": "output_audio_usd_per_million",
    "image output": "output_image_usd_per_million",
}
# Where a price list has no price of its own for a kind, it is paid as what contains it.
_PAID_AS: Final = {
    "cache read": "input",
    "cache write": "input",
    "cache write, 1 hour": "cache write",
    "audio input": "input",
    "cached audio input": "cache read",
    "image input": "input",
    "reasoning": "output",
    "audio output": "output",
    "image output": "output",
}
# Anthropic's multiples, https://docs.claude.com/en/docs/build-with-claude/prompt-caching: written 1.25 and 2 times, read a tenth.
_USUAL: Final[Mapping[str, Decimal]] = {
    **dict.fromkeys([*_PRICES, *_PAID_AS], Decimal(1)),
    "cache read": Decimal("0.1"),
    "cached audio input": Decimal("0.1"),
    "cache write": Decimal("1.25"),
    "cache write, 1 hour": Decimal(2),
}


def _filled(known: Mapping[str, Decimal | None]) -> Mapping[str, Decimal]:
    rates = {kind: rate for kind, rate in known.items() if rate is not None}
    for kind, whole in _PAID_AS.items():  # what contains comes before what is contained
        if kind not in rates and whole in rates:
            rates[kind] = rates[whole]
    return rates


def _disjoint(sums: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, int]]:
    """Tokens by kind, sent and made, each token once."""
    cached_audio = sums["cache_read_audio_tokens"]
    sent = {
        "cache read": sums["cache_read_tokens"] - cached_audio,
        "cached audio input": cached_audio,
        "cache write": sums["cache_write_tokens"] - sums["cache_write_1h_tokens"],
        "cache write, 1 hour": sums["cache_write_1h_tokens"],
        "audio input": sums["input_audio_tokens"] - cached_audio,
        "image input": sums["input_image_tokens"],
    }
    made = {
        "reasoning": sums["reasoning_tokens"],
        "audio output": sums["output_audio_tokens"],
        "image output": sums["output_image_tokens"],
    }
    return _with_rest("input", sums["input_tokens"], sent), _with_rest("output", sums["output_tokens"], made)


def _with_rest(name: str, total: int, parts: dict[str, int]) -> dict[str, int]:
    # Kinds may overlap, such as pictures in a cached prompt: then the last ones are counted as what they overlap with.
    found: dict[str, int] = {}
    left = total
    for kind, tokens in parts.items():
        found[kind] = min(max(tokens, 0), left)
        left -= found[kind]
    return {name: left, **found}


def _shares(tokens: Mapping[str, int], cost_nano_usd: int, rates: Mapping[str, Decimal]) -> list[Part]:
    used = [(kind, count) for kind, count in tokens.items() if count]
    weights = [count * rates.get(kind, Decimal(0)) for kind, count in used]
    if used and not any(weights):
        weights = [Decimal(count) for _, count in used]
    return [Part(kind, "tokens", count, cost) for (kind, count), cost in zip(used, apportion(cost_nano_usd, weights), strict=True)]


def apportion(total: int, weights: Sequence[Decimal]) -> list[int]:
    """Whole parts of a total in proportion to weights, by the largest remainders. They sum up to the total.

    >>> apportion(100, [Decimal(1), Decimal(1), Decimal(1)])
    [34, 33, 33]
    """
    whole = sum(weights)
    if not weights or not whole:
        return [0] * len(weights)
    exact = [total * weight / whole for weight in weights]
    parts = [int(share // 1) if share >= 0 else -int(-share // 1) for share in exact]
    left = total - sum(parts)
    by_remainder = sorted(range(len(parts)), key=lambda index: abs(exact[index] - parts[index]), reverse=True)
    step = 1 if left > 0 else -1
    for index in by_remainder[: abs(left)]:
        parts[index] += step
    return parts

"""`PriceSheet`: the exact prices of one model at one time, by unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from llmthrift_core.usage.units import all_units, joint_unit

# https://ai.google.dev/gemini-api/docs/pricing: "text / image / video / audio" share a price where audio has none of its own.
_ONE_PRICE_PROVIDERS = frozenset({"google"})


@dataclass(frozen=True, slots=True)
class Rate:
    """The price of one unit in US dollars, exactly.

    Attributes:
        usd: for each unit.
        tiers: (start, usd) pairs, ascending: a call of more than `start` input tokens pays `usd` for every unit, also for the
            first.
    """

    usd: Fraction
    tiers: tuple[tuple[int, Fraction], ...] = ()

    def at(self, input_tokens: int) -> Fraction:
        """The price in a call of so many input tokens."""
        usd = self.usd
        for start, above in self.tiers:
            if input_tokens > start:
                usd = above
        return usd

    def times(self, factor: Fraction) -> Rate:
        return Rate(self.usd * factor, tuple((start, usd * factor) for start, usd in self.tiers))


@dataclass(frozen=True, slots=True)
class PriceSheet:
    """The prices of one model at one time.

    Attributes:
        rates: by the unit's key. A unit without a rate is paid as part of the unit that contains it, or not at all.
        minimum_audio_seconds: what a call with any audio is billed at least.
        unpriced: units that nobody knows the price of: a call that used any of them has no price.
    """

    rates: Mapping[str, Rate] = field(default_factory=dict)
    minimum_audio_seconds: int = 0
    unpriced: frozenset[str] = frozenset()

    def usd_per(self, unit: str, count: int) -> Decimal | None:
        """The base price of `count` units in US dollars; None where the unit has no price of its own."""
        rate = self.rates.get(unit)
        return None if rate is None else decimal_of(rate.usd * count)


def completed(rates: Mapping[str, Rate]) -> dict[str, Rate]:
    """The rates, and those that follow from them.

    A one-hour cache write needs a price of cache writes to be part of: the input price. An overlap without a price of its
    own, such as cached audio, costs as much as the part that is not cached.
    """
    complete = dict(rates)
    if "cache_write_1h_tokens" in complete and "cache_write_tokens" not in complete and "input_tokens" in complete:
        complete["cache_write_tokens"] = complete["input_tokens"]
    units = all_units()
    for modality in ("input_audio_tokens", "input_image_tokens", "input_video_tokens"):
        for cached in ("cache_read_tokens", "cache_write_tokens"):
            if modality in complete and cached in complete:
                joint = joint_unit(units[modality], units[cached])
                if joint is not None:
                    complete.setdefault(joint.key, complete[modality])
    return complete


def unpriced_units(rates: Mapping[str, Rate], provider: str | None, model: str) -> frozenset[str]:
    """The units that a price list leaves without a price, and that are not known to cost what text costs.

    Audio costs several times as much as text wherever both have a price; only Google's page states one price for everything
    where it states none for audio. Images and video are sent as tokens of the model, and cost what its text costs unless a price of
    their own is listed; what an image model makes are images, whose price is its output price. Cached audio is no longer text and not
    quite audio: where both have a price, it needs its own.
    """
    found: set[str] = set()
    if provider not in _ONE_PRICE_PROVIDERS and "gemini" not in model.lower():
        for whole, audio in (("input_tokens", "input_audio_tokens"), ("output_tokens", "output_audio_tokens")):
            rate = rates.get(whole)
            if rate is not None and (rate.usd or rate.tiers) and audio not in rates:
                found.add(audio)
    if "input_audio_tokens" in rates and "cache_read_tokens" in rates and "cache_audio_read_tokens" not in rates:
        found.add("cache_audio_read_tokens")
    return frozenset(found)


def decimal_of(value: Fraction) -> Decimal:
    """To 28 significant digits, which is exact for every listed price."""
    return (Decimal(value.numerator) / Decimal(value.denominator)).normalize() + 0

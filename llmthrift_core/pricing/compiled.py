"""`CompiledPrice`: a price sheet as integers, so that pricing a call costs microseconds.

Counts of a usage are inclusive. As in genai-prices, each priced unit pays for what is left of it without its priced parts:
with prices for input and cache reads, a call of 1,000 input tokens with 600 cache reads pays 600 at the one and 400 at the
other. The terms are summed exactly over a common denominator (pico-USD, or finer where a price needs it) and rounded once,
half to even.
"""

from __future__ import annotations

from bisect import bisect_left
from decimal import Decimal
from fractions import Fraction
from math import lcm

from llmthrift_core.money import NANO_PER_USD, PICO_PER_NANO
from llmthrift_core.pricing.sheet import PriceSheet, decimal_of
from llmthrift_core.usage import UNIT_OF_FIELD, Usage, counts_of, uncached_counts_of
from llmthrift_core.usage.units import Unit, all_units

_POSITION = {unit: position for position, unit in enumerate(UNIT_OF_FIELD.values())}
_SIDES = {None: 0, "input": 1, "output": 2}
_AUDIO_SECONDS = ("audio_seconds", "input_audio_seconds")

# (position of the count, positions among the terms that are parts of this one, numerator per unit, side)
_Term = tuple[int, tuple[int, ...], int, int]


class CompiledPrice:
    """The prices of one model at one time, ready to be applied."""

    __slots__ = ("_bands", "_denominator", "_fixed", "_minimum_audio_seconds", "_rare", "_starts", "_units", "_unpriced", "_usual_bands")

    def __init__(self, sheet: PriceSheet) -> None:
        units = all_units()
        priced = sorted(
            (units[key] for key in sheet.rates if key in units and key != "requests"),
            key=lambda unit: (-len(unit.dimensions), unit.key),
        )
        self._units = priced
        self._rare = tuple(unit.key for unit in priced if unit.key not in _POSITION)
        self._minimum_audio_seconds = sheet.minimum_audio_seconds
        self._unpriced = tuple(_POSITION[unit] for unit in sorted(sheet.unpriced))
        self._starts = tuple(sorted({start for rate in sheet.rates.values() for start, _ in rate.tiers}))
        nano = [rate * NANO_PER_USD for _, table in self._tables(sheet) for rate in table.values()]
        self._denominator = lcm(PICO_PER_NANO, *(rate.denominator for rate in nano))
        self._bands: list[tuple[_Term, ...]] = []
        self._fixed: list[int] = []
        for _, table in self._tables(sheet):
            scaled = {key: int(usd * NANO_PER_USD * self._denominator) for key, usd in table.items()}
            self._bands.append(tuple(self._term(unit, priced[:index], scaled) for index, unit in enumerate(priced)))
            self._fixed.append(scaled.get("requests", 0))
        self._usual_bands = [_without_rare(band) for band in self._bands]

    def unpriced_units(self, usage: Usage) -> list[str]:
        """What was used and has no price."""
        counts, units = counts_of(usage), tuple(_POSITION)
        return [units[position] for position in self._unpriced if counts[position]]

    def nano_usd(self, usage: Usage, *, uncached: bool = False) -> tuple[int, int, int] | None:
        """Nano-USD of everything, of the input and of the output, each rounded once; None where the counts contradict each
        other, one that decides the price was left open, or something was used that has no price.

        What is billed beside the tokens, such as web searches, is in the first only.

        Args:
            uncached: what it would be, had nothing been read from a provider's cache and nothing been written to it.
        """
        counts: tuple[int | Fraction, ...] = uncached_counts_of(usage) if uncached else counts_of(usage)
        for position in self._unpriced:
            if counts[position]:
                return None
        band = bisect_left(self._starts, counts[0]) if self._starts else 0
        terms = self._usual_bands[band]
        if usage.other or terms is None:
            known = self._with_rare(counts, usage)
            if known is None:
                return None
            counts = known
            band = bisect_left(self._starts, counts[0])  # a fraction of a token may be beyond the limit
            terms = self._bands[band]
        sums: list[int | Fraction] = [self._fixed[band], 0, 0]
        lefts: list[int | Fraction] = []
        for position, parts, numerator, side in terms:
            left = counts[position]
            for part in parts:
                left -= lefts[part]
            if left:
                if left < 0:
                    return None
                sums[side] += left * numerator
            lefts.append(left)
        beside, sent, made = sums
        denominator = self._denominator
        return _rounded(beside + sent + made, denominator), _rounded(sent, denominator), _rounded(made, denominator)

    def breakdown(self, usage: Usage) -> dict[str, Decimal]:
        """US dollars by unit, not rounded, of every unit that was used and has a price."""
        known = self._with_rare(counts_of(usage), usage)
        if known is None:
            return {}
        band = bisect_left(self._starts, known[0])
        lefts: list[int | Fraction] = []
        usd: dict[str, Decimal] = {}
        for unit, (position, parts, numerator, _) in zip(self._units, self._bands[band], strict=True):
            left = known[position] - sum(lefts[part] for part in parts)
            lefts.append(left)
            if left:
                usd[unit.key] = decimal_of(Fraction(left * numerator) / (self._denominator * NANO_PER_USD))
        if self._fixed[band]:
            usd["requests"] = decimal_of(Fraction(self._fixed[band], self._denominator * NANO_PER_USD))
        return dict(sorted(usd.items()))

    def _tables(self, sheet: PriceSheet) -> list[tuple[int, dict[str, Fraction]]]:
        units = all_units()
        reached = (0, *(start + 1 for start in self._starts))
        return [(sent, {key: rate.at(sent) for key, rate in sheet.rates.items() if key in units}) for sent in reached]

    def _term(self, unit: Unit, before: list[Unit], scaled: dict[str, int]) -> _Term:
        position = _POSITION.get(unit.key)
        if position is None:
            position = len(_POSITION) + self._rare.index(unit.key)
        parts = tuple(index for index, other in enumerate(before) if other.is_part_of(unit))
        return position, parts, scaled[unit.key], _SIDES[unit.direction]

    def _with_rare(self, counts: tuple[int | Fraction, ...], usage: Usage) -> tuple[int | Fraction, ...] | None:
        """The counts of the fields, then those of the other priced units."""
        other = dict(usage.other)
        for unit in self._units:
            if unit.key in other and other[unit.key] is None:
                return None
        if self._starts and other.get("input_tokens", 0) is None:
            return None
        if not _POSITION.keys().isdisjoint(other):  # a count with a field of its own that is no whole number
            counts = tuple(Fraction(str(other.get(unit) or count)) for unit, count in zip(_POSITION, counts, strict=True))
        rare: list[int | Fraction] = []
        for key in self._rare:
            count = other.get(key) or 0
            if self._minimum_audio_seconds and key in _AUDIO_SECONDS:
                reported = other.get("audio_seconds") or other.get("input_audio_seconds") or 0
                count = max(reported, self._minimum_audio_seconds) if reported else 0
            rare.append(count if isinstance(count, int) else Fraction(str(count)))  # as it prints
        return (*counts, *rare)


def _without_rare(band: tuple[_Term, ...]) -> tuple[_Term, ...] | None:
    """The terms of a usage that has no rare counts; None where a rare unit has parts that are not, so that it has to be looked at."""
    places = {old: new for new, old in enumerate(index for index, term in enumerate(band) if term[0] < len(_POSITION))}
    if any(part in places for position, parts, *_ in band if position >= len(_POSITION) for part in parts):
        return None
    kept = (band[index] for index in places)
    return tuple((position, tuple(places[part] for part in parts if part in places), *rest) for position, parts, *rest in kept)


def _rounded(numerator: int | Fraction, denominator: int) -> int:
    """Half to even, as money.pico_to_nano, over any denominator."""
    whole, rest = divmod(numerator, denominator)
    rest *= 2
    if rest > denominator or (rest == denominator and whole & 1):
        whole += 1
    return whole

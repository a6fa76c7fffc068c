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
from typing import Any, NamedTuple

from llmthrift_core.money import NANO_PER_USD, PICO_PER_NANO
from llmthrift_core.pricing.sheet import PriceSheet, decimal_of
from llmthrift_core.usage import UNIT_OF_FIELD, Usage, counts_of, uncached_counts_of
from llmthrift_core.usage.units import Unit, all_units

_POSITION = {unit: position for position, unit in enumerate(UNIT_OF_FIELD.values())}
_SIDES = {None: 0, "input": 1, "output": 2}
_AUDIO_SECONDS = ("audio_seconds", "input_audio_seconds")

# (position of the count, positions among the terms that are parts of this one, numerator per unit, side)
_Term = tuple[int, tuple[int, ...], int, int]


class _Line(NamedTuple):
    """What counts of text add to the price: a part adds what it costs beyond the rest of its total."""

    fixed: int
    search: int
    sent: int
    read: int
    write: int
    hour: int
    made: int
    reasoning: int


class CompiledPrice:
    """The prices of one model at one time, ready to be applied."""

    __slots__ = ("_bands", "_denominator", "_fixed", "_lines", "_minimum_audio_seconds", "_rare", "_starts", "_units", "_unpriced")

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
        self._lines = [self._line(band) for band in range(len(self._bands))]

    def unpriced_units(self, usage: Usage) -> list[str]:
        """What was used and has no price."""
        counts, units = counts_of(usage), tuple(_POSITION)
        return [units[position] for position in self._unpriced if counts[position]]

    def nano_usd(self, usage: Usage) -> tuple[int, int, int, int | None] | None:
        """Nano-USD of everything, of the input and of the output, each rounded once; None where the counts contradict each
        other, one that decides the price was left open, or something was used that has no price.

        What is billed beside the tokens, such as web searches, is in the first only. The last is everything again, had nothing been
        read from a provider's cache and nothing been written to it; None where that has no price.
        """
        counts = counts_of(usage)
        sent, made, read, write, hour, reasoning, audio_in, audio_out, searches, audio_read, image_in, image_out = counts
        line = self._lines[bisect_left(self._starts, sent) if self._starts else 0]
        is_text = not (audio_in or audio_out or audio_read or image_in or image_out or usage.other)
        if line is not None and is_text and read + write <= sent and hour <= write and reasoning <= made:
            fixed, per_search, per_sent, per_read, per_write, per_hour, per_made, per_reasoning = line
            of_cache = read * per_read + write * per_write + hour * per_hour
            of_input = sent * per_sent + of_cache
            of_output = made * per_made + reasoning * per_reasoning
            whole = fixed + searches * per_search + of_input + of_output
            uncached = whole - of_cache
        elif (sums := self._sums(counts, usage)) is not None:
            beside, of_input, of_output = sums
            uncached = whole = beside + of_input + of_output
            if read or write:
                plain = self._sums(uncached_counts_of(usage), usage)
                uncached = None if plain is None else sum(plain)
        else:
            return None
        denominator = self._denominator
        nano_usd = _rounded(whole, denominator)
        without = None if uncached is None else _rounded(uncached, denominator) if uncached != whole else nano_usd
        return nano_usd, _rounded(of_input, denominator), _rounded(of_output, denominator), without

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

    def _sums(self, counts: tuple[int | Fraction, ...], usage: Usage) -> list[Any] | None:
        """What is billed beside the tokens, for the input and for the output, over the denominator; None where there is no price."""
        for position in self._unpriced:
            if counts[position]:
                return None
        if self._rare or usage.other:
            known = self._with_rare(counts, usage)
            if known is None:
                return None
            counts = known
        return self._in_band(bisect_left(self._starts, counts[0]), counts)

    def _in_band(self, band: int, counts: tuple[int | Fraction, ...]) -> list[Any] | None:
        sums: list[int | Fraction] = [self._fixed[band], 0, 0]
        lefts: list[int | Fraction] = []
        for position, parts, numerator, side in self._bands[band]:
            left = counts[position]
            for part in parts:
                left -= lefts[part]
            if left:
                if left < 0:
                    return None
                sums[side] += left * numerator
            lefts.append(left)
        return sums

    def _line(self, band: int) -> _Line | None:
        """What each count adds by itself, as long as no part exceeds its total; None where that is not all there is to it."""

        unpriced = {tuple(UNIT_OF_FIELD)[position] for position in self._unpriced}

        def of_one(side: int, *names: str) -> int | None:
            """What one token that is all of this adds on its side alone."""
            counts = tuple(int(name in names) for name in UNIT_OF_FIELD) + (0,) * len(self._rare)
            sums = self._in_band(band, counts)
            if sums is None or not unpriced.isdisjoint(names):
                return None
            sums[0] -= self._fixed[band]
            return sums.pop(side) if not any(sums[:side] + sums[side + 1 :]) else None

        sent, made, search = of_one(1, "input_tokens"), of_one(2, "output_tokens"), of_one(0, "web_searches")
        read = of_one(1, "input_tokens", "cache_read_tokens")
        write = of_one(1, "input_tokens", "cache_write_tokens")
        hour = of_one(1, "input_tokens", "cache_write_tokens", "cache_write_1h_tokens")
        reasoning = of_one(2, "output_tokens", "reasoning_tokens")
        if sent is None or made is None or search is None or read is None or write is None or hour is None or reasoning is None:
            return None
        return _Line(self._fixed[band], search, sent, read - sent, write - sent, hour - write, made, reasoning - made)

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


def _rounded(numerator: int | Fraction, denominator: int) -> int:
    """Half to even, as money.pico_to_nano, over any denominator."""
    whole, rest = divmod(numerator, denominator)
    rest *= 2
    if rest > denominator or (rest == denominator and whole & 1):
        whole += 1
    return whole

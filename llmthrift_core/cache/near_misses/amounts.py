"""Amounts in one spelling: "2 weeks" and "14 days", "500 g" and "half a kilo", "90 minutes" and "an hour and a half" are equal."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from llmthrift_core.cache.near_misses.numbers import is_number
from llmthrift_core.cache.near_misses.words import word_set

# Each unit as how many of the smallest of its row; the first spelling of a size is the one under which it is compared.
_ROWS: Final = """
second seconds sec secs=1 minute minutes min mins=60 hour hours hr hrs h=3600 day days=86400 week weeks=604800 fortnight fortnights=1209600
; month months=1 quarter quarters=3 year years yr yrs=12 decade decades=120 century centuries=1200
; mg milligram milligrams=1 gram grams gramme grammes g=1000 kg kgs kilo kilos kilogram kilograms kilogramme kilogrammes=1000000
; oz ounce ounces=1 lb lbs=16
; mm millimeter millimeters millimetre millimetres=1 cm centimeter centimeters centimetre centimetres=10
meter meters metre metres m=1000 km kms kilometer kilometers kilometre kilometres=1000000
; inch inches=1 foot feet ft=12
; ml milliliter milliliters millilitre millilitres=1 cl centilitre centilitres=10 liter liters litre litres l=1000
; kb kilobyte kilobytes=1; mb megabyte megabytes=1; gb gigabyte gigabytes=1; tb terabyte terabytes=1
"""
_SHOWN: Final = word_set("second minute hour day month year mg gram kg oz lb mm cm meter km inch foot ml liter kb mb gb tb")
_ONE: Final = frozenset({"a", "an", "one"})


def _units() -> tuple[dict[str, tuple[int, int]], tuple[tuple[tuple[int, str], ...], ...]]:
    units: dict[str, tuple[int, int]] = {}
    shown = []
    for row, line in enumerate(_ROWS.split(";")):
        sizes = []
        words: list[str] = []
        for word in line.split():
            spelling, sign, size = word.partition("=")
            words.append(spelling)
            if sign:
                units.update(dict.fromkeys(words, (row, int(size))))
                if words[0] in _SHOWN:
                    sizes.append((int(size), words[0]))
                words = []
        shown.append(tuple(sorted(sizes, reverse=True)))
    return units, tuple(shown)


_UNITS, _SIZES = _units()
AMOUNT_WORDS: Final = frozenset(_UNITS)


def in_one_spelling(tokens: Sequence[str]) -> tuple[list[str], bool]:
    """The tokens with each amount in its largest whole unit, and whether a unit stands there without a number ("a day")."""
    result: list[str] = []
    loose = False
    place = 0
    while place < len(tokens):
        word = tokens[place]
        taken, number = _number(tokens, place)
        unit = tokens[place + taken] if place + taken < len(tokens) else ""
        if number is not None and unit in _UNITS:
            taken += 1
            more, part = _smaller(tokens, place + taken, unit)
            if more:
                taken += more
                number += part
            elif tuple(tokens[place + taken : place + taken + 3]) == ("and", "a", "0.5") or tuple(
                tokens[place + taken : place + taken + 2]
            ) == ("and", "0.5"):
                taken += 3 if tokens[place + taken + 1] == "a" else 2
                number += Fraction(1, 2)
            elif word in _ONE:  # "a day", which may also be "daily"
                loose = True
                result.extend(tokens[place : place + taken])
                place += taken
                continue
            result.extend(_spelled(number, unit))
            place += taken
        else:
            result.append(word)
            place += 1
    return result, loose


def _smaller(tokens: Sequence[str], place: int, unit: str) -> tuple[int, Fraction]:
    """How many tokens say a part of the amount before them in a smaller unit ("an hour and 15 minutes", "5 ft 10 in"), and the part."""
    start = place + (place < len(tokens) and tokens[place] in ("and", ","))
    if start >= len(tokens):
        return 0, Fraction(0)
    taken, number = _number(tokens, start)
    less = tokens[start + taken] if start + taken < len(tokens) else ""
    if number is None or less not in _UNITS or _UNITS[less][0] != _UNITS[unit][0] or _UNITS[less][1] >= _UNITS[unit][1]:
        return 0, Fraction(0)
    return start + taken + 1 - place, number * _UNITS[less][1] / _UNITS[unit][1]


def _number(tokens: Sequence[str], place: int) -> tuple[int, Fraction | None]:
    """How many tokens the number before a unit takes, and the number."""
    word = tokens[place]
    if word in _ONE:
        return 1, Fraction(1)
    if is_number(word) and len(word) < 13 and "," not in word and ":" not in word:
        try:
            number = Fraction(word)
        except ValueError:
            return 0, None
        follows = tokens[place + 1 : place + 3]
        if word == "0.5" and follows and follows[0] in _ONE:
            return 2, number
        if follows and follows[0] == "-" and len(follows) > 1 and follows[1] in _UNITS:
            return 2, number
        return 1, number
    return 0, None


def _spelled(number: Fraction, unit: str) -> tuple[str, str]:
    row, size = _UNITS[unit]
    total = number * size
    for step, name in _SIZES[row]:
        if (total / step).denominator == 1 and total:
            return str(total // step), name
    name = _SIZES[row][-1][1]
    value = total / _SIZES[row][-1][0]
    return (str(value.numerator) if value.denominator == 1 else f"{float(value):g}"), name

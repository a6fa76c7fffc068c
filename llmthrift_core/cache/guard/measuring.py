"""Dates, units and money in a text that was read into tokens."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from llmthrift_core.cache.guard.numbers import is_number
from llmthrift_core.cache.guard.quantities import (
    AFTER_NUMBER,
    CURRENCIES,
    DATE_LEADS,
    DAYS,
    MAY_LEADS,
    MONTHS,
    PERIODS,
    POUNDS,
    RELATIONS,
    SHORT_DATES,
    SPANS,
    UNITS,
    WEIGHTS,
)
from llmthrift_core.cache.guard.reader import Reading

_NOTHING: Final[frozenset[str]] = frozenset()
_CALENDAR: Final = {**MONTHS, **DAYS}
CALENDAR_WORDS: Final = frozenset(_CALENDAR)
_SHORT_WORDS: Final = frozenset(SHORT_DATES)
UNIT_WORDS: Final = frozenset(UNITS)
_AFTER_WORDS: Final = frozenset(AFTER_NUMBER)
_SPAN_WORDS: Final = frozenset(SPANS)
_CURRENCY_WORDS: Final = frozenset(CURRENCIES)
MONEY_WORDS: Final = _CURRENCY_WORDS | POUNDS


def dates_of(tokens: list[str], words: frozenset[str], reading: Reading) -> frozenset[str]:
    """Months, days, parts of the day and spans such as "last week"."""
    dates = set(reading.clock)
    for word in words & CALENDAR_WORDS:
        if word == "am":
            if _after_number(tokens, word):
                dates.add("am")
        elif not (word in ("morning", "afternoon", "evening") and ("good", word) in pairwise(tokens)):
            dates.add(_CALENDAR[word])
    if words & _SHORT_WORDS:
        dates.update(_short(tokens, reading))
    if words & PERIODS:
        for place, piece in enumerate(tokens):
            if piece in PERIODS and place and tokens[place - 1] in RELATIONS:
                dates.add(f"{RELATIONS[tokens[place - 1]]} {piece.removesuffix('s')}")
    return frozenset(dates) if dates else _NOTHING


def _after_number(tokens: list[str], word: str) -> bool:
    return any(piece == word and place and is_number(tokens[place - 1]) for place, piece in enumerate(tokens))


def _short(tokens: list[str], reading: Reading) -> set[str]:
    found: set[str] = set()
    for place, piece in enumerate(tokens):
        if piece not in SHORT_DATES:
            continue
        before = tokens[place - 1] if place else ""
        after = tokens[place + 1] if place + 1 < len(tokens) else ""
        leads = MAY_LEADS if piece == "may" else DATE_LEADS
        if is_number(before) or is_number(after) or before in leads or (piece == "may" and piece in reading.names):
            found.add(SHORT_DATES[piece])
    return found


def units_of(tokens: list[str], words: frozenset[str], counted: bool) -> frozenset[str]:
    """The units of measure in a text, those of one letter only right after a number."""
    units = {UNITS[word] for word in words & UNIT_WORDS}
    if counted and words & _AFTER_WORDS:
        for place, piece in enumerate(tokens):
            if piece in AFTER_NUMBER and place and is_number(tokens[place - 1]) and piece not in SPANS:
                unit = AFTER_NUMBER[piece]
                if piece != "in" or place + 1 == len(tokens) or tokens[place + 1] in ("to", "in", "into"):
                    units.add(unit)
    return frozenset(units) if units else _NOTHING


def spans_of(words: frozenset[str]) -> frozenset[str]:
    """The spans of time that a text names."""
    return frozenset(SPANS[word] for word in words & _SPAN_WORDS)


def currencies_of(words: frozenset[str], units: frozenset[str], signs: set[str]) -> frozenset[str]:
    """The currencies of a text. "Pounds" are money unless something is weighed."""
    found = words & MONEY_WORDS
    if not found and not signs:
        return _NOTHING
    currencies = signs | {CURRENCIES[word] for word in found if word in CURRENCIES}
    if found & POUNDS:
        currencies.add("lb" if (words | units) & WEIGHTS else "gbp")
    return frozenset(currencies)

"""Dates, units and money in a text that was read into tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final

from llmthrift_core.cache.near_misses.forms import is_misspelt
from llmthrift_core.cache.near_misses.lexicon import is_word
from llmthrift_core.cache.near_misses.numbers import is_number
from llmthrift_core.cache.near_misses.quantities import (
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
from llmthrift_core.cache.near_misses.reader import Reading
from llmthrift_core.cache.near_misses.words import STOP_WORDS

_NOTHING: Final[frozenset[str]] = frozenset()
_CALENDAR: Final = {**MONTHS, **DAYS}
CALENDAR_WORDS: Final = frozenset(_CALENDAR)
_CALENDAR_ENDINGS: Final = ("day", "days", "dya", "ary", "ber", "row")
_SHORTEST_MISSPELT: Final = 5
_MISSPELT: Final = (
    "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "yesterday", "tomorrow", "weekday", "january", "february",
    "september", "october", "november", "december",
)  # fmt: skip
_SLIPS: Final = {"tommorow": "tomorrow", "tomorow": "tomorrow", "wensday": "wednesday", "wedensday": "wednesday", "febuary": "february"}
_PARTS_OF_DAY: Final = frozenset({"morning", "afternoon", "evening"})
_GREETED: Final = frozenset({"team", "folks", "guys", "sir", "madam", "mate", "where's", "quick"})
_HALVES: Final = (("am", frozenset({"morning"})), ("pm", frozenset({"afternoon", "evening", "tonight"})))
_WEEK: Final = frozenset({"monday", "friday"})
SHORT_WORDS: Final = frozenset(SHORT_DATES)
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
        elif word not in _PARTS_OF_DAY or not _is_greeting(word, tokens):
            dates.add(_CALENDAR[word])
    if words & SHORT_WORDS:
        dates.update(_short(tokens, reading))
    if words & PERIODS:
        for place, piece in enumerate(tokens):
            if piece in PERIODS and place and tokens[place - 1] in RELATIONS:
                dates.add(f"{RELATIONS[tokens[place - 1]]} {piece.removesuffix('s')}")
    return frozenset(dates) if dates else _NOTHING


def with_calendar_spelt(tokens: Iterable[str]) -> list[str]:
    """The tokens with weekdays and months in their spelling where a slip of the keyboard left one."""
    return [_spelt(token) if token.endswith(_CALENDAR_ENDINGS) else token for token in tokens]


@lru_cache(maxsize=4_096)
def _spelt(token: str) -> str:
    if len(token) < _SHORTEST_MISSPELT or token in _CALENDAR or is_word(token):
        return token
    if token in _SLIPS:
        return _SLIPS[token]
    return next((name for name in _MISSPELT if is_misspelt(token, name)), token)


def with_short_dates_spelt(tokens: Sequence[str], reading: Reading) -> list[str]:
    """The tokens with "mon", "wed", "sat", "sun" and "mar" in full where they are dates."""
    found = _short(tokens, reading)
    return [SHORT_DATES[token] if SHORT_DATES.get(token) in found else token for token in tokens]


def _is_greeting(word: str, tokens: list[str]) -> bool:
    """Whether a part of the day greets: "Morning! How do I ...", "good evening"."""
    if ("good", word) in pairwise(tokens):
        return True
    after = tokens[1] if len(tokens) > 1 else ""
    return tokens[0] == word and tokens.count(word) == 1 and (after in STOP_WORDS or after in _GREETED)


def same_dates(left: frozenset[str], right: frozenset[str]) -> bool:
    """Whether two sets of dates say the same: "5 pm" is in the afternoon or evening, weekdays are Monday to Friday."""
    return _spelled_out(left, right) == _spelled_out(right, left)


def _spelled_out(dates: frozenset[str], others: frozenset[str]) -> frozenset[str]:
    if dates >= _WEEK:
        dates = dates - _WEEK | {"weekday"}
    for half, parts in _HALVES:
        if half in others and half not in dates and dates & parts:
            dates = dates - parts | {half}
    return dates


def _after_number(tokens: list[str], word: str) -> bool:
    return any(piece == word and place and is_number(tokens[place - 1]) for place, piece in enumerate(tokens))


def _short(tokens: Sequence[str], reading: Reading) -> set[str]:
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

"""The facts of one text that a similar question must share: numbers, dates, money, units, codes, quotes, names, denial, direction."""

from __future__ import annotations

import hashlib
import re
from itertools import pairwise
from typing import Final

from llmthrift_core.cache.near_misses.alignment import content_of, foreign_content
from llmthrift_core.cache.near_misses.amounts import AMOUNT_WORDS, in_one_spelling
from llmthrift_core.cache.near_misses.antonyms import sides_of
from llmthrift_core.cache.near_misses.language import (
    FOREIGN,
    OTHER,
    in_order,
    is_beyond_latin,
    is_foreign,
    language_of,
    split_elisions,
    translated,
    without_accents,
)
from llmthrift_core.cache.near_misses.measuring import (
    CALENDAR_WORDS,
    MONEY_WORDS,
    SHORT_WORDS,
    UNIT_WORDS,
    currencies_of,
    dates_of,
    spans_of,
    units_of,
    with_calendar_spelt,
    with_short_dates_spelt,
)
from llmthrift_core.cache.near_misses.names import ABBREVIATED, NAME_WORDS, known_names
from llmthrift_core.cache.near_misses.negation import denied
from llmthrift_core.cache.near_misses.numbers import (
    NUMBER_WORDS,
    ORDINALS,
    SCALE_WORDS,
    is_number,
    merged,
)
from llmthrift_core.cache.near_misses.phrases import PHRASE_WORDS, in_one_word
from llmthrift_core.cache.near_misses.reader import OPERATORS, Reading
from llmthrift_core.cache.near_misses.roles import (
    PIVOTS,
    QUESTION_WORDS,
    focus_of,
    sides,
)
from llmthrift_core.cache.near_misses.words import NEGATORS, STOP_WORDS, TROUBLES, word_set

LONGEST: Final = 20_000
_NOTHING: Final[frozenset[str]] = frozenset()
# Words which are compared as something else than a name.
_COVERED: Final = NAME_WORDS | MONEY_WORDS | CALENDAR_WORDS | UNIT_WORDS | NUMBER_WORDS | {"us", "may"}
_DIGITS: Final = frozenset("0123456789")
_MERGING: Final = NUMBER_WORDS | SCALE_WORDS | {"times"}
_OPERATIONS: Final = {"plus": "+", "minus": "-", "times": "*", "x": "*"}
_SIGNS: Final = OPERATORS | frozenset(_OPERATIONS)
_PUNCTUATION: Final = re.compile(r"[\W_]+")
_LETTERED: Final = word_set(
    "vitamin option plan type class grade group hepatitis section part team point variant appendix gate terminal exhibit"
)
_SHOUTED: Final = frozenset({"and", "or", "not"})
_LONE: Final = frozenset("bcefghjlopqvwxz")


class Facts:
    """What must be equal in two texts for them to be the same question. Made by `Facts.of`; never changed."""

    __slots__ = (
        "bound",
        "cased",
        "caseless",
        "codes",
        "content",
        "currencies",
        "dates",
        "denies",
        "focus",
        "foreign",
        "formula",
        "goals",
        "key",
        "known",
        "language",
        "loose",
        "names",
        "numbers",
        "openers",
        "opposing",
        "origins",
        "quotes",
        "ranked",
        "said",
        "scope",
        "signs",
        "spans",
        "tokens",
        "trouble",
        "troubled",
        "units",
        "words",
    )  # fmt: skip

    bound: dict[str, set[str]]
    cased: dict[str, str]
    caseless: bool
    codes: frozenset[str]
    content: tuple[str, ...]
    currencies: frozenset[str]
    dates: frozenset[str]
    denies: bool
    focus: str
    foreign: bool
    formula: tuple[str, ...]
    goals: frozenset[str]
    key: str
    known: frozenset[str]
    language: str
    loose: bool
    names: frozenset[str]
    numbers: frozenset[str]
    openers: frozenset[str]
    opposing: frozenset[int]
    origins: frozenset[str]
    quotes: tuple[str, ...]
    ranked: frozenset[str]
    said: tuple[str, ...]
    scope: frozenset[str] | None
    signs: frozenset[str]
    spans: frozenset[str]
    tokens: tuple[str, ...]
    trouble: str
    troubled: bool
    units: frozenset[str]
    words: frozenset[str]

    @classmethod
    def of(cls, text: str) -> Facts:
        """The facts of a text. Beyond 20,000 characters the whole text is the only fact."""
        facts = cls()
        if len(text) > LONGEST:
            facts._fill(Reading(""), "", _digest(text))
        else:
            facts._fill(Reading(text), text, _PUNCTUATION.sub("", text.casefold()) or text.strip())
        return facts

    def _fill(self, reading: Reading, text: str, key: str) -> None:
        tokens, self.loose = reading.tokens, False
        if "" in tokens:
            tokens = [token for token in tokens if token]
        words = frozenset(tokens)
        self.language, self.said = "", ()
        if not text or ((not text.isascii() or not words.isdisjoint(FOREIGN)) and is_foreign(text, words)):
            self.language = OTHER
            if text and not is_beyond_latin(text):
                plain = [without_accents(token) for token in Reading(split_elisions(text)).tokens if token]
                self.language = language_of(plain, text)
                tokens = plain if self.language == OTHER else translated(plain, self.language)
                self.said = () if self.language == OTHER else tuple(in_order(plain, self.language))
        if self.language != OTHER:
            if not text.isascii():
                tokens = [without_accents(token) for token in tokens]
                reading.names = {without_accents(name) for name in reading.names}
            if not self.language:
                tokens = with_calendar_spelt(tokens)
                if not SHORT_WORDS.isdisjoint(tokens):
                    tokens = with_short_dates_spelt(tokens, reading)
                if not PHRASE_WORDS.isdisjoint(tokens):
                    tokens = in_one_word(tokens)
                reading.names = set(with_calendar_spelt(reading.names)) if reading.names else reading.names
            if not _MERGING.isdisjoint(tokens):
                reading.ranked.update(str(ORDINALS[token]) for token in tokens if token in ORDINALS)
                tokens, self.loose = merged(tokens)
            if not AMOUNT_WORDS.isdisjoint(tokens):
                tokens, is_loose = in_one_spelling(tokens)
                self.loose = self.loose or is_loose
        words = frozenset(tokens)
        self.key, self.tokens, self.words = key, tuple(tokens), words
        self.foreign = self.language == OTHER
        self.caseless = not self.language and reading.capitals > 2 and reading.capitals > 2 * reading.lowered
        self._count(tokens, words, reading)
        self.quotes = reading.quotes
        self.cased = {} if self.caseless else reading.cased
        self.signs = frozenset(reading.signs - _SHOUTED if self.caseless else reading.signs) if reading.signs else _NOTHING
        self.dates = dates_of(tokens, words, reading)
        self.units = units_of(tokens, words, bool(self.numbers))
        self.spans = spans_of(words)
        self.currencies = currencies_of(words, self.units, reading.currencies)
        self._name(tokens, words, reading)
        self.opposing = sides_of(tokens, words)
        self.denies, self.trouble, self.scope = denied(tokens, self.language) if words & NEGATORS else (False, "", _NOTHING)
        self.troubled = not words.isdisjoint(TROUBLES)
        self.origins, self.goals = sides(tokens) if words & PIVOTS else (_NOTHING, _NOTHING)
        self.focus = focus_of(tokens) if words & QUESTION_WORDS else ""
        self.content = () if self.foreign else content_of(tokens) if not self.language else foreign_content(tokens)

    def _count(self, tokens: list[str], words: frozenset[str], reading: Reading) -> None:
        self.numbers = frozenset(word for word in words if word[-1] in _DIGITS and is_number(word))
        places = [place for place, token in enumerate(tokens) if token in self.numbers] if self.numbers else []
        self.ranked = frozenset(reading.ranked & self.numbers) if reading.ranked else _NOTHING
        self.bound = _bound(tokens, places) if len(self.numbers) > 1 else {}
        signs = [place for place, token in enumerate(tokens) if token in _SIGNS] if places and not words.isdisjoint(_SIGNS) else ()
        if any(_is_term(tokens, place - 1) and _is_term(tokens, place + 1) for place in signs):
            self.formula = tuple(_OPERATIONS.get(token, token) for token in tokens if token in _SIGNS or is_number(token))
        else:
            self.formula = ()

    def _name(self, tokens: list[str], words: frozenset[str], reading: Reading) -> None:
        known, taken = known_names(tokens, words)
        codes = reading.codes
        if "us" in words and "us" in reading.names and not (reading.capitals > 2 and reading.capitals > 2 * reading.lowered):
            known.add("usa")
        known.update(ABBREVIATED[word] for word in words if "." in word and word in ABBREVIATED)
        if not _LONE.isdisjoint(words):
            codes = codes | (words & _LONE - {"x"} if self.formula else words & _LONE)
        if words & _LETTERED:
            codes = codes | {f"{one} {two}" for one, two in pairwise(tokens) if one in _LETTERED and len(two) == 1 and two not in "ai"}
        self.known = frozenset(known)
        self.codes = frozenset(codes)
        self.names = _NOTHING if self.caseless or self.language or not reading.names else frozenset(reading.names - _COVERED - taken)
        self.openers = _NOTHING if self.language else frozenset(reading.openers)


def _is_term(tokens: list[str], place: int) -> bool:
    return 0 <= place < len(tokens) and (is_number(tokens[place]) or len(tokens[place]) == 1)


def _bound(tokens: list[str], places: list[int]) -> dict[str, set[str]]:
    bound: dict[str, set[str]] = {}
    for place in places:
        for beside in (place - 1, place + 1):
            if 0 <= beside < len(tokens) and tokens[beside] not in STOP_WORDS and tokens[beside][0].isalpha():
                bound.setdefault(tokens[beside].removesuffix("s"), set()).add(tokens[place])
    return bound


def _digest(text: str) -> str:
    return hashlib.blake2b(" ".join(text.casefold().split()).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

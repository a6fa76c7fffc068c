"""A check whether two texts that differ in capitals only ask the same: "What is CO?" and "What is Co?" do not.

Capitals are habit at the beginning of a sentence, in a text without any, and in one of nothing else. Elsewhere they tell: signs of units,
elements and options, acronyms, and words that are a name with a capital and an ordinary word without.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from llmthrift_core.cache.near_misses.names import NAME_WORDS
from llmthrift_core.cache.near_misses.words import STOP_WORDS, word_set

_WORD: Final = re.compile(r"\w+")
_SENTENCE: Final = re.compile(r"(?:^|[.!?:]\s)[^\w-]*$")
_SHORTEST_ACRONYM: Final = 4  # as people write it small: "nasa", not "it" or "us"
_LONGEST_UNIT: Final = 3
_AMOUNT: Final = re.compile(r"\d\s?$")
_BEFORE: Final = 8  # characters that show whether a sentence begins
# Words of a question, which nobody takes for anything else.
_PLAIN: Final = word_set(
    "what where when why how which the is are was were of to for does did this that there have has please could would you your we my our"
)
# With a capital they name somebody, a place, a make or a disease; without it they are ordinary words.
_TWO_WORDS: Final = word_set(
    "us aids polish turkey may march august china job nice mobile reading bath cork rice apple amazon shell target gap word excel "
    "access windows teams slack swift rust go python java ruby oracle mercury earth mars mark bill will rob grace hope rose frank "
    "jack art map set list string chile jordan georgia guinea pole poles finnish german catholic lent mass bible host easter "
    "titanic hamlet cancer lima crete said sue drew pat chuck dick guy norm ray rich sandy stew victor wade ward dean earl grant "
    "heather holly iris ivy jasmine joy june april lily miles olive pearl penny summer violet uber visa chase discover stripe "
    "square zoom box fox delta united virgin orange three sprint boost cricket metro total dove tide gain bounce crest arm intel "
    "edge chrome safari opera spark kafka node"
)


def cases_differ(one: str, other: str) -> str | None:
    """How two texts of the same words differ in capitals, where that may be another question. None: by habit, or in more than capitals.

    >>> cases_differ("What is CO?", "What is Co?"), cases_differ("What is it?", "what is it?")
    ('capitals differ: CO, Co', None)
    """
    one, other = unicodedata.normalize("NFKC", one), unicodedata.normalize("NFKC", other)
    if one == other:
        return None
    mine, theirs = list(_WORD.finditer(one)), list(_WORD.finditer(other))
    if len(mine) != len(theirs):
        return None
    apart: list[tuple[str, str]] = []
    for left, right in zip(mine, theirs, strict=True):
        a, b = left[0], right[0]
        if a == b:
            continue
        if a.casefold() != b.casefold():
            return None
        if a.lower() != b.lower():  # letters that are one only where capitals count as small: "ß" and "ss"
            return f"letters differ: {a}, {b}"
        if _is_option(one, left.start()):
            return f"capitals differ: {one[left.start() - 1]}{a}, {one[left.start() - 1]}{b}"
        if len(a) <= _LONGEST_UNIT and _AMOUNT.search(one[: left.start()]):
            return f"capitals differ: {a}, {b}"
        begins = len(a) > 1 and a[1:] == b[1:] and _begins(one, left.start()) and _begins(other, right.start())
        if begins and a.lower() not in STOP_WORDS and (_is_contrasted(a, mine) or _is_contrasted(b, theirs)):
            return f"capitals differ: {a}, {b}"
        if not begins and a.lower() not in _PLAIN:
            apart.append((a, b))
    if not apart:
        return None
    is_shouted = one.isupper() or other.isupper()
    told = next((pair for pair in apart if not _is_habit(*pair, is_shouted=is_shouted)), None)
    if told is None and not (is_shouted or _has_no_capitals(one) or _has_no_capitals(other)):
        told = apart[0]
    return None if told is None else f"capitals differ: {told[0]}, {told[1]}"


def _begins(text: str, place: int) -> bool:
    """Whether a sentence begins here."""
    return (
        _SENTENCE.search(text[max(place - _BEFORE, 0) : place]) is not None if place > _BEFORE else not text[:place].strip(" \t\n\"'([¿¡")
    )


def _is_contrasted(word: str, words: list[re.Match[str]]) -> bool:
    """Whether a text has a word in another spelling as well: "Foo vs foo"."""
    return any(each[0] != word and each[0].casefold() == word.casefold() for each in words)


def _is_option(text: str, place: int) -> bool:
    """Whether a word is the name of an option or of a variable."""
    return place > 0 and text[place - 1] in "-$"


def _is_habit(one: str, other: str, *, is_shouted: bool) -> bool:
    """Whether two spellings of a word may be a matter of habit, in a text that has no capitals or no small letters."""
    word = one.lower()
    if word in _TWO_WORDS or len(word) == 1:
        return word in ("i", "a")
    if is_shouted:
        return True
    if one.islower() or other.islower():
        capital = other if one.islower() else one
        return (capital[0].isupper() and capital[1:].islower()) or (
            capital.isupper() and (len(word) >= _SHORTEST_ACRONYM or word in NAME_WORDS)
        )
    return one.isupper() != other.isupper() and len(word) >= _SHORTEST_ACRONYM and (one.istitle() or other.istitle())


def _has_no_capitals(text: str) -> bool:
    """Whether all of a text is in small letters, but for what begins its sentences and the words of a question."""
    return all(
        word[0].islower() or word[0].lower() in _PLAIN or word[0] == "I" or (_begins(text, word.start()) and word[0][1:].islower())
        for word in _WORD.finditer(text)
        if word[0].isalpha()
    )

"""Roles in a question: what is asked for (who, when, how much), and the things that stand on which side of "to", "from" or "than"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from llmthrift_core.cache.near_misses.lexicon import lemma
from llmthrift_core.cache.near_misses.negation import stem
from llmthrift_core.cache.near_misses.numbers import is_number
from llmthrift_core.cache.near_misses.quantities import MONTHS
from llmthrift_core.cache.near_misses.words import PRONOUNS, STOP_WORDS, word_list, word_set

_MONTHS: Final = frozenset(MONTHS)
# Each of these puts the thing before it on one side and the thing behind it on the other.
_PIVOTS: Final = word_set("to into than over minus by in versus beat beats owe owes")
PIVOTS: Final = _PIVOTS | {"from"}
_SKIPPED: Final = word_set("more less faster slower bigger smaller better worse larger greater divided multiplied much many")
_REACH: Final = 3
_TURNING: Final = word_set("before after than by of to from until since because if unless when while")
_HOW: Final[dict[str, str]] = {
    **{
        word: f"how {word}"
        for word in word_list("much many long far old often tall big fast high deep wide heavy thick strong hot cold loud")
    },
    "come": "why",
    "soon": "when",
}
_WHAT: Final[dict[str, str]] = {
    **dict.fromkeys(("time", "year", "date", "day", "month"), "when"),
    **dict.fromkeys(("place", "location"), "where"),
    "person": "who",
}
_PLAIN: Final = word_set("who when where why")
_BEFORE_VERBS: Final = word_set(
    "need want like try trying tried able how have has had going used wish love hate plan start begin continue possible ready supposed "
    "about ought what where when way ways easy hard best time right order wanted wants needs needed hoping hope got get allowed free"
)
_ASKED_FOR: Final = word_set("who what which")
_DID: Final = word_set("do does did")
_CLAUSE: Final = 3
_ARTICLES: Final = frozenset({"a", "an", "the"})
_OPEN: Final = word_set("i we you to")
QUESTION_WORDS: Final = _PLAIN | {"how", "what", "which"}
# Questions which people put either way.
_CLOSE: Final = frozenset(
    frozenset(pair)
    for pair in (
        ("when", "how long"),
        ("how", "where"),
        ("how big", "how much"),
        ("how fast", "how long"),
        ("how far", "how long"),
        ("how high", "how tall"),
        ("how big", "how long"),
        ("how heavy", "how much"),
        ("how big", "how wide"),
        ("how big", "how thick"),
    )
)


def sides(tokens: Sequence[str]) -> tuple[frozenset[str], frozenset[str]]:
    """The things a text goes from and those it goes to."""
    origins: set[str] = set()
    goals: set[str] = set()
    for place, word in enumerate(tokens):
        if word not in PIVOTS:
            continue
        behind = _ahead(tokens, place)
        if word == "from":
            origins.update(behind)
            origins.update(f"from {other}" for other in behind[:1])
            continue
        if word == "to" and place and tokens[place - 1] in _BEFORE_VERBS:
            continue
        kind = "" if word in ("to", "into") else f"{word} "
        goals.update(kind + other for other in behind)
        if not kind:
            goals.update(f"to {other}" for other in behind[:1])
        before = _back(tokens, place)
        if before:
            origins.add(kind + before)
    return frozenset(origins - goals), frozenset(goals - origins)


def _ahead(tokens: Sequence[str], place: int) -> list[str]:
    found: list[str] = []
    for word in tokens[place + 1 : place + 1 + _REACH]:
        if word in PIVOTS or word in ("and", "or"):
            break
        if word not in STOP_WORDS and word not in _SKIPPED:
            found.append(word.removesuffix("s"))
    return found


def _back(tokens: Sequence[str], place: int) -> str:
    for word in reversed(tokens[max(0, place - 1 - _REACH) : place]):
        if word in PIVOTS or word in ("and", "or"):
            return ""
        if word not in STOP_WORDS and word not in _SKIPPED and not (tokens[place] == "than" and word.endswith("er")):
            return word.removesuffix("s")
    return ""


def focus_of(tokens: Sequence[str]) -> str:
    """What the first question word of a text asks for, or "" if that is anything."""
    for place, word in enumerate(tokens):
        if word not in QUESTION_WORDS:
            continue
        after = tokens[place + 1] if place + 1 < len(tokens) else ""
        if word == "how":
            if after in _HOW:
                return _HOW[after]
            return "how" if not _OPEN.intersection(tokens[place + 1 : place + 4]) else ""
        if word in ("what", "which"):
            return _WHAT.get(after, "")
        return word
    return ""


def other_focus(left: str, right: str) -> bool:
    """Whether two things asked for exclude each other."""
    return bool(left and right) and left != right and frozenset((left, right)) not in _CLOSE


def displaced(left: Sequence[str], right: Sequence[str]) -> str:
    """The word behind which two texts of the same words have different ones ("by", "before"); "" where there is none.

    A clause may go to the front: "if I leave, do I pay", "do I pay if I leave".
    """
    for pivot in _TURNING.intersection(left, right):
        if left.count(pivot) != 1 or right.count(pivot) != 1:
            continue
        mine, theirs = _behind(left, pivot), _behind(right, pivot)
        if mine and theirs:
            if not mine <= theirs and not theirs <= mine:
                return pivot
        elif mine != theirs and (pivot == (right if mine else left)[-1]) and pivot != (left if mine else right)[0]:
            return pivot
    return ""


def _behind(tokens: Sequence[str], pivot: str) -> frozenset[str]:
    """The words from a pivot to the end of its clause."""
    rest = tokens[tokens.index(pivot) + 1 :]
    return frozenset(map(lemma, frozenset(rest[: rest.index(",")] if "," in rest else rest) - STOP_WORDS))


def turned(left: Sequence[str], right: Sequence[str]) -> str:
    """The verb of two questions of which one asks who does it, the other to whom it is done ("who hired Ann", "who did Ann hire")."""
    if len(left) < _CLAUSE or len(right) < _CLAUSE or left[0] != right[0] or left[0] not in _ASKED_FOR:
        return ""
    if right[1] in _DID:
        left, right = right, left
    # "What's included" is read as "what included".
    if left[1] not in _DID or right[1] in STOP_WORDS or left[2] in PRONOUNS or (left[0] != "who" and right[1].endswith("ed")):
        return ""
    verb = stem(right[1])
    return right[1] if any(stem(token) == verb for token in left[3:]) else ""


def swapped(left: Sequence[str], right: Sequence[str], *, may_touch: bool = True) -> tuple[str, str] | None:
    """The two words by whose exchange alone two texts differ, articles aside.

    Args:
        may_touch: they count even where nothing stands between them, as it does where adjectives may stand on either side.
    """
    left, right = ([token for token in each if token not in _ARTICLES] for each in (left, right))
    if len(left) != len(right):
        return None
    apart = [place for place, (one, other) in enumerate(zip(left, right, strict=True)) if one != other]
    if len(apart) != 2:
        return None
    first, second = apart
    if (second == first + 1 and not may_touch) or left[first] != right[second] or left[second] != right[first]:
        return None
    if second == first + 1 and is_number(min(left[first], left[second])) and not _MONTHS.isdisjoint((left[first], left[second])):
        return None  # "3 April", "April 3"
    if (
        left[first][0] == "-"
        or left[second][0] == "-"
        or {left[first], left[second]} & STOP_WORDS
        or {"and", "or", "between", "vs", ","}
        & {
            *left[first:second],
            *left[max(0, first - 2) : first],
        }
    ):
        return None
    return left[first], left[second]

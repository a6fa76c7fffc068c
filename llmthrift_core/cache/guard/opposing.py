"""Finds the words of `opposites` in a text, as numbers whose lowest bits tell the alternative and the others the row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from llmthrift_core.cache.guard.opposites import INFLECTED, NEGATED, NEGATED_VERBS, PARTICLE_VERBS, PARTICLES, PLAIN

_ALTERNATIVES: Final = 16
_VOWELS: Final = frozenset("aeiou")


def forms(word: str) -> Iterator[str]:
    """The word and the forms it may take with a simple ending."""
    yield word
    yield word + "s"
    yield word + "ing"
    if word.endswith("e"):
        yield word + "d"
        yield word[:-1] + "ing"
    elif word.endswith("y") and word[-2:-1] not in _VOWELS:
        yield word[:-1] + "ies"
        yield word[:-1] + "ied"
    else:
        yield word + "ed"
        yield word + "es"
        if len(word) > 2 and word[-2] in _VOWELS and word[-3] not in _VOWELS:
            yield word + word[-1] + "ed"
            yield word + word[-1] + "ing"


_IRREGULAR: Final[dict[str, tuple[str, ...]]] = {
    "buy": ("bought",),
    "sell": ("sold",),
    "begin": ("began", "begun", "beginning"),
    "send": ("sent",),
    "withdraw": ("withdrew", "withdrawn"),
    "win": ("won",),
    "lose": ("lost",),
    "lend": ("lent",),
    "leave": ("left",),
    "rise": ("rose", "risen"),
    "fall": ("fell", "fallen"),
    "hide": ("hid", "hidden"),
    "freeze": ("froze", "frozen"),
    "forbid": ("forbidden",),
    "spend": ("spent",),
    "build": ("built",),
    "wife": ("wives",),
    "man": ("men",),
    "woman": ("women",),
    "child": ("children",),
    "liability": ("liabilities",),
}
_NOT_FORMS: Final = frozenset(
    {"does", "doing", "doer", "moving", "leaves", "left", "pros", "firer", "lover", "coning", "kinging", "planer"}
)


def _table() -> tuple[dict[str, tuple[int, ...]], int, int]:
    table: dict[str, list[int]] = defaultdict(list)
    rows = 0
    negated_rows = 0
    for block, inflected in ((NEGATED, False), (NEGATED_VERBS, True), (INFLECTED, True), (PLAIN, False)):
        for row in block.split(";"):
            for place, alternative in enumerate(row.split("/")):
                for word in alternative.split():
                    _enter(table, word, rows * _ALTERNATIVES + place, inflected)
            rows += 1
        negated_rows = negated_rows or rows
    return {word: tuple(sides) for word, sides in table.items()}, negated_rows, rows


def _enter(table: dict[str, list[int]], word: str, side: int, inflected: bool) -> None:
    for form in {*forms(word), *_IRREGULAR.get(word, ())} if inflected else (word,):
        if (form == word or form not in _NOT_FORMS) and side not in table[form]:
            table[form].append(side)


SIDES, _NEGATED_ROWS, _ROWS = _table()
OPPOSING_WORDS: Final = frozenset(SIDES)
_PARTICLE_WORDS: Final = frozenset(PARTICLES)
_STEMS: Final = {
    verb: next((other for other in PARTICLE_VERBS if verb != other and verb.startswith(other) and len(verb) - len(other) < 5), verb)
    for verb in PARTICLE_VERBS
}
_VERB_NUMBERS: Final = {verb: number for number, verb in enumerate(sorted(set(_STEMS.values())))}


def sides_of(tokens: Sequence[str], words: frozenset[str]) -> frozenset[int]:
    """The alternatives that a text names."""
    sides = [side for word in words & OPPOSING_WORDS for side in SIDES[word]]
    if words & PARTICLE_VERBS and words & _PARTICLE_WORDS:
        sides.extend(_particle_sides(tokens))
    return frozenset(sides)


def _particle_sides(tokens: Sequence[str]) -> Iterator[int]:
    for place, token in enumerate(tokens):
        if token not in PARTICLE_VERBS:
            continue
        for distance, particle in enumerate(tokens[place + 1 : place + 5]):
            if particle in PARTICLES and (distance == 0 or particle not in ("in", "into", "on") or place + distance + 2 == len(tokens)):
                kind, side = divmod(PARTICLES[particle], 2)
                if particle == "off" and _STEMS[token] in ("log", "sign"):
                    kind, side = 0, 1
                if particle == "on" and _STEMS[token] in ("log", "sign"):
                    kind, side = 0, 0
                if kind == 1 and _STEMS[token] in ("turn", "switch"):
                    yield from SIDES["disable" if side else "enable"]
                yield (_ROWS + 3 * _VERB_NUMBERS[_STEMS[token]] + kind) * _ALTERNATIVES + side
                break


def clash(left: frozenset[int], right: frozenset[int], one_denies: bool) -> tuple[int, int] | None:
    """Two alternatives of one row, each named on one side only. A row of a negative prefix does not count if one side denies."""
    for side in left - right:
        row = side // _ALTERNATIVES
        if one_denies and row < _NEGATED_ROWS:
            continue
        mine = {other for other in left if other // _ALTERNATIVES == row}
        for other in right:
            if other // _ALTERNATIVES == row and other not in mine:
                return side, other
    return None


def spelled(side: int, words: frozenset[str]) -> str:
    """The word of a text which stands for an alternative, or one that means the same."""
    row, alternative = divmod(side, _ALTERNATIVES)
    particle = None if row < _ROWS else (row - _ROWS) % 3 * 2 + alternative
    said = (word for word in sorted(words) if side in SIDES.get(word, ()) or PARTICLES.get(word, -1) == particle)
    meant = sorted((word for word, sides in SIDES.items() if side in sides), key=len)
    return next(said, None) or next(iter(meant), "another particle")

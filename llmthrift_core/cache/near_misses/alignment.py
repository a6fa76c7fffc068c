"""Lays the words of two questions side by side, and tells which words are left over and how they relate."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from llmthrift_core.cache.near_misses.everyday import LIGHT
from llmthrift_core.cache.near_misses.lexicon import Relation, lemma, relation
from llmthrift_core.cache.near_misses.words import STOP_WORDS

_SKIPPED: Final = STOP_WORDS | {",", ".", "-", "?", "not", "howmuch"}
_MOST_COMPARED: Final = 24  # words left over on one side; longer texts are not laid side by side
_MOST_SHARED: Final = 200


class Leftover(NamedTuple):
    """The words which only one of two texts has, and what came closest to each.

    Attributes:
        shared: how many words both have, or have by another of the same meaning.
        mine, theirs: what is left of each, without words that carry little.
        best: for each of `mine`, then of `theirs`, its closest relation on the other side.
        opposite: two words that are opposites.
        alike: how many of the shared are different words of the same meaning.
    """

    shared: int
    mine: tuple[str, ...]
    theirs: tuple[str, ...]
    best: tuple[Relation, ...]
    opposite: tuple[str, str] | None
    alike: int


def content_of(tokens: Sequence[str]) -> tuple[str, ...]:
    """The lemmas of a text that carry something, in order. Numbers are compared elsewhere."""
    return tuple(lemma(token) for token in tokens if token not in _SKIPPED and token[0].isalpha())


def foreign_content(tokens: Sequence[str]) -> tuple[str, ...]:
    """The words of a translated text that carry something, in order."""
    return tuple(token for token in tokens if token not in _SKIPPED and token[0].isalpha())


def leftover(left: Sequence[str], right: Sequence[str]) -> Leftover | None:
    """What two contents leave over; None where there is too much of it to be worth a look."""
    ours, others = frozenset(left), frozenset(right)
    shared = ours & others
    mine = [word for word in dict.fromkeys(left) if word not in others]
    theirs = [word for word in dict.fromkeys(right) if word not in ours]
    if len(mine) > _MOST_COMPARED or len(theirs) > _MOST_COMPARED or len(shared) > _MOST_SHARED:
        return None
    mine, theirs = _without_joined(mine, right), _without_joined(theirs, left)
    table = [[relation(one, other) for other in theirs] for one in mine]
    opposite: tuple[str, str] | None = None
    done_left: set[int] = set()
    done_right: set[int] = set()
    for place, row in enumerate(table):
        for where, found in enumerate(row):
            if found.kind == "opposite" and not (mine[place] in LIGHT and theirs[where] in LIGHT):
                opposite = opposite or (mine[place], theirs[where])
            elif found.kind == "same":
                done_left.add(place)
                done_right.add(where)
    # A word of the other text which both have may also stand for one that is left over: "refund", "money back".
    for place, one in enumerate(mine):
        if place not in done_left and any(relation(one, word).kind == "same" for word in shared):
            done_left.add(place)
    for where, other in enumerate(theirs):
        if where not in done_right and any(relation(other, word).kind == "same" for word in shared):
            done_right.add(where)
    kept_left = [place for place in range(len(mine)) if place not in done_left and mine[place] not in LIGHT]
    kept_right = [where for where in range(len(theirs)) if where not in done_right and theirs[where] not in LIGHT]
    best = [_best([relation(mine[place], other) for other in others]) for place in kept_left]
    best += [_best([relation(theirs[where], one) for one in ours]) for where in kept_right]
    return Leftover(
        len(shared) + min(len(done_left), len(done_right)),
        tuple(mine[place] for place in kept_left),
        tuple(theirs[where] for where in kept_right),
        tuple(best),
        opposite,
        min(len(done_left), len(done_right)),
    )


_NOTHING: Final = Relation("other", 0.0)


def _best(relations: Sequence[Relation]) -> Relation:
    return max(relations, key=lambda found: found.nearness, default=_NOTHING)


def _without_joined(words: list[str], other_text: Sequence[str]) -> list[str]:
    """Without words which the other text writes apart or together ("wifi", "wi fi")."""
    pairs = {one + two for one, two in pairwise(other_text)}
    return [word for word in words if word not in pairs] if pairs else words


def slot(left: Sequence[str], right: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """What stands between the same beginning and the same end of two texts."""
    start = 0
    shortest = min(len(left), len(right))
    while start < shortest and left[start] == right[start]:
        start += 1
    end = 0
    while end < shortest - start and left[-1 - end] == right[-1 - end]:
        end += 1
    return left[start : len(left) - end], right[start : len(right) - end]

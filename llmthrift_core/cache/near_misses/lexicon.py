"""Relations between two English words: the same meaning, opposites, things of one kind. Made from WordNet and a few rows of everyday words.

The table and the vectors beside it are made by `tools/lexicon.py`. They are read when they are first asked for.
"""

from __future__ import annotations

import gzip
from functools import cache, lru_cache
from operator import mul
from pkgutil import get_data
from typing import Final, Literal, NamedTuple

from llmthrift_core.cache.near_misses.everyday import ALIKE
from llmthrift_core.cache.near_misses.forms import (
    american,
    base_forms,
    contrasts,
    is_misspelt,
    negates,
    root,
)

Kind = Literal["same", "opposite", "kinds", "wider", "other"]

_COMPONENTS: Final = 48
_SHORTEST_SLIP: Final = 4
_KIN: Final = 5  # letters that words of one root begin with
_UNIT: Final = 127 * 127
_REMEMBERED: Final = 65_536


class Relation(NamedTuple):
    """How two words relate.

    Attributes:
        kind: "same" meaning, "opposite", two "kinds" of one thing, one "wider" than the other, or "other".
        nearness: cosine of their vectors; 0 where one is not known.
    """

    kind: Kind
    nearness: float


class _Entry(NamedTuple):
    place: int
    part: str
    meanings: frozenset[str]
    wider: frozenset[str]
    opposites: frozenset[str]


def _data(name: str) -> bytes:
    """A file of the package, read by its loader as its modules are: the first question may come on an event loop."""
    content = get_data(__package__, f"data/{name}")
    assert content is not None  # noqa: S101 - the package's loader has data
    return content


@cache
def _table() -> tuple[dict[str, tuple[int, str]], memoryview]:
    lines = gzip.decompress(_data("lexicon.tsv.gz")).decode().splitlines()
    table = {}
    for place, line in enumerate(lines):
        word, _, rest = line.partition("\t")
        table[word] = (place, rest)
    return table, memoryview(_data("vectors.bin")).cast("b")


@lru_cache(maxsize=_REMEMBERED)
def _entry(word: str) -> _Entry | None:
    found = _table()[0].get(word)
    if found is None:
        return None
    part, meanings, wider, opposites = found[1].split("\t")
    return _Entry(found[0], part, frozenset(meanings.split()), frozenset(wider.split()), frozenset(opposites.split()))


def is_word(word: str) -> bool:
    """Whether the lexicon has a word in this form."""
    return word in _table()[0]


def part_of_speech(word: str) -> str:
    """ "n", "v", "a" or "r" (adverb), as which a word is mostly used; "" for one that is not in the lexicon."""
    entry = _entry(word)
    return "" if entry is None else entry.part


@lru_cache(maxsize=_REMEMBERED)
def lemma(word: str) -> str:
    """The form under which a word stands in the lexicon; the word itself where it does not."""
    return next((form for form in base_forms(word) if is_word(form)), word)


@lru_cache(maxsize=_REMEMBERED)
def relation(one: str, other: str) -> Relation:
    """How two lemmas relate."""
    left, right = _entry(one), _entry(other)
    nearness = _nearness(left, right) if left is not None and right is not None else 0.0
    return Relation(_kind(one, other, left, right), nearness)


def _kind(one: str, other: str, left: _Entry | None, right: _Entry | None) -> Kind:
    if one == other:
        return "same"
    if negates(one, other) or contrasts(one, other):
        return "opposite"
    if (left is not None and other in left.opposites) or (right is not None and one in right.opposites):
        return "opposite"
    if not ALIKE.get(one, frozenset()).isdisjoint(ALIKE.get(other, frozenset())) or _is_one_spelling(one, other):
        return "same"
    if left is None or right is None:
        return "same" if _is_slip(one, other) else "other"
    if left.meanings & right.meanings:
        return "same"
    if left.meanings & right.wider or right.meanings & left.wider:
        return "wider"
    return "kinds" if left.wider & right.wider else "other"


def _is_one_spelling(one: str, other: str) -> bool:
    return root(one) == root(other) or american(one) == american(other)


@cache
def _rare_words() -> frozenset[str]:
    return frozenset(gzip.decompress(_data("rare_words.txt.gz")).decode().split())


def is_known(word: str) -> bool:
    """Whether a word stands in a dictionary, in the lexicon or beside it."""
    return any(is_word(form) or form in _rare_words() for form in base_forms(word))


def _is_slip(one: str, other: str) -> bool:
    """Whether one of two words, of which one is in no dictionary, is the other with a slip of the keyboard ("nitrite" is not "nitrate")."""
    if min(len(one), len(other)) < _SHORTEST_SLIP:
        return False
    known = not (one.startswith(other) or other.startswith(one)) and is_known(one) and is_known(other)
    if is_misspelt(one, other) and not known:
        return True
    if min(len(one), len(other)) <= _SHORTEST_SLIP or (known and one[:_KIN] != other[:_KIN]):  # "maintain", "maintenance"
        return False
    return is_misspelt(root(one), root(other))


def _nearness(left: _Entry, right: _Entry) -> float:
    vectors = _table()[1]
    one = vectors[left.place * _COMPONENTS : (left.place + 1) * _COMPONENTS]
    other = vectors[right.place * _COMPONENTS : (right.place + 1) * _COMPONENTS]
    return float(sum(map(mul, one, other))) / _UNIT

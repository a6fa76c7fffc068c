"""The shapes of an English word: its base forms, its root, a negative prefix or suffix, a slip of the keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from llmthrift_core.cache.near_misses.words import IRREGULAR

_REMEMBERED: Final = 65_536
_VOWELS: Final = frozenset("aeiouy")
_PLURALS: Final[dict[str, str]] = {
    "children": "child", "men": "man", "women": "woman", "feet": "foot", "teeth": "tooth", "mice": "mouse", "people": "person",
    "geese": "goose", "wives": "wife", "lives": "life", "knives": "knife", "leaves": "leaf", "halves": "half", "shelves": "shelf",
    "loaves": "loaf", "thieves": "thief", "criteria": "criterion", "data": "data", "dying": "die", "lying": "lie", "tying": "tie",
    "kids": "child", "kid": "child", "mum": "mother", "mom": "mother", "dad": "father",
}  # fmt: skip
# The longest first.
_ENDINGS: Final = (
    "isations", "izations", "isation", "ization", "ations", "ation", "ments", "ment", "ability", "ibility", "ities", "ings", "ances",
    "ences", "able", "ible", "ance", "ence", "ness", "ions", "ally", "ing", "ity", "ion", "ies", "ied", "als", "ers", "ors", "ely", "est",
    "er", "or", "al", "ly", "ed", "es", "y", "e", "s",
)  # fmt: skip
_SHORTEST_ROOT: Final = 4
_NEGATIVE: Final = ("un", "non", "in", "im", "ir", "il", "dis", "de", "mis", "anti")
_SHORTEST_NEGATED: Final = 3
_CONTRASTED: Final = (
    ("macro", "micro"), ("hyper", "hypo"), ("inter", "intra"), ("over", "under"), ("pre", "post"), ("ante", "post"), ("pro", "anti"),
    ("up", "down"), ("in", "out"), ("im", "ex"), ("endo", "exo"), ("mono", "poly"), ("mono", "multi"), ("homo", "hetero"),
    ("maxi", "mini"), ("super", "sub"), ("intro", "extro"), ("fore", "after"), ("bi", "uni"), ("bene", "male"), ("de", "re"), ("de", "in"),
)  # fmt: skip
_INFLECTIONS: Final = ("", "s", "d", "ed", "r", "ing", "rs")
# The longest first; only words which more letters go before.
_BRITISH: Final = (
    ("ogue", "og"), ("eque", "eck"), ("yse", "yze"), ("ise", "ize"), ("ys", "yz"), ("is", "iz"), ("our", "or"), ("tre", "ter"),
    ("bre", "ber"), ("ence", "ense"), ("mme", "m"),
)  # fmt: skip


def base_forms(word: str) -> Iterator[str]:
    """The word, then what it may be a form of, the likeliest first."""
    irregular = _PLURALS.get(word) or IRREGULAR.get(word)
    if irregular is not None:
        yield irregular
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        if word.endswith("ies"):
            yield word[:-3] + "y"
        yield word[:-1]
        if word.endswith("es"):
            yield word[:-2]
    yield word
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            rest = word[: -len(ending)]
            if ending == "ed" and rest.endswith("i"):
                yield rest[:-1] + "y"
            yield rest
            yield rest + "e"
            if rest[-1] == rest[-2]:
                yield rest[:-1]
    for ending in ("er", "est", "ier", "iest"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            rest = word[: -len(ending)]
            if ending.startswith("i"):
                yield rest + "y"
            else:
                yield rest
                yield rest + "e"
                if rest[-1] == rest[-2]:
                    yield rest[:-1]


@lru_cache(maxsize=_REMEMBERED)
def root(word: str) -> str:
    """A word without its endings: "cancellation" and "cancelled" have one root."""
    word = IRREGULAR.get(word, word)
    for _ in range(2):
        for ending in _ENDINGS:
            if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_ROOT:
                word = word[: -len(ending)]
                break
    for ending in ("e", "y", "i", "s"):
        if word.endswith(ending) and len(word) > _SHORTEST_ROOT:
            word = word[:-1]
    if len(word) > _SHORTEST_ROOT and word[-1] == word[-2] and word[-1] not in _VOWELS:
        word = word[:-1]
    return word


def negates(one: str, other: str) -> bool:
    """Whether one word is the other one with a negative prefix or suffix ("ineligible", "painless")."""
    short, long = (one, other) if len(one) <= len(other) else (other, one)
    if len(short) < _SHORTEST_NEGATED:
        return False
    if long.endswith("less"):
        rest = long[:-4]
        return rest == short or short == rest + "ful" or short == rest + "y" or (len(rest) > 3 and root(short) == root(rest))
    for prefix in _NEGATIVE:
        if long.startswith(prefix) and len(long) - len(prefix) >= _SHORTEST_NEGATED:
            rest = long[len(prefix) :]
            if rest == short or (len(rest) > 3 and len(short) > 3 and root(rest) == root(short)):
                return True
    return False


def contrasts(one: str, other: str) -> bool:
    """Whether two words are one word with prefixes or suffixes that exclude each other ("macroeconomics", "microeconomics"; "lessor",
    "lessee")."""
    if _is_done_to(one, other) or _is_done_to(other, one):
        return True
    for left, right in _CONTRASTED:
        if one.startswith(right) and other.startswith(left):
            one, other = other, one
        if one.startswith(left) and other.startswith(right):
            rest = one[len(left) :]
            if len(rest) >= _SHORTEST_NEGATED and rest == other[len(right) :]:
                return True
    return False


def _is_done_to(one: str, other: str) -> bool:
    """Whether to one is done what the other does: "trustee", "trustor"."""
    one, other = one.removesuffix("s"), other.removesuffix("s")
    return one.endswith("ee") and len(one) > _SHORTEST_ROOT and other in (one[:-2], one[:-2] + "er", one[:-2] + "or")


def american(word: str) -> str:
    """A word in its American spelling, as far as endings and double letters tell ("centre", "behaviour", "travelled", "cheque").

    >>> american("centre"), american("behaviours"), american("organised"), american("cheque")
    ('center', 'behaviors', 'organized', 'check')
    """
    for ending in _INFLECTIONS:
        base = word.removesuffix(ending) if ending else word
        if (ending and base == word) or len(base) < _SHORTEST_ROOT:
            continue
        for british, own in _BRITISH:
            if base.endswith(british) and len(base) > len(british) + 1:
                return base[: len(base) - len(british)] + own + ending
    return word


def is_misspelt(one: str, other: str) -> bool:
    """Whether one slip makes the other word: a letter more, less or changed, or two that changed places."""
    if len(one) > len(other):
        one, other = other, one
    if len(other) - len(one) > 1 or len(other) < 4 or one[0] != other[0]:
        return False
    place = 0
    while place < len(one) and one[place] == other[place]:
        place += 1
    if len(one) == len(other):
        return one[place + 1 :] == other[place + 1 :] or (
            one[place + 2 :] == other[place + 2 :] and one[place : place + 2] == other[place : place + 2][::-1]
        )
    return one[place:] == other[place + 1 :]


def are_akin(one: str, other: str) -> bool:
    """Whether two words of a language that is read only in part may be forms of one word: they begin alike, and end with little else."""
    if one == other:
        return True
    if negates(one, other):
        return False
    if is_misspelt(one, other) and min(len(one), len(other)) > 5:
        return True
    same = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        same += 1
    return same > 3 and max(len(one), len(other)) - same <= 2

"""Compares the facts of two texts and says in words what speaks against their being the same question."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from llmthrift_core.cache.near_misses.antonyms import clash, spelled
from llmthrift_core.cache.near_misses.framed import apart, left_over, tense_of, unsaid
from llmthrift_core.cache.near_misses.lexicon import lemma
from llmthrift_core.cache.near_misses.measuring import CALENDAR_WORDS, same_dates
from llmthrift_core.cache.near_misses.negation import prefixed, stem
from llmthrift_core.cache.near_misses.roles import (
    QUESTION_WORDS,
    displaced,
    other_focus,
    swapped,
    turned,
)
from llmthrift_core.cache.near_misses.words import (
    GENERIC_CAPITALS,
    PRONOUNS,
    STARTERS,
    STOP_WORDS,
    TROUBLES,
    word_list,
    word_set,
)

if TYPE_CHECKING:
    from llmthrift_core.cache.near_misses.facts import Facts

_NOT_READ: Final = "not a language that is read: only equal texts match"
_REACH: Final = 3
_LASTING: Final = frozenset({"still", "yet"})
_SHOWN: Final = 6
_MODALS: Final = {
    **dict.fromkeys(
        word_list("must required require requires mandatory obligatory compulsory obliged need needs needed necessary"), "must"
    ),
    **dict.fromkeys(word_list("may can could allowed permitted possible able optional ok okay"), "may"),
    **dict.fromkeys(word_list("recommended advisable suggested"), "advised"),
}
_BINDING: Final = frozenset({"must", "may", "can", "should", "shall"})
_ONLY: Final = (("only",), ("just",))
_MODAL_WORDS: Final = frozenset(_MODALS)
_ASKING: Final = word_set(
    "time year date day month place location person come much many long far old often tall big fast high deep wide heavy thick strong "
    "hot cold loud soon"
)


def difference(left: Facts, right: Facts) -> str | None:
    """Why two texts are not the same question, or None if nothing speaks against it."""
    if left.tokens == right.tokens and left.numbers == right.numbers and left.key == right.key and left.currencies == right.currencies:
        return _exact(left, right)
    return _exact(left, right) or _worded(left, right)


def _exact(left: Facts, right: Facts) -> str | None:
    if left.numbers != right.numbers or left.loose or right.loose:
        reason = _numbers(left, right)
        if reason:
            return reason
    if left.dates != right.dates and not same_dates(left.dates, right.dates):
        return _apart("dates", left.dates, right.dates)
    if left.currencies != right.currencies:
        return _apart("currencies", left.currencies, right.currencies)
    if left.units != right.units:
        return _apart("units", left.units, right.units)
    if left.formula != right.formula:
        return f"formulas differ: {' '.join(left.formula) or 'none'}, {' '.join(right.formula) or 'none'}"
    if left.signs != right.signs and left.signs and right.signs:
        return _apart("signs", left.signs, right.signs)
    if left.cased and right.cased:
        for word in left.cased.keys() & right.cased.keys():
            if left.cased[word] != right.cased[word]:
                return f"capitals differ: {left.cased[word]}, {right.cased[word]}"
    if left.quotes != right.quotes:
        reason = _quotes(left, right)
        if reason:
            return reason
    if left.ranked != right.ranked:
        rank = next((rank for rank in left.ranked ^ right.ranked if _counted(left.tokens, rank) & _counted(right.tokens, rank)), None)
        if rank is not None:
            return f"one side counts, one ranks: {rank}"
    if left.codes != right.codes:
        reason = _missing("codes", left.codes, right, left) or _missing("codes", right.codes, left, right)
        if reason:
            return reason
    if left.bound and right.bound:
        for noun in left.bound.keys() & right.bound.keys():
            if left.bound[noun].isdisjoint(right.bound[noun]):
                return f"numbers of {noun!r} differ: {', '.join(sorted(left.bound[noun]))}, {', '.join(sorted(right.bound[noun]))}"
    if left.language != right.language or left.foreign:
        return None if left.key == right.key else _NOT_READ
    if left.key != right.key and not (left.tokens and right.tokens):
        return "one text has no words"
    return None


def _worded(left: Facts, right: Facts) -> str | None:
    if left.known != right.known:
        return _apart("names", left.known, right.known)
    if left.names or right.names:
        reason = _names(left, right)
        if reason:
            return reason
    if (left.openers and right.openers and left.openers != right.openers) or left.caseless or right.caseless:
        reason = _one_word(left, right)
        if reason:
            return reason
    if left.denies != right.denies:
        reason = _denial(left, right) if left.denies else _denial(right, left)
        if reason:
            return reason
    if left.opposing != right.opposing:
        found = clash(left.opposing, right.opposing, left.denies != right.denies)
        if found:
            return f"opposite words: {spelled(found[0], left.words)}, {spelled(found[1], right.words)}"
    if left.denies == right.denies and left.words != right.words:
        word = prefixed(left.words - right.words, right.words - left.words) or prefixed(right.words - left.words, left.words - right.words)
        if word:
            return f"one side denies: {word}"
    if left.spans != right.spans and left.spans - right.spans and right.spans - left.spans:
        return _apart("spans of time", left.spans, right.spans)
    if left.language:
        return _arranged(left, right) or unsaid(left, right)
    return _arranged(left, right) or apart(left, right) or left_over(left, right)


def _arranged(left: Facts, right: Facts) -> str | None:
    around = (left.origins & right.goals) and (left.goals & right.origins)
    if around:
        return f"the direction is turned round: {', '.join(sorted(around)[:_SHOWN])}"
    if (left.origins and right.goals) or (right.origins and left.goals):
        place = _departed(left, right) or _departed(right, left)
        if place:
            return f"the direction is turned round: from {place}, to {place}"
    if not left.focus and not right.focus:
        reason = _allowance(left, right)
        if reason:
            return reason
    if left.focus != right.focus and other_focus(left.focus, right.focus) and _content(left) == _content(right):
        return f"another question: {left.focus}, {right.focus}"
    if left.content != right.content and not left.language and sorted(left.content) == sorted(right.content):
        pivot = displaced(left.tokens, right.tokens)
        if pivot:
            return f"words change places: what stands behind {pivot!r}"
    if len(left.tokens) == len(right.tokens):
        exchanged = swapped(left.said, right.said, may_touch=False) if left.language else swapped(left.tokens, right.tokens)
        if exchanged:
            return f"words change places: {', '.join(exchanged)}"
    verb = turned(left.tokens, right.tokens) if not left.language else ""
    if verb:
        return f"words change places: who or what is before {verb!r}"
    if not left.language and (left.content == right.content or sorted(left.content) == sorted(right.content)):
        return _told_otherwise(left, right)
    return None


def _told_otherwise(left: Facts, right: Facts) -> str | None:
    """What makes two questions of texts with the same content: what is only so, whether it is past."""
    for only in _ONLY:
        if (left.tokens[:1] == only) != (right.tokens[:1] == only) and left.words.issuperset(only) and right.words.issuperset(only):
            return f"words change places: {only[0]}"
    mine, theirs = tense_of(left.tokens), tense_of(right.tokens)
    if mine != theirs and mine and theirs and "then" in (mine, theirs) and "why" not in left.words:
        return f"another time: {mine}, {theirs}"
    return None


def _allowance(left: Facts, right: Facts) -> str | None:
    """Whether one text asks what must be, the other what may be or is advised."""
    mine, theirs = left.words & _MODAL_WORDS, right.words & _MODAL_WORDS
    if left.denies and right.denies:
        one, other = _forbidden_or_free(left.tokens), _forbidden_or_free(right.tokens)
        if one and other and one != other:
            return f"one side says what is {one}, the other what is {other}"
    if not mine or not theirs or not QUESTION_WORDS.isdisjoint(left.words) or not QUESTION_WORDS.isdisjoint(right.words):
        return None
    if {_MODALS[word] for word in mine}.isdisjoint(_MODALS[word] for word in theirs):
        return f"words differ: {min(mine)}, {min(theirs)}"
    return None


def _forbidden_or_free(tokens: Sequence[str]) -> str:
    """What a text says of what it denies: that it must not be, or that it need not be."""
    for one, other in pairwise([token for token in tokens if token not in PRONOUNS]):
        if (one == "not" and _MODALS.get(other) == "must") or (one == "need" and other == "not"):
            return "free"
        if one in _BINDING and other == "not":
            return "forbidden"
    return ""


def _departed(left: Facts, right: Facts) -> str:
    """A place that one text leaves and the other one goes to."""
    for origin in left.origins:
        if origin.startswith("from "):
            place = origin[5:]
            if f"to {place}" in right.goals and f"to {place}" not in left.goals and origin not in right.origins:
                return place
    return ""


def _counted(tokens: Sequence[str], number: str) -> frozenset[str]:
    """What a text has so many of, or what has this place in it."""
    behind = (other for one, other in pairwise(tokens) if one == number)
    return frozenset(lemma(word) for word in behind if word[0].isalpha() and word not in CALENDAR_WORDS and word not in STOP_WORDS)


def _apart(kind: str, left: Iterable[str], right: Iterable[str]) -> str:
    mine, theirs = sorted(set(left) - set(right)), sorted(set(right) - set(left))
    return f"{kind} differ: {', '.join(mine[:_SHOWN]) or 'none'}, {', '.join(theirs[:_SHOWN]) or 'none'}"


def _numbers(left: Facts, right: Facts) -> str | None:
    mine, theirs = left.numbers - right.numbers, right.numbers - left.numbers
    if right.loose:
        mine -= {"1"}
    if left.loose:
        theirs -= {"1"}
    return _apart("numbers", mine, theirs) if mine or theirs else None


def _quotes(left: Facts, right: Facts) -> str | None:
    for one, other in ((left, right), (right, left)):
        for quote in one.quotes:
            if quote not in other.quotes and (other.quotes or not _contains(other.key, quote)):
                return _apart("quotes", left.quotes, right.quotes)
    return None


def _contains(key: str, quote: str) -> bool:
    return "".join(character for character in quote.casefold() if character.isalnum()) in key


def _missing(kind: str, facts: frozenset[str], other: Facts, owner: Facts) -> str | None:
    for fact in facts:
        if fact not in other.codes and fact not in other.words and fact not in other.known:
            return _apart(kind, owner.codes, other.codes - owner.words)
    return None


def _names(left: Facts, right: Facts) -> str | None:
    mine = _unshared(left, right)
    theirs = _unshared(right, left)
    return _apart("names", mine, theirs) if mine or theirs else None


def _unshared(owner: Facts, other: Facts) -> list[str]:
    if other.caseless and not owner.names:
        return []
    return [
        name
        for name in owner.names - other.words
        if name + "s" not in other.words
        and name.removesuffix("s") not in other.words
        and name not in owner.known
        and name not in other.key
        and not _abbreviates(name, other.tokens)
    ]


def _abbreviates(name: str, tokens: tuple[str, ...]) -> bool:
    """Whether a name is made of the first letters of words that follow each other."""
    initials = "".join(token[0] for token in tokens)
    return 1 < len(name) < 6 and name in initials


def _one_word(left: Facts, right: Facts) -> str | None:
    """In texts whose capitals tell nothing, one exchanged word may be a name."""
    if len(left.tokens) != len(right.tokens):
        return None
    pairs = [(one, other) for one, other in zip(left.tokens, right.tokens, strict=True) if one != other]
    if len(pairs) != 1:
        return None
    one, other = pairs[0]
    if {one, other} & (STARTERS | GENERIC_CAPITALS) or one.removesuffix("s") == other.removesuffix("s"):
        return None
    return f"names differ: {one}, {other}"


def _denial(denier: Facts, other: Facts) -> str | None:
    if denier.trouble:
        return f"one side denies: {denier.trouble}" if denier.trouble in other.words else None
    mine, theirs = _content(denier), _content(other)
    troubles = (other.words & TROUBLES) - denier.words if other.troubled else None
    denied = denier.scope if denier.scope and denier.scope & theirs else None
    if troubles and not (denied and (troubles <= _LASTING or not _hindered(other.tokens, troubles, denied))):
        return None
    if denier.scope is None or denier.scope & theirs or 2 * len(mine & theirs) > len(mine | theirs):
        return "one side denies"
    return None


def _hindered(tokens: Sequence[str], troubles: Set[str], denied: Set[str]) -> bool:
    """Whether a word of trouble stands before what the other text denies: "stopped working" for "does not work", but not "pay late"."""
    places = [place for place, token in enumerate(tokens) if token in troubles]
    return any(stem(token) in denied and any(0 < place - trouble <= _REACH for trouble in places) for place, token in enumerate(tokens))


def _content(facts: Facts) -> frozenset[str]:
    return frozenset(stem(word) for word in facts.words - STOP_WORDS if word not in _ASKING)

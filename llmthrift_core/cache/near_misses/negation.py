"""Detection of negation in a text, leaving out "why not", "can't you" and other turns which deny nothing that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import Final

from llmthrift_core.cache.near_misses.words import (
    FILLERS,
    HARMLESS_AFTER,
    HARMLESS_BEFORE,
    IRREGULAR,
    NEGATORS,
    QUESTIONS,
    STOP_WORDS,
    STRICT_NEGATORS,
    TROUBLES,
)

# "Isn't it ...?" asks for the same as "is it ...?".
_ASKED: Final = frozenset({"is", "are", "was", "does", "did"})
_INVERTING: Final = frozenset({"do", "does", "did", "is", "are", "was", "were", "has", "have", "had", "can", "could", "will", "would"})
_LASTING: Final = frozenset({"yet", "still", "already"})  # "not yet paid" denies "paid"
_IMPERSONAL: Final = frozenset({"it", "there", "this", "that", "they"})
_PREFIXES: Final = ("un", "in", "im", "ir", "il", "dis", "non")


def denied(tokens: Sequence[str], language: str = "") -> tuple[bool, str, frozenset[str] | None]:
    """Whether a text denies, the word of trouble that it denies ("did not fail"), and the words it denies (None: all that is said)."""
    denies = False
    scope: set[str] = set()
    for place, word in enumerate(tokens):
        if word not in NEGATORS:
            continue
        after = tokens[place + 1] if place + 1 < len(tokens) else ""
        before = tokens[place - 1] if place else ""
        # Beside each other in a text that was translated, words may have stood apart.
        if not language and (after in HARMLESS_AFTER.get(word, ()) or before in HARMLESS_BEFORE.get(word, ())):
            continue
        if word == "no" and (not after or (not place and after in FILLERS)):
            continue
        if (before in _ASKED and place == 1 and after in _IMPERSONAL) or (after in _IMPERSONAL and place + 2 == len(tokens)):
            continue
        denies = True
        following = [each for each in tokens[place + 1 : place + 5] if each not in FILLERS and each not in _LASTING]
        if following and following[0] in TROUBLES:
            return True, following[0], frozenset()
        if word in STRICT_NEGATORS:
            return True, "", None
        if not language and before in _INVERTING and (place == 1 or tokens[place - 2] in QUESTIONS):
            # "Why didn't my payment go through": what is denied stands behind whom it is said of.
            following = [each for each in tokens[place + 1 :] if each not in STOP_WORDS][-1:]
        scope.update(stem(next_word) for next_word in following[:2] if next_word not in STOP_WORDS)
    return denies, "", frozenset(scope)


def stem(word: str) -> str:
    """A word without its commonest endings."""
    word = IRREGULAR.get(word, word)
    for ending in ("ing", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            return word[: -len(ending)]
    return word


def prefixed(left: Iterable[str], right: Set[str]) -> str:
    """A word which the other text has without its negative prefix ("ineligible" where the other says "eligible")."""
    for word in left:
        if len(word) > 6 and word.startswith(_PREFIXES) and (word[2:] in right or (word[3:] in right and word.startswith(("dis", "non")))):
            return word
    return ""

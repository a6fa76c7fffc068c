"""The words of questions, and how telling each of them is in a scope."""

from __future__ import annotations

import math
import re
from collections import Counter
from functools import lru_cache
from typing import Final

_WORD: Final = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_COUNTED: Final = 20_000  # questions whose words are counted: more hardly change how telling a word is


@lru_cache(maxsize=65_536)
def words_of(question: str) -> frozenset[str]:
    """The words of a question, by which its neighbours are compared.

    >>> sorted(words_of("What's my PIN?"))
    ['my', 'pin', "what's"]
    """
    return frozenset(_WORD.findall(question.casefold()))


class WordCounts:
    """In how many of a scope's first questions each word is."""

    def __init__(self) -> None:
        self._words: Counter[str] = Counter()
        self._questions = 0

    @property
    def is_full(self) -> bool:
        """Whether further questions are not counted."""
        return self._questions >= _COUNTED

    def add(self, question: str) -> None:
        """Count the words of a question."""
        if not self.is_full:
            self._questions += 1
            self._words.update(words_of(question))

    def weight(self, word: str) -> float:
        """The inverse document frequency of a word."""
        return math.log((self._questions + 1) / (self._words.get(word, 0) + 1))

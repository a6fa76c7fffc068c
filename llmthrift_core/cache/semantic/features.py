"""Features of a question's neighbours, by which the nearest answer is judged.

The similarity of the nearest cached question alone says little; whether the questions around it share one answer says more
(k-nearest-neighbour agreement), and so does whether answers were right for the questions around it before.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from llmthrift_core.cache.semantic.store import Neighbour

NEIGHBOURS: Final = 16
_SHARP, _BROAD, _LOCAL = 20.0, 8.0, 10.0  # how fast a neighbour's vote fades with its distance in cosine
_FAR: Final = 0.2  # the similarity of a neighbour that is not there
_USUAL_RIGHT, _USUAL_WEIGHT = 0.7, 0.5  # where nothing is known around a question
WIDTH: Final = 21
SUPPORT: Final = (0, 4, 5, 6)
"""The features that say how near the question is to others: of them less is always less sure."""
_WORD: Final = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_COUNTED: Final = 20_000  # questions whose words are counted: more hardly change how telling a word is


class Candidate(NamedTuple):
    """The answer that most of the neighbourhood shares, and what speaks for it."""

    answer: int
    features: tuple[float, ...]


def candidate_of(neighbours: Sequence[Neighbour], question: str, weight: Callable[[str], float], stored: int) -> Candidate:
    """The answer that the neighbourhood would give, and its features.

    Args:
        neighbours: at least one, the nearest first; the first `NEIGHBOURS` count.
        question: that is asked.
        weight: how telling a word is (its inverse document frequency).
        stored: the number of cached questions.
    """
    near = neighbours[:NEIGHBOURS]
    nearest = near[0].similarity
    votes: dict[int, float] = {}
    broad: dict[int, float] = {}
    right = known = 0.0
    for each in near:
        distance = each.similarity - nearest
        votes[each.answer] = votes.get(each.answer, 0.0) + math.exp(_SHARP * distance)
        broad[each.answer] = broad.get(each.answer, 0.0) + math.exp(_BROAD * distance)
        if each.was_right is not None:
            local = math.exp(_LOCAL * distance)
            known += local
            right += local * each.was_right
    answer = max(votes, key=votes.__getitem__)
    total, all_broad = sum(votes.values()), sum(broad.values())
    same = [each for each in near if each.answer == answer]
    others = [each.similarity for each in near if each.answer != answer]
    last = near[-1].similarity
    best = same[0].similarity
    gap = best - (others[0] if others else min(last, _FAR))
    agreement = len(same) / NEIGHBOURS
    three = [each.similarity for each in same[:3]]
    second = max((vote for name, vote in votes.items() if name != answer), default=0.0) / total
    same_known = same_right = 0.0
    for each in same:
        if each.was_right is not None:
            local = math.exp(_LOCAL * (each.similarity - nearest))
            same_known += local
            same_right += local * each.was_right
    return Candidate(
        answer,
        (
            best,
            gap,
            _log_odds(votes[answer] / total) / 4,
            _log_odds(broad[answer] / all_broad) / 4,
            agreement,
            (sum(three) + 0.3 * (3 - len(three))) / 3,
            last,
            best * best,
            max(best - 0.9, 0.0) * 5,
            best * agreement,
            min(gap, 0.1) * 5,
            (right + _USUAL_RIGHT * _USUAL_WEIGHT) / (known + _USUAL_WEIGHT),
            (same_right + _USUAL_RIGHT * _USUAL_WEIGHT) / (same_known + _USUAL_WEIGHT),
            second,
            len(votes) / NEIGHBOURS,
            *_shared_words(near, answer, words_of(question), weight),
            math.log1p(stored) / 10,
        ),
    )


def _shared_words(near: Sequence[Neighbour], answer: int, words: frozenset[str], weight: Callable[[str], float]) -> tuple[float, ...]:
    """Weighted overlap of the question's words with its neighbours', and how much of it no neighbour of that answer has."""
    neighbours = [words_of(each.question) for each in near]
    weigh = {word: weight(word) for word in words.union(*neighbours)}.__getitem__
    asked = sum(map(weigh, words)) + 0.1
    overlaps: list[float] = []
    best_other = 0.0
    covered: set[str] = set()
    for each, others in zip(near, neighbours, strict=True):
        shared = words & others
        common = sum(map(weigh, shared))
        overlap = common / (asked + sum(map(weigh, others)) - common)
        if each.answer == answer:
            overlaps.append(overlap)
            covered |= shared
        else:
            best_other = max(best_other, overlap)
    best = max(overlaps)
    unknown = 1 - sum(map(weigh, covered)) / asked
    return best, best - best_other, sum(overlaps) / len(overlaps), unknown, min(len(words), 60) / 20


def _log_odds(share: float) -> float:
    share = min(max(share, 1e-3), 1 - 1e-3)
    return math.log(share / (1 - share))


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

"""What a process knows of one scope: its vectors, questions and words, kept up with what other processes store."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from llmthrift_core.cache.semantic.entries import Known, SemanticEntries
from llmthrift_core.cache.semantic.features import NEIGHBOURS, Neighbour, words_of
from llmthrift_core.cache.semantic.index import Vector, VectorIndex

_BATCH: Final = 10_000
_COUNTED: Final = 20_000  # questions whose words are counted: more hardly change how telling a word is

words_in = lru_cache(maxsize=65_536)(words_of)


class Scope:
    """The entries of one scope, in memory. Safe to share between threads.

    Args:
        digest: names the scope in the database.
        dimensions: of its vectors.
    """

    def __init__(self, entries: SemanticEntries, digest: bytes, dimensions: int) -> None:
        self._entries = entries
        self._digest = digest
        self._known: dict[int, Known] = {}
        self._words: Counter[str] = Counter()
        self._counted = 0
        self._last = 0
        self._lock = threading.Lock()
        self.index = VectorIndex(dimensions)

    def __len__(self) -> int:
        return len(self._known)

    def catch_up(self) -> None:
        """Read what was stored since the last time. Raises StorageError."""
        with self._lock:
            while True:
                known, vectors, last = self._entries.new_in(self._digest, self._last, _BATCH, self.index.dimensions)
                fresh = [place for place, each in enumerate(known) if each.number not in self._known]
                if fresh:
                    self._take([known[place] for place in fresh], vectors[fresh])
                if last == self._last:
                    return
                self._last = last
                if len(known) < _BATCH:
                    return

    def add(self, known: Known, vector: Vector) -> None:
        """This process has stored an entry."""
        with self._lock:
            if known.number not in self._known:
                self._take([known], vector[None, :])

    def forget(self, number: int) -> None:
        """An entry is gone."""
        with self._lock:
            self._known.pop(number, None)
            self.index.remove(number)

    def neighbours(self, vector: Vector) -> list[Neighbour]:
        """The nearest entries, the nearest first."""
        found: list[Neighbour] = []
        for number, similarity in self.index.nearest(vector, NEIGHBOURS):
            known = self._known.get(number)
            if known is not None:
                found.append(Neighbour(number, similarity, known.answer_class, known.was_right, words_in(known.question)))
        return found

    def question(self, number: int) -> str | None:
        """The question of an entry."""
        known = self._known.get(number)
        return None if known is None else known.question

    def weight(self, word: str) -> float:
        """How telling a word is here: its inverse document frequency."""
        return math.log((self._counted + 1) / (self._words.get(word, 0) + 1))

    def _take(self, known: Sequence[Known], vectors: Vector) -> None:
        self.index.add([each.number for each in known], vectors)
        for each in known:
            self._known[each.number] = each
            if self._counted < _COUNTED:
                self._counted += 1
                self._words.update(words_in(each.question))

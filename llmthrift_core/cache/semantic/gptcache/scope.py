"""One scope of a GPTCache."""

from __future__ import annotations

from typing import Protocol

from llmthrift_core.cache.semantic.features import NEIGHBOURS, Neighbour
from llmthrift_core.cache.semantic.index import Vector
from llmthrift_core.cache.semantic.store import Known
from llmthrift_core.cache.semantic.words import WordCounts


class Questions(Protocol):
    """What a scope asks of its store. Every method raises StorageError."""

    def count_in(self, scope: bytes) -> int: ...

    def questions_in(self, scope: bytes) -> list[str]: ...

    def nearest(self, scope: bytes, vector: Vector, most: int) -> list[Neighbour]: ...

    def forget(self, number: int) -> None: ...

    def flush(self) -> None: ...


class GPTCacheScope:
    """A `Scope` whose vectors are searched by GPTCache. Safe to share between threads.

    How telling a word is (`weight`) is counted over our own entries of the scope: the others' questions are not known until they are read.
    """

    def __init__(self, questions: Questions, digest: bytes) -> None:
        self._questions = questions
        self._digest = digest
        self._words = WordCounts()
        self._are_counted = False

    def __len__(self) -> int:
        return self._questions.count_in(self._digest)

    def catch_up(self) -> None:
        """Count the words of what is there, on first use. Later a search tells of what is new."""
        if not self._are_counted:
            questions = self._questions.questions_in(self._digest)
            self._are_counted = True
            for question in questions:
                self._words.add(question)

    def add(self, known: Known, vector: Vector) -> None:
        """This process has stored an entry."""
        if self._are_counted:
            self._words.add(known.question)

    def forget(self, number: int) -> None:
        """An entry is gone."""
        self._questions.forget(number)

    def neighbours(self, vector: Vector) -> list[Neighbour]:
        """The nearest entries, the nearest first."""
        return self._questions.nearest(self._digest, vector, NEIGHBOURS)

    def weight(self, word: str) -> float:
        """How telling a word is here: its inverse document frequency."""
        return self._words.weight(word)

    def keep_up(self) -> None:
        """Write the vector store's file if that is due."""
        self._questions.flush()

    def close(self) -> None:
        """As `keep_up`."""
        self._questions.flush()

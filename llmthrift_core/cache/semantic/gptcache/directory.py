"""The owners of a GPTCache's questions: known in memory, so that no row is read to find out. Callers take turns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from llmthrift_core.cache.semantic.features import NEIGHBOURS, WordCounts
from llmthrift_core.cache.semantic.gptcache.record import OURS, Header, header_from_text
from llmthrift_core.cache.semantic.index import Vector
from llmthrift_core.cache.semantic.store import Known, Neighbour


class Listed:
    """An entry of ours. Its uses are those of this process."""

    __slots__ = ("header", "hits", "number", "question", "used_us")

    def __init__(self, number: int, header: Header, question: str) -> None:
        self.number = number
        self.header = header
        self.question = question
        self.used_us = header.created_us
        self.hits = 0


class Directory:
    """Our entries by number, key and scope, and the numbers of the others: what GPTCache stored itself."""

    def __init__(self) -> None:
        self._listed: dict[int, Listed] = {}
        self._by_key: dict[bytes, int] = {}
        self._by_scope: dict[bytes, dict[int, None]] = {}
        self._foreign: set[int] = set()
        self._gone: set[int] = set()
        self._adopting: bytes | None = None

    def __len__(self) -> int:
        return len(self._listed) + len(self._foreign)

    @property
    def vectors(self) -> int:
        """How many vectors there are, those of questions that are gone too."""
        return len(self) + len(self._gone)

    def __iter__(self) -> Iterator[Listed]:
        return iter(list(self._listed.values()))

    def adopt(self, scope: bytes) -> None:
        """Foreign questions are of this scope."""
        self._adopting = scope

    def get(self, number: int) -> Listed | None:
        """An entry of ours."""
        return self._listed.get(number)

    def number_of(self, key: bytes) -> int | None:
        """The entry of a key."""
        return self._by_key.get(key)

    def is_foreign(self, number: int) -> bool:
        """Whether GPTCache stored this question itself."""
        return number in self._foreign

    def holds(self, scope: bytes, number: int) -> bool:
        """Whether a question is of this scope."""
        return number in self._by_scope.get(scope, ()) or (scope == self._adopting and number in self._foreign)

    def count(self, scope: bytes) -> int:
        """The number of questions of a scope."""
        return len(self._by_scope.get(scope, ())) + (len(self._foreign) if scope == self._adopting else 0)

    def questions(self, scope: bytes) -> list[str]:
        """What was asked in a scope, as far as it is known without reading rows."""
        return [self._listed[number].question for number in self._by_scope.get(scope, ())]

    def knows_all(self, numbers: Iterable[int]) -> bool:
        """Whether there is nothing new among these."""
        return all(number in self._listed or number in self._foreign or number in self._gone for number in numbers)

    def add(self, number: int, header: Header, question: str) -> None:
        """An entry of ours."""
        self.forget(number)
        self._gone.discard(number)
        self._listed[number] = Listed(number, header, question)
        self._by_key[header.key] = number
        self._by_scope.setdefault(header.scope, {})[number] = None

    def forget(self, number: int) -> None:
        """A question is gone, or is not what it was listed as. It is listed again if it is found again."""
        listed = self._listed.pop(number, None)
        self._foreign.discard(number)
        if listed is None:
            return
        header = listed.header
        if self._by_key.get(header.key) == number:
            del self._by_key[header.key]
        members = self._by_scope[header.scope]
        del members[number]
        if not members:
            del self._by_scope[header.scope]

    def lacks(self, live: set[int]) -> bool:
        """Forget what is not among these any more. Says whether there is something new."""
        for number in [*self._listed.keys() - live, *self._foreign - live]:
            self.forget(number)
        self._gone &= live  # a number may be given again
        return bool(self._new_in(live))

    def take(self, live: set[int], sessions: Iterable[tuple[int, Any, Any]]) -> None:
        """Read what is new. `sessions` are number, session's name and question."""
        new = self._new_in(live)
        claimed: set[int] = set()
        for number, name, question in sessions:
            if number in new and str(name).startswith(OURS):
                claimed.add(number)
                header = header_from_text(name)
                if header is None or type(question) is not str:
                    self._gone.add(number)
                else:
                    self.add(number, header, question)
        self._foreign |= new - claimed

    def note_gone(self, numbers: Iterable[int]) -> None:
        """The vector store has these, although there are no such questions, or none that can be read."""
        self._gone.update(number for number in numbers if number not in self._listed and number not in self._foreign)

    def _new_in(self, live: set[int]) -> set[int]:
        return live - self._listed.keys() - self._foreign - self._gone


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

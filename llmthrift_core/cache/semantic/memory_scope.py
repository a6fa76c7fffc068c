"""One scope in the memory of a process: its vectors, questions and words, kept up with what other processes store."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final, Protocol

from llmthrift_core.cache.semantic.features import NEIGHBOURS, Neighbour
from llmthrift_core.cache.semantic.files import IndexFiles
from llmthrift_core.cache.semantic.index import Vector, VectorIndex
from llmthrift_core.cache.semantic.store import Known
from llmthrift_core.cache.semantic.words import WordCounts

_BATCH: Final = 10_000


class Rows(Protocol):
    """The rows of a scope. Every method raises StorageError."""

    def new_in(self, scope: bytes, after: int, most: int, dimensions: int) -> tuple[list[Known], Vector, int, int]: ...

    def known_in(self, scope: bytes, after: int, until: int, most: int) -> tuple[list[Known], int]: ...

    def count_in(self, scope: bytes, until: int) -> int: ...


class MemoryScope:
    """A `Scope` in memory. Safe to share between threads.

    Args:
        files: where its graph may be.
        digest: names the scope in the database.
        dimensions: of its vectors.
    """

    def __init__(self, rows: Rows, files: IndexFiles, digest: bytes, dimensions: int) -> None:
        self._rows = rows
        self._files = files
        self._digest = digest
        self._saved = 0
        self._is_loaded = False
        self._known: dict[int, Known] = {}
        self._words = WordCounts()
        self._last = 0
        self._lock = threading.Lock()
        self.index = VectorIndex(dimensions)

    def __len__(self) -> int:
        return len(self._known)

    def catch_up(self) -> None:
        """Read what was stored since the last time. Raises StorageError."""
        with self._lock:
            if not self._is_loaded:
                self._is_loaded = True
                self._load()
            while True:
                known, vectors, last, read = self._rows.new_in(self._digest, self._last, _BATCH, self.index.dimensions)
                fresh = [place for place, each in enumerate(known) if each.number not in self._known]
                if fresh:
                    self._take([known[place] for place in fresh], vectors[fresh])
                self._last = last
                if read < _BATCH:
                    return

    def add(self, known: Known, vector: Vector) -> None:
        """This process has stored an entry."""
        with self._lock:
            if known.number not in self._known:
                self._take([known], vector[None, :])

    def keep_up(self) -> None:
        """Merge what came last into the graph, and save a graph that has grown by a tenth. Off the caller's path."""
        self.index.merge()
        if self.index.has_graph and len(self._known) > 1.1 * self._saved:
            with self._lock:
                self._saved = len(self._known)
                self._files.save(self._digest, self.index, self._last)

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
                found.append(Neighbour(number, similarity, known.answer_class, known.was_right, known.question))
        return found

    def weight(self, word: str) -> float:
        """How telling a word is here: its inverse document frequency."""
        return self._words.weight(word)

    def _load(self) -> None:
        last = self._files.load(self._digest, self.index)
        if not last:
            return
        there, after = self.index.numbers(), 0
        while after < last:
            known, after = self._rows.known_in(self._digest, after, last, _BATCH)
            for each in known:
                if each.number in there:
                    self._remember(each)
            if not known:
                break
        for number in there - self._known.keys():
            self.index.remove(number)
        # An entry that came in between without being in the file is found again by its number.
        self._last = 0 if len(self._known) < self._rows.count_in(self._digest, last) else last
        self._saved = len(self._known)

    def _take(self, known: Sequence[Known], vectors: Vector) -> None:
        self.index.add([each.number for each in known], vectors)
        for each in known:
            self._remember(each)

    def _remember(self, known: Known) -> None:
        self._known[known.number] = known
        self._words.add(known.question)

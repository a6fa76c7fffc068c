"""One scope in PostgreSQL, searched with pgvector: what any process stores is found by all at once, and none keeps vectors in memory."""

from __future__ import annotations

import threading
from typing import Final

import numpy as np

from llmthrift_core.cache.semantic import statements as sql
from llmthrift_core.cache.semantic.features import WordCounts
from llmthrift_core.cache.semantic.index import Vector
from llmthrift_core.cache.semantic.store import Known, Neighbour, answer_of_row, unit_vector_of
from llmthrift_core.cache.semantic.vector_statements import MAY_MOVE, VectorTable
from llmthrift_core.cache.semantic.vector_tables import VectorTables
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.vectors import PackedVector

_MANY: Final = 3_000  # vectors that are worth a graph; the server compares fewer one by one in about 2 ms
_WORDS_AT_ONCE: Final = 1_000  # questions
_COPIED_AT_ONCE: Final = 200  # vectors: a graph takes each in some milliseconds
_RARELY: Final = 1_000  # lookups between two counts of a large scope
_FEW_RECENT: Final = 64  # so many are left to be compared one by one
_MOST_RECENT: Final = 1_000  # beyond it whoever stores helps to move them
_MOVED_AT_ONCE: Final = 16  # a store of one of their questions again waits for them


class PgvectorScope:
    """A `Scope` in PostgreSQL. Safe to share between threads.

    How many entries there are and how telling their words are is known from the last time that they were counted, off the caller's path.

    Args:
        tables, table: where the vectors are.
        digest: names the scope in the database.
    """

    def __init__(self, database: Database, tables: VectorTables, table: VectorTable, digest: bytes) -> None:
        self._database = database
        self._tables = tables
        self._table = table
        self._digest = digest
        self._is_open = False
        self._count = 0
        self._gone: set[int] = set()
        self._recent = 0  # entries whose vectors are not moved yet, about
        self._asked = 0  # lookups since the entries were counted
        self._words = WordCounts()
        self._words_until = 0  # the last entry whose words are counted
        self._more_words = True
        self._copied_until: int | None = 0  # the last entry whose vector was looked for; None when all were
        self._graph: Statement | None = None
        self._may_make_graph = True
        self._lock = threading.Lock()  # of what is done off the callers' path, for which none of them waits

    def __len__(self) -> int:
        return max(self._count, 0)

    @property
    def has_graph(self) -> bool:
        """Whether it is searched by a graph."""
        return self._graph is not None

    @property
    def is_whole(self) -> bool:
        """Whether every entry is found, and quickly."""
        return self._copied_until is None and (self._count < _MANY or self.has_graph)

    def catch_up(self) -> None:
        """Count the entries, the first time. Raises StorageError."""
        if self._is_open:
            return
        with self._lock:
            if not self._is_open:
                self._count_entries()
                self._count_words()
                self._is_open = True

    def add(self, known: Known, vector: Vector) -> None:
        """This process has stored an entry, and its vector with it. Raises StorageError."""
        self._count += 1
        self._recent += 1
        if self._recent > _MOST_RECENT:
            self._move()

    def forget(self, number: int) -> None:
        """An entry is gone."""
        if number not in self._gone:
            self._gone.add(number)
            self._count -= 1

    def neighbours(self, vector: Vector) -> list[Neighbour]:
        """The nearest entries, the nearest first. Raises StorageError."""
        self._asked += 1
        statement = self._graph or self._table.nearest
        rows = self._database.fetch_all(statement, statement.in_order(embedding=packed(vector), of_scope=self._digest))
        found: list[Neighbour] = []
        for distance, answer_class, was_right, *row in rows:
            if row[0] not in self._gone:
                right = None if was_right is None else bool(was_right)
                # The nearest one, which most often answers, comes whole: it need not be read again.
                stored = None if found else answer_of_row(row)
                found.append(Neighbour(row[0], 1.0 - distance, answer_class, right, row[2], stored))
        return found

    def weight(self, word: str) -> float:
        """How telling a word is here: its inverse document frequency."""
        return self._words.weight(word)

    def keep_up(self) -> None:
        """Copy vectors that have no place here yet, move recent ones, count again after some lookups, make a graph for many.

        Raises StorageError.
        """
        with self._lock:
            if self._copied_until is not None:
                self._copy(self._copied_until)
            if self._more_words or self._asked >= min(_RARELY, 1 + self._count // 10):
                self._count_words()
                self._count_entries()
            for _ in range(_MOST_RECENT // _MOVED_AT_ONCE):
                if self._recent <= _FEW_RECENT or not self._move():
                    break
            if self._count >= _MANY and self._graph is None and self._may_make_graph:
                self._may_make_graph = self._tables.make_graph(self._table, self._digest)
                self._find_graph()

    def close(self) -> None:
        """Nothing: what is not done yet, any process does."""

    def _count_entries(self) -> None:
        self._asked = 0
        row = self._database.fetch_one(self._table.count, self._table.count.in_order(of_scope=self._digest))
        self._count = 0 if row is None else int(row[0])
        row = self._database.fetch_one(self._table.count_recent, (self._digest,))
        self._recent = 0 if row is None else int(row[0])
        self._gone.clear()
        self._find_graph()

    def _move(self) -> bool:
        """Move some vectors to where they are searched by a graph. False where there were none that could be moved."""
        with self._database.transaction(upkeep=True) as transaction:
            row = transaction.fetch_one(MAY_MOVE)
            moved = transaction.execute(self._table.move, (self._digest, _MOVED_AT_ONCE)) if row is not None and row[0] else 0
        self._recent = max(self._recent - moved, 0) if moved else 0
        return moved > 0

    def _find_graph(self) -> None:
        if self._count < _MANY or not self._tables.has_graph(self._table, self._digest):
            self._graph = None
        elif self._graph is None:
            self._graph = self._table.nearest_by_graph(self._digest)

    def _count_words(self) -> None:
        if self._words.is_full:
            self._more_words = False
            return
        rows = self._database.fetch_all(sql.NEW_QUESTIONS_IN_SCOPE, (self._digest, self._words_until, _WORDS_AT_ONCE))
        for number, question in rows:
            self._words.add(question)
            self._words_until = number
        self._more_words = len(rows) == _WORDS_AT_ONCE

    def _copy(self, after: int) -> None:
        rows = self._database.fetch_all(self._table.missing, (self._digest, after, _COPIED_AT_ONCE))
        vectors = [(number, unit_vector_of(stored, self._table.dimensions)) for number, stored in rows]
        ours = [(packed(vector), number) for number, vector in vectors if vector is not None]  # the others are passed over
        with self._database.transaction(upkeep=True) as transaction:
            transaction.executemany(self._table.add, ours)
        self._count += len(ours)
        self._copied_until = rows[-1][0] if len(rows) == _COPIED_AT_ONCE else None


def packed(vector: Vector) -> PackedVector:
    """A vector of length 1 as a parameter."""
    return PackedVector.of(vector.astype(">f2").tobytes())


def packed_bytes(stored: bytes) -> PackedVector:
    """As `packed`, for a `NewAnswer.vector`."""
    return packed(np.frombuffer(stored, dtype="<f4"))

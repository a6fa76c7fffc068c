"""One scope in the memory of a process: its vectors, questions and words, kept up with what other processes store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from llmthrift_core.cache.semantic.features import NEIGHBOURS, WordCounts
from llmthrift_core.cache.semantic.index import Vector, VectorIndex
from llmthrift_core.cache.semantic.index_files import IndexFiles
from llmthrift_core.cache.semantic.store import Known, Neighbour

_LITTLE: Final = 10_000  # entries that a lookup reads itself, in 0.1 s or so
_PART: Final = 1_000  # entries between which others get their turn
_SMALL_FILE_BYTES: Final = 16 * 2**20  # of some 15,000 vectors; read in about a tenth of a second
_PATIENCE_SECONDS: Final = 0.5


class Rows(Protocol):
    """The rows of a scope. Every method raises StorageError."""

    def new_in(self, scope: bytes, after: int, most: int, dimensions: int) -> tuple[list[Known], Vector, int, int]: ...

    def known_in(self, scope: bytes, after: int, until: int, most: int) -> tuple[list[Known], int]: ...

    def count_in(self, scope: bytes, until: int) -> int: ...


class MemoryScope:
    """A `Scope` in memory. Safe to share between threads.

    A large scope is read by a thread of its own when it is first asked for. The lookups of the first half second wait for it; later ones
    find what has been read by then.

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
        self._is_closed = False
        self._reader: _Reader | None = None
        self._known: dict[int, Known] = {}
        self._words = WordCounts()
        self._last = 0
        self._lock = threading.Lock()
        self._keeping = threading.Lock()  # of what is done off the callers' path, for which none of them waits
        self.index = VectorIndex(dimensions)

    def __len__(self) -> int:
        return len(self._known)

    @property
    def is_whole(self) -> bool:
        """Whether all that was stored has been read, and is found by the graph where there is one."""
        return self._is_loaded and self._reader is None and self.index.is_merged

    def catch_up(self) -> None:
        """Read what was stored since the last time; if it is much, as far as that goes in half a second. Raises StorageError."""
        if self._reader is None:
            with self._lock:
                if self._reader is None and not self._read_little():
                    self._reader = _Reader(self._read_much)
                    self._reader.start()
        if (reader := self._reader) is not None:
            reader.wait()

    def add(self, known: Known, vector: Vector) -> None:
        """This process has stored an entry."""
        if self._reader is None:  # else it is read with the others
            with self._lock:
                if known.number not in self._known:
                    self._take([known], vector[None, :])

    def keep_up(self) -> None:
        """Merge what came last into the graph, and save a graph that has grown by a tenth. Off the caller's path."""
        if self._reader is not None:
            return
        with self._keeping:
            with self._lock:
                size, last = len(self._known), self._last
            self.index.merge()
            if self.index.has_graph and size > 1.1 * self._saved:
                self._saved = size
                self._files.save(self._digest, self.index, last)

    def close(self) -> None:
        """Keep the graph for the next process; a scope that is still being read is read no further."""
        self._is_closed = True
        self.keep_up()

    def forget(self, number: int) -> None:
        """An entry is gone."""
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

    def _read_little(self) -> bool:
        """Read a small file and what is new. False if that is not all. The caller holds the lock."""
        if not self._is_loaded:
            if self._files.size_bytes(self._digest) > _SMALL_FILE_BYTES:
                return False
            self._load()
        return self._read_rows(_LITTLE)

    def _read_much(self) -> None:
        """Read the file and all that is new, a part at a time, while lookups go on. Raises StorageError."""
        try:
            if not self._is_loaded:
                self._load()
            while threading.main_thread().is_alive() and not self._is_closed:  # else the process would end later for it
                with self._lock:
                    if self._read_rows(_PART):
                        return
                self.index.merge()  # vectors that wait for it are compared one by one
        finally:
            self._reader = None

    def _load(self) -> None:
        last = self._files.load(self._digest, self.index)
        if last:
            there, after = self.index.numbers(), 0
            while after < last:
                known, after = self._rows.known_in(self._digest, after, last, _PART)
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
        self._is_loaded = True

    def _read_rows(self, most: int) -> bool:
        """Read entries that are new. False if there may be more. The caller holds the lock."""
        known, vectors, last, read = self._rows.new_in(self._digest, self._last, most, self.index.dimensions)
        fresh = [place for place, each in enumerate(known) if each.number not in self._known]
        if fresh:
            self._take([known[place] for place in fresh], vectors[fresh])
        self._last = last
        return read < most

    def _take(self, known: Sequence[Known], vectors: Vector) -> None:
        self.index.add([each.number for each in known], vectors)
        for each in known:
            self._remember(each)

    def _remember(self, known: Known) -> None:
        self._known[known.number] = known
        self._words.add(known.question)


class _Reader:
    """A thread that reads a large scope.

    What keeps it from that is told to a lookup that waits; after that, the next lookup starts another.
    """

    def __init__(self, read: Callable[[], None]) -> None:
        self._read = read
        self._error: Exception | None = None
        self._patient_until = time.monotonic() + _PATIENCE_SECONDS
        self._thread = threading.Thread(target=self._run, name="llmthrift-cache-reader")

    def start(self) -> None:
        self._thread.start()

    def wait(self) -> None:
        """For its end, as long as lookups may wait for it. Raises what it raised."""
        self._thread.join(max(self._patient_until - time.monotonic(), 0))
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._read()
        except Exception as error:  # of the store, for the lookups that wait
            self._error = error

"""The vectors of one scope, in memory: searched one by one while they are few, by an HNSW graph (usearch) when they are many.

Beside a graph, the vectors that came last are searched one by one, until they are merged into it off the caller's path.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np

from llmthrift_core.errors import MissingExtraError

Vector = np.ndarray[Any, np.dtype[np.float32]]
_FEW: Final = 3_000
_CONNECTIVITY: Final = 16
_EXPANSION_ADD: Final = 64
_EXPANSION_SEARCH: Final = 72
_ONE_THREAD: Final = 1  # by default a search may start as many as there are cores, and wait for the slowest
_MERGED_AT_ONCE: Final = 1  # a lookup waits for one vector at most: with a million, each takes as long as two lookups
_PAUSE_SECONDS: Final = 1e-4  # else whoever merges would have the lock again before a lookup that waits for it wakes


class VectorIndex:
    """Vectors of length 1 by number; nearest first by cosine. Safe to share between threads.

    Args:
        dimensions: of every vector.
    """

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self._lock = threading.Lock()
        self._growing = threading.Lock()  # of whoever changes, saves or loads the graph, which takes long; taken before the other
        self._rows = _Rows(dimensions)
        self._removed: set[int] = set()  # from the graph, which loses them when it is merged the next time
        self._graph: Any = None

    def __len__(self) -> int:
        return len(self._rows) + (0 if self._graph is None else len(self._graph) - len(self._removed))

    @property
    def has_graph(self) -> bool:
        """Whether there are so many vectors that a graph is worth keeping."""
        return self._graph is not None

    @property
    def is_merged(self) -> bool:
        """Whether few vectors wait for the graph."""
        return len(self._rows) <= _FEW

    def add(self, numbers: list[int], vectors: Vector) -> None:
        """Add vectors that are not there yet."""
        with self._lock:
            self._rows.add(numbers, vectors)

    def remove(self, number: int) -> None:
        """Forget a vector. Nothing happens if there is none."""
        with self._lock:
            if not self._rows.remove(number) and self._graph is not None and number in self._graph:
                self._removed.add(number)

    def nearest(self, vector: Vector, most: int) -> list[tuple[int, float]]:
        """Up to `most` numbers with their similarity, the most similar first."""
        with self._lock:
            found = self._rows.nearest(vector, most)
            if self._graph is None:
                return found
            matches = self._graph.search(vector, most + min(most, len(self._removed)), threads=_ONE_THREAD)
        near = zip(matches.keys.tolist(), matches.distances.tolist(), strict=True)
        found += [(number, 1.0 - distance) for number, distance in near if number not in self._removed]
        return sorted(found, key=lambda each: -each[1])[:most]

    def merge(self) -> bool:
        """Take what came last into the graph, or make one if there are many. True if anything was moved."""
        with self._growing:
            self._take_out_removed()
            if len(self._rows) <= (_FEW if self._graph is None else 0):
                return False
            graph = self._graph or self._empty()
            while True:
                with self._lock:
                    numbers, vectors = self._rows.take(_MERGED_AT_ONCE)
                    if not numbers:
                        return True
                    graph.add(np.array(numbers, dtype=np.uint64), vectors, threads=_ONE_THREAD)
                    self._graph = graph
                time.sleep(_PAUSE_SECONDS)

    def save(self, path: Path) -> None:
        """Write the graph to a file. Raises OSError."""
        with self._growing:
            # The library keeps the interpreter to itself for either: to fill a buffer takes a sixth of the time of writing a file.
            image = self._graph.save()
        path.write_bytes(image)

    def load(self, path: Path) -> None:
        """Read a graph that `save` wrote; one that was there is dropped.

        Raises:
            ValueError: the file holds something else.
        """
        graph = self._empty()
        try:
            graph.load(str(path))
        except Exception as error:  # whatever the library raises for a file that is not its own
            raise ValueError(f"not an index: {type(error).__name__}") from None
        if graph.ndim != self.dimensions:
            raise ValueError("an index of other dimensions")
        with self._growing, self._lock:
            self._graph, self._removed = graph, set()

    def numbers(self) -> set[int]:
        """Every number in the graph."""
        return set() if self._graph is None else set(np.asarray(self._graph.keys).tolist()) - self._removed

    def _take_out_removed(self) -> None:
        for number in list(self._removed):
            with self._lock:
                self._graph.remove(number)
                self._removed.discard(number)

    def _empty(self) -> Any:
        return _usearch_index()(
            ndim=self.dimensions,
            metric="ip",  # of vectors of length 1 that is the cosine, and takes a sixth less time
            dtype="f16",
            connectivity=_CONNECTIVITY,
            expansion_add=_EXPANSION_ADD,
            expansion_search=_EXPANSION_SEARCH,
        )


def _usearch_index() -> Any:
    """usearch's class. Raises MissingExtraError."""
    # The process dies where onnxruntime (1.32), which runs the built-in model, is imported after usearch (2.26), not before it.
    with suppress(ImportError):
        import_module("onnxruntime")
    try:
        from usearch.index import Index
    except ImportError:
        raise MissingExtraError("semantic", "usearch") from None
    return Index


class _Rows:
    """Vectors in a matrix."""

    def __init__(self, dimensions: int) -> None:
        self._numbers: list[int] = []
        self._places: dict[int, int] = {}
        self._rows = np.empty((64, dimensions), dtype=np.float32)

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, numbers: list[int], vectors: Vector) -> None:
        while len(self._numbers) + len(numbers) > len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        for number, vector in zip(numbers, vectors, strict=True):
            self._places[number] = len(self._numbers)
            self._rows[len(self._numbers)] = vector
            self._numbers.append(number)

    def remove(self, number: int) -> bool:
        place = self._places.pop(number, None)
        if place is None:
            return False
        last = self._numbers.pop()
        if last != number:
            self._numbers[place] = last
            self._rows[place] = self._rows[len(self._numbers)]
            self._places[last] = place
        return True

    def take(self, most: int) -> tuple[list[int], Vector]:
        start = max(len(self._numbers) - most, 0)
        numbers, vectors = self._numbers[start:], self._rows[start : len(self._numbers)].copy()
        for number in numbers:
            del self._places[number]
        del self._numbers[start:]
        if len(self._rows) > 4 * _FEW and not start:  # a scope that was loaded
            self._rows = np.empty((64, self._rows.shape[1]), dtype=np.float32)
        return numbers, vectors

    def nearest(self, vector: Vector, most: int) -> list[tuple[int, float]]:
        count = len(self._numbers)
        if not count:
            return []
        # Not `@`: the BLAS behind it starts threads, for which a lookup on a busy machine waits tens of milliseconds.
        similarity = np.vecdot(self._rows[:count], vector)
        chosen = np.argpartition(similarity, count - most)[count - most :] if count > most else np.arange(count)
        chosen = chosen[np.argsort(-similarity[chosen], kind="stable")]
        return [(self._numbers[place], float(similarity[place])) for place in chosen.tolist()]

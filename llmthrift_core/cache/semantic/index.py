"""The vectors of one scope, in memory: searched one by one while they are few, by an HNSW graph (usearch) when they are many."""

from __future__ import annotations

import threading
from typing import Any, Final

import numpy as np

from llmthrift_core.errors import MissingExtraError

Vector = np.ndarray[Any, np.dtype[np.float32]]

_FEW: Final = 3_000
_CONNECTIVITY: Final = 16
_EXPANSION_ADD: Final = 64
_EXPANSION_SEARCH: Final = 96


class VectorIndex:
    """Vectors of length 1 by number; nearest first by cosine. Safe to share between threads.

    Args:
        dimensions: of every vector.
    """

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self._lock = threading.Lock()
        self._numbers: list[int] = []
        self._places: dict[int, int] = {}
        self._rows = np.empty((64, dimensions), dtype=np.float32)
        self._graph: Any = None

    def __len__(self) -> int:
        return len(self._graph) if self._graph is not None else len(self._numbers)

    def __contains__(self, number: int) -> bool:
        return number in self._graph if self._graph is not None else number in self._places

    def add(self, numbers: list[int], vectors: Vector) -> None:
        """Add vectors, or replace those of the same numbers."""
        with self._lock:
            if self._graph is None and len(self._numbers) + len(numbers) > _FEW:
                self._grow_up()
            if self._graph is not None:
                for number in numbers:
                    if number in self._graph:
                        self._graph.remove(number)
                self._graph.add(np.array(numbers, dtype=np.uint64), vectors)
                return
            for number, vector in zip(numbers, vectors, strict=True):
                place = self._places.get(number)
                if place is None:
                    place = self._places[number] = len(self._numbers)
                    self._numbers.append(number)
                    if place == len(self._rows):
                        self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
                self._rows[place] = vector

    def remove(self, number: int) -> None:
        """Forget a vector. Nothing happens if there is none."""
        with self._lock:
            if self._graph is not None:
                if number in self._graph:
                    self._graph.remove(number)
                return
            place = self._places.pop(number, None)
            if place is None:
                return
            last = self._numbers.pop()
            if last != number:
                self._numbers[place] = last
                self._rows[place] = self._rows[len(self._numbers)]
                self._places[last] = place

    def nearest(self, vector: Vector, most: int) -> list[tuple[int, float]]:
        """Up to `most` numbers with their similarity, the most similar first."""
        with self._lock:
            if self._graph is not None:
                found = self._graph.search(vector, most)
                return [(int(key), 1.0 - float(distance)) for key, distance in zip(found.keys, found.distances, strict=True)]
            count = len(self._numbers)
            if not count:
                return []
            similarity = self._rows[:count] @ vector
            if count > most:
                chosen = np.argpartition(similarity, count - most)[count - most :]
            else:
                chosen = np.arange(count)
            chosen = chosen[np.argsort(-similarity[chosen], kind="stable")]
            return [(self._numbers[place], float(similarity[place])) for place in chosen.tolist()]

    def _grow_up(self) -> None:
        try:
            from usearch.index import Index
        except ImportError:
            raise MissingExtraError("semantic", "usearch") from None
        self._graph = Index(
            ndim=self.dimensions,
            metric="cos",
            dtype="f16",
            connectivity=_CONNECTIVITY,
            expansion_add=_EXPANSION_ADD,
            expansion_search=_EXPANSION_SEARCH,
        )
        count = len(self._numbers)
        self._graph.add(np.array(self._numbers, dtype=np.uint64), self._rows[:count])
        self._numbers, self._places = [], {}
        self._rows = np.empty((0, self.dimensions), dtype=np.float32)

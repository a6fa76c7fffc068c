"""A scope in memory: a large one is read while lookups go on, and what goes wrong then is told and tried again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmthrift_core.cache.semantic import memory_scope
from llmthrift_core.cache.semantic.index import Vector
from llmthrift_core.cache.semantic.index_files import IndexFiles
from llmthrift_core.cache.semantic.memory_scope import MemoryScope
from llmthrift_core.cache.semantic.store import Known
from llmthrift_core.errors import StorageError

DIMENSIONS = 8


class Rows:
    """The rows of one scope, by number from 1. `gate` holds up who reads past the first part."""

    def __init__(self, number: int) -> None:
        self.vectors = np.random.default_rng(1).normal(size=(number, DIMENSIONS)).astype(np.float32)
        self.vectors /= np.linalg.norm(self.vectors, axis=1, keepdims=True)
        self.gone: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.failures = 0

    def new_in(self, scope: bytes, after: int, most: int, dimensions: int) -> tuple[list[Known], Vector, int, int]:
        if after:
            assert self.gate.wait(30)
            if self.failures:
                self.failures -= 1
                raise StorageError("gone")
        numbers = [number for number in range(after + 1, min(after + most, len(self.vectors)) + 1) if number not in self.gone]
        known = [Known(number, f"q{number}", number, None) for number in numbers]
        return known, self.vectors[[number - 1 for number in numbers]], numbers[-1] if numbers else after, len(numbers)

    def known_in(self, scope: bytes, after: int, until: int, most: int) -> tuple[list[Known], int]:
        assert self.gate.wait(30)
        numbers = [number for number in range(after + 1, min(after + most, until) + 1) if number not in self.gone]
        return [Known(number, f"q{number}", number, None) for number in numbers], min(after + most, until)

    def count_in(self, scope: bytes, until: int) -> int:
        return sum(number not in self.gone for number in range(1, until + 1))

    def add(self, vector: Vector) -> Known:
        self.vectors = np.concatenate([self.vectors, vector[None, :]])
        return Known(len(self.vectors), f"q{len(self.vectors)}", len(self.vectors), None)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_LITTLE", 100), ("_PART", 50), ("_PATIENCE_SECONDS", 0.05)):
        monkeypatch.setattr(memory_scope, name, value)


def scope_of(rows: Rows, database: Path | None = None) -> MemoryScope:
    return MemoryScope(rows, IndexFiles(database), b"s" * 20, DIMENSIONS)


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def nearest(scope: MemoryScope, vector: Any) -> int | None:
    return next((each.entry for each in scope.neighbours(vector)), None)


def test_lookups_go_on_while_a_large_scope_is_read() -> None:
    rows = Rows(1_000)
    rows.gate.clear()
    scope = scope_of(rows)
    scope.catch_up()
    assert not scope.is_whole
    assert len(scope) == 100
    assert nearest(scope, rows.vectors[70]) == 71
    assert nearest(scope, rows.vectors[700]) != 701
    stored = rows.add(-rows.vectors[700])
    scope.add(stored, rows.vectors[-1])  # read with the others
    scope.forget(3)
    scope.keep_up()
    rows.gate.set()
    wait_for(lambda: scope.is_whole)
    assert len(scope) == 1_000
    assert nearest(scope, rows.vectors[700]) == 701
    assert nearest(scope, rows.vectors[-1]) == stored.number
    assert nearest(scope, rows.vectors[2]) != 3


def test_what_is_read_in_the_background_comes_to_a_graph_too() -> None:
    rows = Rows(4_000)
    scope = scope_of(rows)
    scope.catch_up()
    wait_for(lambda: scope.is_whole)
    assert scope.index.has_graph
    assert len(scope) == len(scope.index) == 4_000
    assert [nearest(scope, rows.vectors[number - 1]) for number in (1, 2_000, 4_000)] == [1, 2_000, 4_000]


def test_a_large_file_is_read_while_lookups_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Rows(3_500)
    first = scope_of(rows, tmp_path / "l.db")
    first.catch_up()
    wait_for(lambda: first.is_whole)
    first.close()
    monkeypatch.setattr(memory_scope, "_SMALL_FILE_BYTES", 10)
    rows.gate.clear()
    rows.gone = {9}
    scope = scope_of(rows, tmp_path / "l.db")
    scope.catch_up()
    assert not scope.is_whole
    assert scope.neighbours(rows.vectors[7]) == []
    rows.gate.set()
    wait_for(lambda: scope.is_whole)
    assert len(scope) == len(scope.index) == 3_499
    assert nearest(scope, rows.vectors[7]) == 8
    assert nearest(scope, rows.vectors[8]) != 9


def test_a_lookup_that_waits_is_told_what_failed_and_the_next_one_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_scope, "_PATIENCE_SECONDS", 30.0)
    rows = Rows(300)
    rows.failures = 1
    scope = scope_of(rows)
    with pytest.raises(StorageError, match="gone"):
        scope.catch_up()
    scope.catch_up()
    scope.catch_up()
    assert scope.is_whole
    assert len(scope) == 300


def test_a_scope_that_is_closed_is_read_no_further() -> None:
    rows = Rows(1_000)
    rows.gate.clear()
    scope = scope_of(rows)
    scope.catch_up()
    scope.close()
    rows.gate.set()
    wait_for(lambda: scope._reader is None)
    assert len(scope) < 1_000


def test_searches_go_on_while_a_graph_is_saved(tmp_path: Path) -> None:
    rows = Rows(3_500)
    scope = scope_of(rows)
    scope.catch_up()
    wait_for(lambda: scope.is_whole)
    with scope.index._growing:  # as whoever saves it holds it
        scope.forget(5)
        scope.catch_up()
        assert nearest(scope, rows.vectors[4]) not in (None, 5)
        assert nearest(scope, rows.vectors[5]) == 6
    scope.index.merge()
    assert 5 not in scope.index.numbers()
    assert len(scope.index) == 3_499

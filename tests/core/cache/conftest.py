"""A database per test, on SQLite in a file and in memory and on PostgreSQL, and a clock that tests move."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmthrift_core.cache.exact import ExactCache
from llmthrift_core.storage.database import Database
from tests.core.storage.backends import postgresql_server, postgresql_url  # noqa: F401 - fixtures


class Clock:
    """Seconds since the epoch, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["file", "memory", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "postgresql":
        with Database.open(request.getfixturevalue("postgresql_url")) as opened:
            yield opened
        return
    with Database.open(":memory:" if request.param == "memory" else tmp_path / "cache.db") as opened:
        yield opened


@pytest.fixture
def file_database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "cache.db") as opened:
        yield opened


@pytest.fixture
def open_cache(clock: Clock) -> Iterator[Callable[..., ExactCache]]:
    """Opens caches that are closed after the test. Coherence is checked at every hit on every database."""
    opened: list[ExactCache] = []

    def open_one(database: Database, **options: object) -> ExactCache:
        cache = ExactCache(database, **{"clock": clock, "coherence_seconds": 0.0, **options})
        opened.append(cache)
        return cache

    yield open_one
    for cache in opened:
        cache.close()


@pytest.fixture
def cache(database: Database, open_cache: Callable[..., ExactCache]) -> ExactCache:
    return open_cache(database)

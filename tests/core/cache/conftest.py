"""An empty store per test, in memory, on SQLite, PostgreSQL and Valkey, and a clock that tests move."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmthrift_core.cache.exact import ExactCache
from llmthrift_core.cache.sql_store import SqlEntries
from llmthrift_core.cache.store import EntryStore
from llmthrift_core.cache.valkey_store import ValkeyEntries
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.valkey import ValkeyServer
from tests.core.cache.gptcaches import nothing_is_installed, open_gptcache  # noqa: F401 - fixtures
from tests.core.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["file", "memory", "postgresql", "valkey"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EntryStore]:
    if request.param == "valkey":
        with ValkeyServer(request.getfixturevalue("valkey_url")) as server:
            yield ValkeyEntries(server)
        return
    urls = {"file": str(tmp_path / "cache.db"), "memory": ":memory:"}
    with Database.open(urls.get(request.param) or request.getfixturevalue("postgresql_url")) as opened:
        yield SqlEntries(opened)


@pytest.fixture
def file_database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "cache.db") as opened:
        yield opened


@pytest.fixture
def open_cache(clock: Clock) -> Iterator[Callable[..., ExactCache]]:
    """Opens caches that are closed after the test. Coherence is checked at every hit on every store."""
    opened: list[ExactCache] = []

    def open_one(store: EntryStore, **options: object) -> ExactCache:
        cache = ExactCache(store, **{"clock": clock, "coherence_seconds": 0.0, **options})
        opened.append(cache)
        return cache

    yield open_one
    for cache in opened:
        cache.close()


@pytest.fixture
def cache(store: EntryStore, open_cache: Callable[..., ExactCache]) -> ExactCache:
    return open_cache(store)

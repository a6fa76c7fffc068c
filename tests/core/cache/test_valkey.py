"""What only a server can do to entries: drop them, and hold what somebody else wrote."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llmthrift_core.cache import CachePolicy
from llmthrift_core.cache.exact import ExactCache
from llmthrift_core.cache.scripts import PREFIX
from llmthrift_core.cache.valkey_store import ValkeyEntries
from llmthrift_core.storage.valkey import ValkeyServer
from tests.core.cache.test_exact import get, key_of, put
from tests.core.clock import Clock


@pytest.fixture
def server(valkey_url: str) -> Iterator[ValkeyServer]:
    with ValkeyServer(valkey_url) as opened:
        yield opened


@pytest.fixture
def cache(server: ValkeyServer, clock: Clock) -> Iterator[ExactCache]:
    opened = ExactCache(ValkeyEntries(server), clock=clock, memory_entries=0)
    yield opened
    opened.close()


def entry_key(name: str, policy: CachePolicy | None = None) -> bytes:
    return f"{PREFIX}entry:".encode() + key_of(name, policy or CachePolicy())


def test_an_entry_that_the_server_dropped_is_a_miss_and_leaves_the_lists_in_time(cache: ExactCache, server: ValkeyServer) -> None:
    policy = CachePolicy(max_entries=2)
    put(cache, "a", policy)
    put(cache, "b", policy)
    server.ask("DEL", entry_key("a", policy))
    assert get(cache, "a", policy) is None
    assert [view.key for view in cache.entries()] == [key_of("b", policy).hex()]
    put(cache, "c", policy)
    assert get(cache, "b", policy) is not None
    assert get(cache, "c", policy) is not None
    assert cache.stats()["entries"] == 2
    cache.clear()
    assert cache.stats()["bytes"] == 0


@pytest.mark.parametrize(
    "change",
    [("HDEL", "payload"), ("HDEL", "model"), ("HSET", "created_us", "soon"), ("HSET", "model", b"\xff"), ("HSET", "usage", b"\xff")],
)
def test_a_hash_that_is_not_ours_is_a_miss_and_removed(cache: ExactCache, server: ValkeyServer, change: tuple[str, ...]) -> None:
    put(cache, "q")
    server.ask(change[0], entry_key("q"), *change[1:])
    assert get(cache, "q") is None
    assert server.ask("EXISTS", entry_key("q")) == 0
    assert cache.health()["errors"] == 0
    assert put(cache, "q")
    assert get(cache, "q") is not None


def test_a_server_that_is_gone_is_a_miss(cache: ExactCache, server: ValkeyServer, valkey_url: str) -> None:
    put(cache, "q")
    server._client.connection_pool.connection_kwargs["path"] += "-gone"
    server._client.connection_pool.reset()
    assert get(cache, "q") is None
    assert put(cache, "r") is False
    assert cache.health()["errors"] == 2
    assert "Connect" in (cache.health()["last_error"] or "") or "connect" in (cache.health()["last_error"] or "")


def test_entries_outlive_their_time_by_a_day_so_that_what_refers_to_them_can_go_first(cache: ExactCache, server: ValkeyServer) -> None:
    put(cache, "q", CachePolicy(ttl_seconds=60))
    assert 86_400 < server.ask("TTL", entry_key("q", CachePolicy(ttl_seconds=60))) <= 86_460
    put(cache, "for ever", CachePolicy(ttl_seconds=None))
    assert server.ask("TTL", entry_key("for ever", CachePolicy(ttl_seconds=None))) == -1

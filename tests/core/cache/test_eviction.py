"""Limits: by entries and by bytes, in the order of the policy, expired entries first."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmthrift_core.cache import CachePolicy
from llmthrift_core.cache.exact import ExactCache
from llmthrift_core.cache.sql_store import SqlEntries
from llmthrift_core.cache.store import EntryStore
from llmthrift_core.storage.database import Database
from tests.core.cache.test_exact import get, key_of, put
from tests.core.clock import Clock


def stored(cache: ExactCache, names: str, policy: CachePolicy) -> str:
    """Which names are in the database, without touching them."""
    present = {view.key for view in cache.entries(policy.namespace, limit=None)}
    return "".join(name for name in names if key_of(name, policy).hex() in present)


def test_the_longest_unused_goes_first(cache: ExactCache) -> None:
    policy = CachePolicy(max_entries=3)
    for name in "abc":
        put(cache, name, policy)
    get(cache, "a", policy)
    put(cache, "d", policy)
    assert stored(cache, "abcd", policy) == "acd"
    assert get(cache, "b", policy) is None  # nor in memory
    put(cache, "e", policy)
    assert stored(cache, "abcde", policy) == "ade"
    assert cache.stats()["evictions"] == 2
    assert cache.stats()["evicted_unused"] == 2


def test_the_least_often_used_goes_first(cache: ExactCache) -> None:
    policy = CachePolicy(max_entries=3, eviction="lfu")
    for name in "abc":
        put(cache, name, policy)
    for name in "aaabbc":
        get(cache, name, policy)
    put(cache, "d", policy)
    assert stored(cache, "abcd", policy) == "abd"  # c was used last, but only once
    put(cache, "e", policy)
    assert stored(cache, "abde", policy) == "abe"  # d was never used
    assert cache.stats()["evicted_unused"] == 1


def test_uses_from_memory_and_of_a_frozen_clock_count_for_the_order(store: EntryStore, open_cache: Any) -> None:
    cache, policy = open_cache(store, write_seconds=3600), CachePolicy(max_entries=3)
    for name in "abc":
        put(cache, name, policy)
    for name in "cba":
        get(cache, name, policy)
    put(cache, "d", policy)
    put(cache, "e", policy)
    assert stored(cache, "abcde", policy) == "ade"


def test_a_use_that_is_told_late_takes_none_back(cache: ExactCache, store: EntryStore, clock: Clock) -> None:
    """Processes tell of the uses that they counted when they come to it."""
    policy, now_us = CachePolicy(max_entries=3), int(clock() * 1e6)
    for name in "abc":
        put(cache, name, policy)
    for later_us in (2_000_000, -2_000_000):
        store.count_uses([(key_of("a", policy), 1, now_us + later_us)])
    put(cache, "d", policy)
    assert stored(cache, "abcd", policy) == "acd"


def test_a_limit_of_one(cache: ExactCache) -> None:
    policy = CachePolicy(max_entries=1, eviction="lfu")
    for name in "abc":
        put(cache, name, policy)
        assert get(cache, name, policy) is not None
        assert stored(cache, "abc", policy) == name


def test_a_limit_of_a_thousand_is_never_exceeded_and_nearly_used(open_cache: Any, file_database: Database) -> None:
    cache, policy = open_cache(SqlEntries(file_database)), CachePolicy(max_entries=1000)
    counts = []
    for number in range(1500):
        put(cache, f"q{number}", policy)
        if number > 990 and number % 7 == 0:
            counts.append(cache.stats()["entries"])
    assert max(counts) <= 1000
    assert min(counts) >= 985
    assert get(cache, "q1499", policy) is not None
    assert get(cache, "q0", policy) is None


def test_bytes_are_a_limit_of_their_own(cache: ExactCache) -> None:
    size = 100 + 37  # the answer and its usage
    policy = CachePolicy(max_entries=None, max_bytes=3 * size)
    for name in "abcd":
        put(cache, name, policy, payload=b"x" * 100)
    assert stored(cache, "abcd", policy) == "bcd"
    put(cache, "e", policy, payload=b"x" * 101)  # one byte more than the place of one entry
    assert stored(cache, "abcde", policy) == "de"
    assert cache.stats()["bytes"] == 2 * size + 1


def test_an_entry_larger_than_everything_is_refused(cache: ExactCache) -> None:
    policy = CachePolicy(max_bytes=1000)
    put(cache, "a", policy)
    assert put(cache, "b", policy, payload=b"x" * 1000) is False
    assert stored(cache, "ab", policy) == "a"
    assert (cache.stats()["refused"], cache.stats()["errors"]) == (1, 0)


def test_expired_entries_go_before_live_ones(cache: ExactCache, clock: Clock) -> None:
    policy = CachePolicy(max_entries=3)
    put(cache, "a", policy)
    put(cache, "b", CachePolicy(max_entries=3, ttl_seconds=5))
    clock.now += 10
    put(cache, "c", policy)
    put(cache, "d", policy)
    assert stored(cache, "abcd", policy) == "acd"
    assert (cache.stats()["evictions"], cache.stats()["expired_unused"]) == (0, 1)


def test_the_limit_is_the_namespaces_own(cache: ExactCache) -> None:
    small, other = CachePolicy(max_entries=1), CachePolicy(namespace="other", max_entries=1)
    put(cache, "a", small)
    put(cache, "b", other)
    assert (stored(cache, "a", small), stored(cache, "b", other)) == ("a", "b")


def test_a_smaller_limit_takes_effect_with_the_next_store(cache: ExactCache) -> None:
    for number in range(20):
        put(cache, str(number), CachePolicy(max_entries=None, max_bytes=None))
    put(cache, "last", CachePolicy(max_entries=5))
    assert cache.stats()["entries"] == 5


def test_without_limits_nothing_goes(cache: ExactCache) -> None:
    policy = CachePolicy(max_entries=None, max_bytes=None)
    for number in range(50):
        put(cache, str(number), policy)
    assert (cache.stats()["entries"], cache.stats()["evictions"]) == (50, 0)


def test_an_evicted_entry_is_not_answered_from_another_caches_memory(cache: ExactCache, store: EntryStore, open_cache: Any) -> None:
    policy, other = CachePolicy(max_entries=1), open_cache(store)
    put(cache, "a", policy)
    assert get(other, "a", policy) is not None
    put(cache, "b", policy)
    assert get(other, "a", policy) is None


def test_replacing_takes_no_room(cache: ExactCache) -> None:
    policy = CachePolicy(max_entries=2)
    put(cache, "a", policy)
    for _ in range(5):
        put(cache, "b", policy)
    assert stored(cache, "ab", policy) == "ab"
    assert cache.stats()["evictions"] == 0


@pytest.mark.parametrize("eviction", ["lru", "lfu"])
@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcdefgh")), max_size=30), st.integers(1, 4))
@settings(max_examples=40)
def test_the_order_is_that_of_a_simple_model(eviction: Any, steps: list[tuple[bool, str]], limit: int) -> None:
    policy = CachePolicy(max_entries=limit, eviction=eviction, ttl_seconds=None)
    model: dict[str, tuple[int, int]] = {}  # name -> (hits, when last used)
    with Database.open(":memory:") as database:
        cache = ExactCache(SqlEntries(database), clock=Clock())
        for moment, (is_store, name) in enumerate(steps):
            if is_store:
                put(cache, name, policy)
                model[name] = (model.get(name, (0, 0))[0], moment)
                if len(model) > limit:
                    others = [other for other in model if other != name]
                    del model[min(others, key=lambda other: (0 if eviction == "lru" else model[other][0], model[other][1]))]
            else:
                assert (get(cache, name, policy) is not None) == (name in model)
                if name in model:
                    model[name] = (model[name][0] + 1, moment)
            assert stored(cache, "abcdefgh", policy) == "".join(sorted(model))
        cache.close()

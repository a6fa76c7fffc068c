"""The exact cache: what it answers, to whom, for how long, and what it says about itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmthrift_core.cache import CachePolicy, Entry
from llmthrift_core.cache import statements as sql
from llmthrift_core.cache.exact import ExactCache
from llmthrift_core.cache.sql_store import SqlEntries
from llmthrift_core.cache.store import EntryStore, criteria_of
from llmthrift_core.storage.database import Database
from llmthrift_core.usage import Usage
from tests.core.clock import Clock

POLICY = CachePolicy()
USAGE = Usage(input_tokens=12, output_tokens=3)


def key_of(name: str, policy: CachePolicy = POLICY) -> bytes:
    return policy.key(name.encode())


def put(cache: ExactCache, name: str, policy: CachePolicy = POLICY, payload: bytes = b"answer", **more: Any) -> bool:
    return cache.store(key_of(name, policy), policy, payload, model="gpt-4o", usage=USAGE, **more)


def get(cache: ExactCache, name: str, policy: CachePolicy = POLICY) -> Entry | None:
    return cache.lookup(key_of(name, policy), policy)


def test_an_answer_comes_back_as_it_was_stored(cache: ExactCache, store: EntryStore, open_cache: Any, clock: Clock) -> None:
    usage = Usage(
        input_tokens=12, output_tokens=3, cache_read_tokens=4, service_tier="flex", estimated=True,
        other=(("input_video_tokens", 7), ("output_video_tokens", None)),
    )  # fmt: skip
    policy = CachePolicy(metadata={"pricing_version": "A"})
    payload = bytes(range(256))
    assert cache.store(key_of("q"), policy, payload, model="gpt-4o", provider="openai", usage=usage, user="ada", feature="chat")
    for reader in (cache, open_cache(store)):
        entry = reader.lookup(key_of("q"), policy)
        assert entry is not None
        assert (entry.payload, entry.model, entry.provider, entry.usage) == (payload, "gpt-4o", "openai", usage)
        assert entry.metadata == {"pricing_version": "A"}
        assert entry.created_us == int(clock.now * 1e6)
        assert entry.expires_us == entry.created_us + 3_600_000_000
        assert reader.lookup(key_of("q"), policy) is entry  # from memory


def test_a_usage_in_which_a_provider_contradicts_itself_comes_back_as_the_nearest_that_can_be(
    cache: ExactCache, store: EntryStore, open_cache: Any
) -> None:
    body = {"usage": {"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 9}}}
    cache.store(key_of("q"), POLICY, b"x", model="m", usage=Usage.from_payload(body, provider="openai"))
    entry = get(open_cache(store), "q")
    assert entry is not None
    assert entry.usage == Usage(input_tokens=9, output_tokens=1, cache_read_tokens=9, estimated=True)


def test_an_unknown_key_is_a_miss(cache: ExactCache) -> None:
    assert get(cache, "q") is None
    assert not cache.holds(key_of("q"))


def test_a_later_answer_replaces(cache: ExactCache, store: EntryStore, open_cache: Any) -> None:
    other = open_cache(store)
    put(cache, "q", payload=b"old")
    assert get(other, "q").payload == b"old"  # type: ignore[union-attr]
    assert put(cache, "q", payload=b"new")
    assert get(cache, "q").payload == b"new"  # type: ignore[union-attr]
    assert get(other, "q").payload == b"new"  # type: ignore[union-attr]
    assert cache.stats()["entries"] == 1


def test_another_namespace_sees_nothing_even_with_the_same_key(cache: ExactCache) -> None:
    put(cache, "q")
    assert cache.lookup(key_of("q"), CachePolicy(namespace="other")) is None
    assert get(cache, "q") is not None


# --- time ---


@pytest.mark.parametrize("from_memory", [True, False])
def test_an_entry_answers_until_its_time_is_over(
    cache: ExactCache, store: EntryStore, open_cache: Any, clock: Clock, from_memory: bool
) -> None:
    policy = CachePolicy(ttl_seconds=10)
    put(cache, "q", policy)
    reader = cache if from_memory else open_cache(store, memory_entries=0)
    clock.now += 9.999999
    assert get(reader, "q", policy) is not None
    clock.now += 0.000001
    assert get(reader, "q", policy) is None
    assert (reader.stats()["hits"], reader.stats()["misses"], reader.stats()["expirations"]) == (1, 1, 1)


def test_without_a_lifetime_an_entry_answers_for_ever(cache: ExactCache, clock: Clock) -> None:
    put(cache, "q", CachePolicy(ttl_seconds=None))
    clock.now += 1e9
    assert get(cache, "q") is not None


def test_a_reader_may_want_younger_answers(cache: ExactCache, clock: Clock) -> None:
    put(cache, "q")
    clock.now += 60
    assert get(cache, "q", CachePolicy(max_age_seconds=59)) is None
    assert get(cache, "q", CachePolicy(max_age_seconds=60)) is not None
    assert cache.stats()["expirations"] == 0


def test_an_answer_that_another_process_stored_after_ours_expired_is_found(
    cache: ExactCache, store: EntryStore, open_cache: Any, clock: Clock
) -> None:
    policy = CachePolicy(ttl_seconds=10)
    put(cache, "q", policy, payload=b"old")
    clock.now += 11
    put(open_cache(store), "q", policy, payload=b"new")
    assert get(cache, "q", policy).payload == b"new"  # type: ignore[union-attr]


def test_expired_entries_are_purged(cache: ExactCache, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmthrift_core.cache.eviction._BATCH", 50)
    for number in range(120):
        put(cache, str(number), CachePolicy(ttl_seconds=10, tags=("t",)))
    put(cache, "kept")
    get(cache, "7")
    clock.now += 11
    assert cache.purge_expired() == 120
    assert cache.purge_expired() == 0
    assert cache.stats()["entries"] == 1
    assert cache.stats()["expired_unused"] == 119
    assert get(cache, "kept") is not None


# --- requirements ---


def test_metadata_that_is_required_must_match(cache: ExactCache, store: EntryStore, open_cache: Any) -> None:
    put(cache, "q", CachePolicy(metadata={"pricing_version": "A", "region": "eu"}))
    for reader in (cache, open_cache(store)):
        assert get(reader, "q", CachePolicy(require={"pricing_version": "A"})) is not None
        assert get(reader, "q", CachePolicy(require={"pricing_version": "A", "region": "eu"})) is not None
        assert get(reader, "q", CachePolicy(require={"pricing_version": "B"})) is None
        assert get(reader, "q", CachePolicy(require={"pricing_version": "A", "customer": "x"})) is None
    put(cache, "q", CachePolicy(metadata={"pricing_version": "B"}))
    assert get(cache, "q", CachePolicy(require={"pricing_version": "B"})) is not None


def test_an_entry_without_metadata_answers_no_requirement(cache: ExactCache) -> None:
    put(cache, "q")
    assert get(cache, "q", CachePolicy(require={"pricing_version": ""})) is None


# --- several processes ---


def test_a_removal_by_another_cache_reaches_memory(cache: ExactCache, store: EntryStore, open_cache: Any) -> None:
    put(cache, "q")
    put(cache, "other")
    assert get(cache, "q") is not None
    open_cache(store).discard(key_of("q"))
    assert get(cache, "q") is None
    assert get(cache, "other") is not None


def test_own_changes_leave_the_rest_of_memory(cache: ExactCache) -> None:
    put(cache, "a")
    put(cache, "b")
    put(cache, "a", payload=b"new")
    cache.discard(key_of("a"))
    assert cache.holds(key_of("b"))
    assert get(cache, "b") is not None
    assert cache.stats()["memory_hits"] == 1


def test_a_new_entry_of_another_process_leaves_memory_alone(cache: ExactCache, store: EntryStore, open_cache: Any) -> None:
    put(cache, "a")
    put(open_cache(store), "b")
    get(cache, "a")
    assert cache.stats()["memory_hits"] == 1


def test_coherence_may_be_checked_less_often(store: EntryStore, open_cache: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("llmthrift_core.cache.exact.time.monotonic", lambda: now[0])
    cache = open_cache(store, coherence_seconds=1.0)
    put(cache, "q")
    open_cache(store).clear()
    assert get(cache, "q") is not None  # as documented, for up to a second
    now[0] += 1.01
    assert get(cache, "q") is None


def test_the_default_is_always_on_sqlite_and_once_a_second_on_a_server(request: pytest.FixtureRequest, store: EntryStore) -> None:
    cache = ExactCache(store)
    assert cache._coherence_seconds == (0.0 if request.node.callspec.params["store"] in ("file", "memory") else 1.0)
    cache.close()


# --- counting ---


def test_hits_of_entries_survive_reopening(tmp_path: Path, clock: Clock) -> None:
    for _ in range(2):
        with Database.open(tmp_path / "c.db") as database:
            cache = ExactCache(SqlEntries(database), clock=clock)
            if get(cache, "q") is None:
                put(cache, "q")
            get(cache, "q")
            get(cache, "q")
            cache.close()
    with Database.open(tmp_path / "c.db") as database:
        cache = ExactCache(SqlEntries(database), clock=clock)
        (view,) = cache.entries()
        assert view.hits == 5  # 2, then 3
        assert cache.stats()["stored_hits"] == 5
        cache.close()


def test_hits_are_written_by_themselves_soon(store: EntryStore, open_cache: Any) -> None:
    import time

    cache = open_cache(store, write_seconds=0.01)
    put(cache, "q")
    get(cache, "q")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if store.views(criteria_of(), limit=1)[0].hits == 1:
            return
        time.sleep(0.01)
    pytest.fail("the hit was not written")


def test_hits_that_nobody_flushed_are_written_when_the_cache_is_dropped(tmp_path: Path, clock: Clock) -> None:
    import gc

    with Database.open(tmp_path / "c.db") as database:
        cache = ExactCache(SqlEntries(database), clock=clock)
        put(cache, "q")
        get(cache, "q")
        del cache
        gc.collect()
        reader = ExactCache(SqlEntries(database), clock=clock)
        assert reader.entries()[0].hits == 1
        reader.close()


def test_statistics_add_up(cache: ExactCache, clock: Clock) -> None:
    policy, other = CachePolicy(max_entries=10, max_bytes=1000), CachePolicy(namespace="other", ttl_seconds=100)
    put(cache, "a", policy)
    put(cache, "b", other)
    put(cache, "c", other)
    for name, which in (("a", policy), ("a", policy), ("x", policy), ("b", other)):
        get(cache, name, which)
    clock.now += 40
    cache.note_uncacheable("a function")
    mine = cache.stats("default")
    assert (mine["hits"], mine["misses"], mine["stores"], mine["memory_hits"]) == (2, 1, 1, 2)
    assert mine["hit_rate"] == pytest.approx(2 / 3)
    # The answer, {"input_tokens":12,"output_tokens":3}, no metadata: 6 + 37 bytes.
    assert (mine["entries"], mine["bytes"], mine["max_entries"], mine["max_bytes"]) == (1, 43, 10, 1000)
    assert cache.stats("other")["average_remaining_ttl_seconds"] == pytest.approx(60)
    both = cache.stats()
    assert (both["hits"], both["misses"], both["stores"], both["entries"], both["bytes"]) == (3, 1, 3, 3, 129)
    assert (both["uncacheable"], both["errors"], both["stored_hits"]) == (1, 0, 3)
    assert cache.stats("nobody")["hit_rate"] is None
    assert cache.stats("nobody")["average_remaining_ttl_seconds"] is None


def test_entries_are_listed_without_answers_most_used_first(cache: ExactCache) -> None:
    put(cache, "a", user="ada")
    put(cache, "b", CachePolicy(prompt_version="2", metadata={"m": "1"}), feature="chat", provider="openai")
    get(cache, "b", CachePolicy(prompt_version="2"))
    put(cache, "c", CachePolicy(namespace="other"))
    first, second = cache.entries("default")
    assert (first.hits, first.feature, first.provider, first.prompt_version, first.metadata) == (
        1,
        "chat",
        "openai",
        "2",
        {"m": "1"},
    )
    assert (second.hits, second.user, second.namespace) == (0, "ada", "default")
    assert second.key == key_of("a").hex()
    assert len(cache.entries(limit=1)) == 1
    assert len(cache.entries()) == 3
    assert not hasattr(first, "payload")


def test_a_reason_for_not_caching_is_said_once(cache: ExactCache, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        cache.note_uncacheable("a function cannot be part of a key")
    for number in range(200):
        cache.note_uncacheable(f"reason {number}")
    assert len([record for record in caplog.records if "a function" in record.message]) == 1
    assert len(cache.health()["uncacheable"]) == 101
    assert cache.stats()["uncacheable"] == 203


def test_closing_twice_and_using_it_afterwards(cache: ExactCache) -> None:
    put(cache, "q")
    cache.close()
    cache.close()
    assert get(cache, "q") is not None


# --- the model of it ---


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("store"), st.sampled_from("abc"), st.integers(0, 9)),
            st.tuples(st.sampled_from(["lookup", "other lookup", "discard", "other discard"]), st.sampled_from("abc"), st.just(0)),
            st.tuples(st.sampled_from(["clear", "purge"]), st.just(""), st.just(0)),
            st.tuples(st.just("wait"), st.just(""), st.integers(1, 6)),
        ),
        max_size=25,
    )
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_two_caches_behave_as_one_dictionary(steps: list[tuple[str, str, int]]) -> None:
    clock, policy = Clock(), CachePolicy(ttl_seconds=10, max_entries=None, max_bytes=None)
    expected: dict[str, tuple[bytes, float]] = {}
    with Database.open(":memory:") as database:
        one, two = ExactCache(SqlEntries(database), clock=clock, memory_entries=2), ExactCache(SqlEntries(database), clock=clock)
        for step, name, number in steps:
            if step == "store":
                put(one, name, policy, payload=b"%d" % number)
                expected[name] = (b"%d" % number, clock.now + 10)
            elif step.endswith("lookup"):
                found = get(two if step.startswith("other") else one, name, policy)
                answer, until = expected.get(name, (None, 0.0))
                assert (found.payload if found else None) == (answer if clock.now < until else None)
            elif step.endswith("discard"):
                (two if step.startswith("other") else one).discard(key_of(name, policy))
                expected.pop(name, None)
            elif step == "clear":
                assert one.clear() >= sum(until > clock.now for _, until in expected.values())
                expected.clear()
            elif step == "purge":
                two.purge_expired()
            else:
                clock.now += number
        assert one.health()["errors"] == two.health()["errors"] == 0
        one.close()
        two.close()


def test_the_statements_take_their_parameters_in_the_order_that_the_cache_gives_them() -> None:
    assert sql.ADD_ENTRY.names == sql.ENTRY_COLUMNS
    assert sql.REPLACE_ENTRY.names == (*sql.ENTRY_COLUMNS[1:], "of_key")


def test_a_forked_child_goes_on(tmp_path: Path, clock: Clock) -> None:
    with Database.open(tmp_path / "c.db") as database:
        cache = ExactCache(SqlEntries(database), clock=clock)
        put(cache, "q")
        get(cache, "q")
        child = os.fork()
        if child == 0:
            found = get(cache, "q") is not None and put(cache, "child") and get(cache, "child") is not None
            cache.close()
            os._exit(0 if found else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert get(cache, "child") is not None
        (view,) = [view for view in cache.entries() if view.key == key_of("q").hex()]
        assert view.hits == 2  # one here and one in the child: neither lost nor written twice
        cache.close()

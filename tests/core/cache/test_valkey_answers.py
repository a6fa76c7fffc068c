"""Answers by meaning on a real Valkey server: what is kept there, for how long, and what happens where it is not ours or is gone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmthrift_core import Thrift, attribute
from llmthrift_core.cache import CachePolicy, FixedThreshold, SemanticCache
from llmthrift_core.cache.semantic.scripts import PREFIX
from llmthrift_core.cache.store import criteria_of
from tests.core.cache.test_pgvector import cache_of, unit


@pytest.fixture
def now() -> list[float]:
    return [1_800_000_000.0]


@pytest.fixture
def thrift(tmp_path: Path, valkey_url: str, now: list[float]) -> Iterator[Thrift]:
    with Thrift(tmp_path / "l.db", valkey_url=valkey_url, clock=lambda: now[0]) as opened:
        yield opened


def keys(thrift: Thrift, pattern: str = "*") -> list[str]:
    assert thrift.valkey is not None
    return sorted(key.decode("utf-8", "replace").removeprefix(PREFIX) for key in thrift.valkey.keys(f"{PREFIX}{pattern}"))


def ask(thrift: Thrift, *command: Any) -> Any:
    assert thrift.valkey is not None
    return thrift.valkey.ask(*command)


def test_answers_are_on_the_server_and_not_in_the_database(thrift: Thrift) -> None:
    cache = cache_of(thrift)
    cache.store("hours please", "Nine.")
    assert keys(thrift, "entry:*") == ["entry:1"]
    assert thrift.database.check().ok
    with thrift.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM llmthrift_semantic_entries").scalar_one() == 0
    assert cache.lookup("hours now").answer == "Nine."
    assert cache.stats()["entries"] == 1


def test_an_entry_expires_and_nothing_of_it_is_left(thrift: Thrift, now: list[float]) -> None:
    cache = cache_of(thrift, limits=CachePolicy(ttl_seconds=60))
    cache.store("hours please", "Nine.")
    assert 86_400 < ask(thrift, "TTL", f"{PREFIX}entry:1") <= 86_460
    now[0] += 61
    assert cache.lookup("hours now") is None
    assert cache.lookup("hours please") is None
    assert [removed.was_used for removed in cache._store.expire(thrift.now_us(), 10)] == [False]
    cache.close()
    assert keys(thrift) == ["bytes", "namespaces", "next"]
    assert ask(thrift, "HGET", f"{PREFIX}bytes", "default") == b"0"


def test_what_the_server_dropped_is_a_miss_and_is_cleared_away(thrift: Thrift, now: list[float]) -> None:
    cache = cache_of(thrift, limits=CachePolicy(ttl_seconds=60))
    cache.store("hours please", "Nine.")
    ask(thrift, "DEL", f"{PREFIX}entry:1")
    assert cache.lookup("hours now") is None
    assert cache.lookup("hours please") is None
    assert cache_of(thrift).lookup("hours now") is None
    cache.store("hours please", "Ten.")
    assert cache.lookup("hours now").answer == "Ten."
    now[0] += 61
    assert len(cache._store.expire(thrift.now_us(), 10)) == 1
    assert keys(thrift, "scope:*") == keys(thrift, "numbers") == keys(thrift, "keys") == []
    assert cache.health()["errors"] == 0


@pytest.mark.parametrize("eviction", ["lru", "lfu"])
def test_what_is_used_stays_and_the_new_one_too(thrift: Thrift, eviction: Any) -> None:
    cache = cache_of(thrift, limits=CachePolicy(max_entries=3, eviction=eviction))
    for name in ("one", "two", "three"):
        cache.store(f"{name} please", name)
    assert cache.lookup("one now").answer == "one"
    cache.store("four please", "four")
    assert cache.lookup("two now") is None
    assert [cache.lookup(f"{name} now").answer for name in ("one", "three", "four")] == ["one", "three", "four"]
    assert cache.stats()["entries"] == 3


def test_limits_in_bytes(thrift: Thrift) -> None:
    cache = cache_of(thrift, limits=CachePolicy(max_entries=None, max_bytes=2_000))
    for number in range(20):
        cache.store(f"w{number} please", "answer " * 20)
    stats = cache.stats()
    assert 0 < stats["bytes"] <= 2_000
    assert stats["entries"] < 8
    assert cache.lookup("w19 now") is not None


def test_labels_and_scopes_are_removed_from_outside_of_the_cache(thrift: Thrift, tmp_path: Path, valkey_url: str) -> None:
    with attribute(user="ada"):
        cache_of(thrift, limits=CachePolicy(tags=("faq",), sources=("doc",))).store("hours please", "Nine.")
    with attribute(user="ben"):
        cache_of(thrift).store("price please", "One.")
    # Another `Thrift`, in which no semantic cache was made.
    with Thrift(tmp_path / "other.db", valkey_url=valkey_url) as other:
        assert other.invalidate(tag="none") == other.invalidate(source="faq") == other.invalidate(scope={"user": "eve"}) == 0
        assert other.invalidate(tag="faq", where=lambda view: view.user == "ben") == 0
        assert other.invalidate(tag="faq", source="doc", where=lambda view: view.user == "ada" and len(view.key) == 40) == 1
        assert cache_of(thrift).lookup("hours now") is None
        assert other.erase(user="ben")["cache_entries"] == 1
    assert cache_of(thrift).lookup("price now") is None
    assert keys(thrift, "entry:*") == []


def test_totals_of_a_user(thrift: Thrift) -> None:
    cache = cache_of(thrift)
    with attribute(user="ada"):
        cache.store("hours please", "Nine.")
    cache.store("price please", "One.")
    cache.lookup("hours now")
    assert cache.flush()
    found = cache._store.totals(criteria_of(scope={"user": "ada"}), thrift.now_us())
    assert (found.entries, found.hits) == (1, 1)
    assert found.expires_us == thrift.now_us() + 3600 * 1_000_000
    assert cache._store.totals(criteria_of(), thrift.now_us()).entries == 2


def test_another_process_finds_at_once_what_was_stored_and_loses_what_was_removed(thrift: Thrift, tmp_path: Path, valkey_url: str) -> None:
    cache = cache_of(thrift)
    assert cache.lookup("hours please") is None
    program = (
        "import sys\n"
        "from llmthrift_core import Thrift\n"
        "from tests.core.cache.test_pgvector import cache_of\n"
        "with Thrift(sys.argv[1], valkey_url=sys.argv[2], clock=lambda: 1_800_000_000.0) as thrift:\n"
        "    cache = cache_of(thrift)\n"
        "    {}\n"
    )

    def run(step: str) -> None:
        arguments = [sys.executable, "-c", program.format(step), str(tmp_path / "p.db"), valkey_url]
        subprocess.run(arguments, check=True, timeout=600)

    run("cache.store('hours please', 'Nine.')")
    assert cache.lookup("hours now").answer == "Nine."
    run("assert cache.lookup('hours then').answer == 'Nine.'; cache.store('hours please', 'Ten.')")
    assert cache.lookup("hours now").answer == "Ten."
    run("assert cache.clear() == 1")
    assert cache.lookup("hours now") is None
    assert cache.lookup("hours please") is None


HARMS: dict[str, Callable[[Thrift], Any]] = {
    "no vector": lambda thrift: ask(thrift, "HSET", f"{PREFIX}entry:1", "vector", b"\0"),
    "not finite": lambda thrift: ask(thrift, "HSET", f"{PREFIX}entry:1", "vector", b"\xff" * 128),
    "a long vector": lambda thrift: ask(thrift, "HSET", f"{PREFIX}entry:1", "vector", (1e6 * np.ones(32)).astype("<f4").tobytes()),
    "no number": lambda thrift: ask(thrift, "HSET", f"{PREFIX}entry:1", "answer_class", "x", "created_us", "x"),
    "no text": lambda thrift: ask(thrift, "HSET", f"{PREFIX}entry:1", "question", b"\xff", "answer", b"\xff"),
    "metadata": lambda thrift: ask(thrift, "HSET", f"{PREFIX}entry:1", "metadata", "[1"),
    "another namespace": lambda thrift: ask(thrift, "HSET", f"{PREFIX}entry:1", "namespace", "other"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_row_that_is_not_ours_is_a_miss(thrift: Thrift, harm: str) -> None:
    cache_of(thrift).store("hours please", "Nine.")
    HARMS[harm](thrift)
    cache = cache_of(thrift)
    assert cache.lookup("hours now") is None
    if harm not in ("no vector", "not finite", "a long vector"):
        assert cache.lookup("hours please") is None
    assert cache.health()["errors"] == 0


@pytest.mark.parametrize("name", ["entry:1", "numbers", "scope:"])
def test_a_key_of_another_type_is_a_miss(thrift: Thrift, name: str) -> None:
    cache_of(thrift).store("hours please", "Nine.")
    assert thrift.valkey is not None
    (key,) = list(thrift.valkey.keys(f"{PREFIX}{name}*"))
    ask(thrift, "DEL", key)
    ask(thrift, "SET", key, "x")
    assert cache_of(thrift).lookup("hours now") is None


def test_a_server_that_is_gone_costs_no_call(thrift: Thrift) -> None:
    cache = cache_of(thrift)
    cache.store("hours please", "Nine.")
    assert thrift.valkey is not None
    thrift.valkey._client.connection_pool.connection_kwargs["path"] += "-gone"
    thrift.valkey._client.connection_pool.reset()
    assert cache.lookup("hours now") is None
    cache.store("price please", "One.")
    assert cache.health()["errors"] >= 2
    assert cache.flush()  # counts are in the database


def test_a_large_scope_is_searched_by_a_graph(thrift: Thrift) -> None:
    vectors = {f"q{number}": vector for number, vector in enumerate(unit(3_200))}

    def known(texts: Any) -> Any:
        return np.array([vectors[text] for text in texts])

    options: dict[str, Any] = {"limits": CachePolicy(max_entries=None)}
    cache = SemanticCache(thrift, known, FixedThreshold(0.9), **options)
    cache.store("q0", "q0")
    (place,) = cache._search._scopes
    new = cache._store.by_number(1)
    assert new is not None
    assert thrift.valkey is not None
    row = ask(thrift, "HGETALL", f"{PREFIX}entry:1")
    rows = []
    for number in range(2, 3_201):
        values = row | {b"question": f"q{number - 1}".encode(), b"vector": vectors[f"q{number - 1}"].astype("<f4").tobytes()}
        rows.append(("HSET", f"{PREFIX}entry:{number}", *(each for pair in values.items() for each in pair)))
        rows.append(("ZADD", f"{PREFIX}scope:".encode() + place, number, number))
    for start in range(0, len(rows), 500):
        thrift.valkey.ask_many(rows[start : start + 500])
    again = SemanticCache(thrift, known, FixedThreshold(0.9), **options)
    again.lookup("q1")
    (scope,) = again._search._scopes.values()
    assert len(scope) == 3_200
    scope.keep_up()
    assert scope.index.has_graph
    assert next(each.question for each in scope.neighbours(vectors["q77"])) == "q77"

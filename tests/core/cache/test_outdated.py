"""An answer that is on its way into the cache while what it was made of is invalidated: it does not arrive."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmthrift_core import Thrift
from llmthrift_core.cache import CachePolicy, ExactCache, FixedThreshold, GPTCacheStore, SemanticCache
from llmthrift_core.cache.exact import OUTDATED
from llmthrift_core.cache.store import Criteria, EntryStore, criteria_of, fits
from llmthrift_core.usage import Usage

POLICY = CachePolicy(sources="doc", tags="faq", namespace="a")


def _store(cache: ExactCache, policy: CachePolicy, since: int | None, key: bytes = b"key", user: str | None = None) -> bool:
    return cache.store(key, policy, b"answer", model="m", usage=Usage(), user=user, since=since)


@pytest.mark.parametrize(
    "criteria",
    [{"source": "doc"}, {"tag": "faq"}, {"scope": {"user": "ada"}}, {"namespace": "a"}, {"scope": {"model": "m"}, "source": "doc"}],
)
def test_what_was_invalidated_meanwhile_is_not_stored(cache: ExactCache, criteria: dict[str, Any]) -> None:
    since = cache.epoch()
    assert cache.invalidate(**criteria) == 0
    assert not _store(cache, POLICY, since, user="ada")
    assert cache.lookup(b"key", POLICY) is None
    assert cache.health()["not_kept"] == {OUTDATED: 1}
    assert _store(cache, POLICY, cache.epoch(), user="ada")
    assert cache.lookup(b"key", POLICY) is not None


@pytest.mark.parametrize(
    "criteria", [{"source": "other"}, {"tag": "other"}, {"scope": {"user": "ben"}}, {"namespace": "b"}, {"tag": "faq", "source": "other"}]
)
def test_what_others_invalidate_is_none_of_its_business(cache: ExactCache, criteria: dict[str, Any]) -> None:
    since = cache.epoch()
    cache.invalidate(**criteria)
    assert _store(cache, POLICY, since, user="ada")


def test_clearing_and_predicates_count_too(cache: ExactCache) -> None:
    since = cache.epoch()
    cache.clear("a")
    assert not _store(cache, POLICY, since)
    since = cache.epoch()
    cache.invalidate(where=lambda entry: entry.hits > 5, namespace="a")  # nobody can say yet whether it fits
    assert not _store(cache, POLICY, since)


def test_nothing_that_was_asked_for_before_an_invalidation_is_there_after_it(store: EntryStore, open_cache: Any) -> None:
    cache, asked = open_cache(store), dict[bytes, int]()
    stopping = threading.Event()

    def work(number: int) -> None:
        count = 0
        while not stopping.is_set() and count < 400:
            key = b"%d-%d" % (number, count)
            asked[key] = since = cache.epoch()
            _store(cache, POLICY, since, key)
            count += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        last = store.epoch()
        cache.invalidate(source="doc")
        left = [key for key in store.find(criteria_of(source="doc")) if asked[key] < last]
        assert left == []
    stopping.set()
    for thread in threads:
        thread.join()
    assert [key for key in store.find(criteria_of(source="doc")) if asked[key] < last] == []
    assert cache.health()["errors"] == 0


@pytest.mark.parametrize("where", ["sqlite", "postgresql", "valkey"])
def test_answers_by_meaning(tmp_path: Path, request: pytest.FixtureRequest, where: str) -> None:
    database = request.getfixturevalue("postgresql_url") if where == "postgresql" else tmp_path / "c.db"
    valkey = request.getfixturevalue("valkey_url") if where == "valkey" else None
    with Thrift(database, valkey_url=valkey) as thrift:
        _check_answers_by_meaning(thrift)


@pytest.mark.parametrize("ask", ["the whole", "this cache"])
@pytest.mark.usefixtures("nothing_is_installed")
def test_answers_in_a_gptcache(tmp_path: Path, open_gptcache: Callable[..., Any], ask: str) -> None:
    with Thrift(tmp_path / "c.db") as thrift:
        store = GPTCacheStore(open_gptcache())
        _check_answers_by_meaning(thrift, store, removes_all=ask == "the whole")
        other = SemanticCache(thrift, policy=FixedThreshold(0.8), store=store, limits=CachePolicy(sources="doc"))
        assert other.lookup("When do you open?") is None
        other.invalidate(source="another")
        other.store("When do you open?", "At nine.")
        assert other.lookup("When do you open?") is not None


def _check_answers_by_meaning(thrift: Thrift, store: GPTCacheStore | None = None, *, removes_all: bool = True) -> None:
    cache = SemanticCache(thrift, policy=FixedThreshold(0.8), limits=CachePolicy(sources="doc"), store=store)
    question = "How do I reset my password?"
    assert cache.lookup(question) is None
    (thrift if removes_all else cache).invalidate(source="doc")
    cache.store(question, "By the old way.")
    assert cache.lookup(question) is None  # and so is asked for anew
    cache.store(question, "By the new way.")
    hit = cache.lookup(question)
    assert hit is not None
    assert hit.answer == "By the new way."


def test_criteria_that_cannot_be_read_fit_everything() -> None:
    for text in ("", "{}", "[1]", "[[[1]],null,null]", "5"):
        assert fits(text, {"namespace": "a"}, (), ())
    assert not fits(Criteria((("namespace", "b"),)).to_json(), {"namespace": "a"}, (), ())

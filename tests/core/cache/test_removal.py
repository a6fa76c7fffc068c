"""Invalidation: by tag, source, scope, predicate and namespace, and all of them together."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from llmthrift_core.cache import CachePolicy
from llmthrift_core.cache.exact import ExactCache
from llmthrift_core.cache.sql_store import SqlEntries
from llmthrift_core.cache.store import EntryStore
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.storage.database import Database
from tests.core.cache.test_exact import get, put
from tests.core.clock import Clock

POLICIES = {
    "a": CachePolicy(tags=("faq", "news"), sources=("doc-1",), metadata={"v": "1"}),
    "b": CachePolicy(tags=("faq",), sources=("doc-1", "doc-2"), prompt_version="2"),
    "c": CachePolicy(sources=("faq",), namespace="other"),
    "d": CachePolicy(),
}


@pytest.fixture
def filled(cache: ExactCache) -> ExactCache:
    return fill(cache)


def fill(cache: ExactCache) -> ExactCache:
    put(cache, "a", POLICIES["a"], user="ada", feature="chat", provider="openai")
    put(cache, "b", POLICIES["b"], user="bob", feature="chat")
    put(cache, "c", POLICIES["c"], user="ada")
    put(cache, "d", POLICIES["d"])
    return cache


def left(cache: ExactCache) -> str:
    return "".join(name for name, policy in POLICIES.items() if get(cache, name, policy) is not None)


@pytest.mark.parametrize(
    ("criteria", "kept"),
    [
        ({"tag": "faq"}, "cd"),
        ({"tag": "news"}, "bcd"),
        ({"source": "doc-1"}, "cd"),
        ({"source": "doc-2"}, "acd"),
        ({"source": "faq"}, "abd"),
        ({"tag": "nothing"}, "abcd"),
        ({"tag": "' OR 1=1 --"}, "abcd"),
        ({"scope": {"user": "ada"}}, "bd"),
        ({"scope": {"feature": "chat", "user": "bob"}}, "acd"),
        ({"scope": {"prompt_version": "2"}}, "acd"),
        ({"scope": {"provider": "openai"}}, "bcd"),
        ({"scope": {"model": "gpt-4o"}}, ""),
        ({"scope": {"model": "gpt"}}, "abcd"),
        ({"scope": {"namespace": "other"}}, "abd"),
        ({"namespace": "other"}, "abd"),
        ({"tag": "faq", "source": "doc-2"}, "acd"),
        ({"scope": {"user": "ada"}, "namespace": "default"}, "bcd"),
        ({"where": lambda view: view.metadata.get("v") == "1"}, "bcd"),
        ({"where": lambda view: True, "tag": "news"}, "bcd"),
        ({"where": lambda view: view.user is None}, "abc"),
        ({"where": lambda view: False}, "abcd"),
    ],
)
def test_what_fits_all_criteria_goes(filled: ExactCache, store: EntryStore, open_cache: Any, criteria: dict[str, Any], kept: str) -> None:
    other = open_cache(store)
    assert left(other) == "abcd"  # now in its memory
    assert filled.invalidate(**criteria) == 4 - len(kept)
    assert left(filled) == kept
    assert left(other) == kept


def test_labels_go_with_their_entries(open_cache: Any, file_database: Database) -> None:
    cache = fill(open_cache(SqlEntries(file_database)))
    cache.invalidate(tag="faq")
    cache.clear("other")
    with file_database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM llmthrift_cache_labels")).scalar() == 0


def test_replacing_an_entry_replaces_its_labels(cache: ExactCache) -> None:
    put(cache, "a", CachePolicy(tags=("old",)))
    put(cache, "a", CachePolicy(tags=("new",)))
    assert cache.invalidate(tag="old") == 0
    assert cache.invalidate(tag="new") == 1


def test_an_expired_entry_that_is_replaced_loses_its_labels_too(cache: ExactCache, clock: Clock) -> None:
    put(cache, "a", CachePolicy(tags=("old",), ttl_seconds=1))
    clock.now += 2
    put(cache, "a", CachePolicy(tags=("new",)))
    assert cache.invalidate(tag="old") == 0
    assert get(cache, "a") is not None


@pytest.mark.parametrize("criteria", [{}, {"scope": {}}, {"scope": {"colour": "red"}}, {"scope": {"user": None}}, {"tag": 3}], ids=repr)
def test_criteria_that_say_nothing_are_refused(filled: ExactCache, criteria: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        filled.invalidate(**criteria)
    assert left(filled) == "abcd"


def test_an_error_in_the_predicate_reaches_the_caller_and_removes_nothing(filled: ExactCache) -> None:
    with pytest.raises(ZeroDivisionError):
        filled.invalidate(where=lambda view: 1 // 0 == 0)
    assert left(filled) == "abcd"


def test_clear(filled: ExactCache, store: EntryStore, open_cache: Any) -> None:
    other = open_cache(store)
    assert left(other) == "abcd"
    assert filled.clear("default") == 3
    assert left(filled) == left(other) == "c"
    assert filled.clear() == 1
    assert filled.clear() == 0
    assert left(filled) == left(other) == ""


def test_many_entries_go_in_batches(cache: ExactCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmthrift_core.cache.exact._BATCH", 100)
    for number in range(210):
        put(cache, str(number), CachePolicy(tags=("t",)))
    assert cache.invalidate(tag="t") == 210
    assert cache.stats()["entries"] == 0

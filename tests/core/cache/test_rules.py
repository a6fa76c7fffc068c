"""Rules for one call: what they check, how they nest, and what they make of a policy."""

from __future__ import annotations

from typing import Any

import pytest

from llmthrift_core import Thrift, cache_mode, cache_rules
from llmthrift_core.cache import CachePolicy, ExactCache, FixedThreshold, SemanticCache
from llmthrift_core.cache.rules import NO_RULES, CacheRules, rules_in_force, rules_of
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.usage import Usage
from tests.core.clock import Clock


def test_blocks_nest_by_merging() -> None:
    with cache_rules(require={"a": "1"}, ttl_seconds=60, tags="outer"), cache_rules(require={"b": "2"}, ttl_seconds=30, tags=["inner"]):
        rules = rules_in_force(rules_of({"max_age_seconds": 5}))
    assert (dict(rules.require), rules.ttl_seconds, rules.max_age_seconds) == ({"a": "1", "b": "2"}, 30, 5)
    assert set(rules.tags) == {"outer", "inner"}
    assert rules_in_force(NO_RULES) is NO_RULES


def test_the_mode_of_a_call_comes_before_that_of_a_block() -> None:
    with cache_mode("off"):
        assert rules_in_force(NO_RULES).mode == "off"
        assert rules_in_force(rules_of("refresh")).mode == "refresh"
        assert rules_in_force(rules_of({"ttl_seconds": 5})).mode == "off"


@pytest.mark.parametrize(
    "given", ["of", 7, {"ttl": 5}, {"ttl_seconds": 0}, {"key": ""}, {"key": 5}, {"require": {"a": 1}}, {"tags": 5}, {"mode": "of"}]
)
def test_what_means_nothing_is_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError):
        rules_of(given)


def test_a_policy_under_rules() -> None:
    policy = CachePolicy(ttl_seconds=3600, metadata={"team": "a"}, tags="faq")
    ruled = CacheRules(require={"v": "2"}, ttl_seconds=60, tags=("new",), sources=("doc",)).policy(policy)
    assert (ruled.ttl_seconds, dict(ruled.metadata), dict(ruled.require)) == (60, {"team": "a", "v": "2"}, {"v": "2"})
    assert (ruled.tags, ruled.sources) == (("faq", "new"), ("doc",))
    assert NO_RULES.policy(policy) is policy


def _store(cache: ExactCache, policy: CachePolicy, answer: bytes) -> None:
    assert cache.store(b"key", policy, answer, model="m", usage=Usage())


def _answer(cache: ExactCache, policy: CachePolicy) -> bytes | None:
    found = cache.lookup(b"key", policy)
    return None if found is None else found.payload


def test_live_versions_stand_beside_each_other(cache: ExactCache, clock: Clock) -> None:
    old, new = (CachePolicy(metadata={"v": each}, require={"v": each}, ttl_seconds=100) for each in ("1", "2"))
    _store(cache, old, b"one")
    _store(cache, new, b"two")
    assert (_answer(cache, old), _answer(cache, new)) == (b"one", b"two")
    clock.now += 50
    _store(cache, new, b"two again")
    assert (_answer(cache, old), _answer(cache, new)) == (b"one", b"two again")
    clock.now += 60  # the old one has expired, and so makes room
    _store(cache, new, b"two at last")
    assert (_answer(cache, old), _answer(cache, new)) == (None, b"two at last")
    assert len(cache.entries()) == 1


def test_an_answer_with_more_than_is_required_serves(cache: ExactCache) -> None:
    _store(cache, CachePolicy(metadata={"v": "1", "team": "a"}), b"one")
    assert _answer(cache, CachePolicy(require={"v": "1"})) == b"one"
    assert _answer(cache, CachePolicy(require={"v": "2"})) is None
    assert _answer(cache, CachePolicy()) == b"one"


def test_rules_hold_for_questions_by_meaning(thrift: Thrift) -> None:
    cache = SemanticCache(thrift, policy=FixedThreshold(0.8))
    for version in ("1", "2"):
        with cache_rules(require={"v": version}):
            cache.store("How do I reset my password?", f"By way {version}.", tags="faq")
    for version in ("1", "2"):
        with cache_rules(require={"v": version}):
            hit = cache.lookup("how can I reset my password")
            assert hit is not None
            assert hit.answer == f"By way {version}."
    assert cache.lookup("how can I reset my password") is None
    with cache_rules(require={"v": "1"}):
        assert thrift.invalidate(tag="f") == 0
        assert thrift.invalidate(tag="faq") == 2


def test_an_old_answer_does_not_serve_who_asks_for_a_new_one(tmp_path: Any) -> None:
    now = [1_800_000_000.0]
    with Thrift(tmp_path / "c.db", clock=lambda: now[0]) as thrift:
        cache = SemanticCache(thrift, policy=FixedThreshold(0.8))
        with cache_rules(ttl_seconds=100):
            cache.store("How do I reset my password?", "So.")
        now[0] += 60
        with cache_rules(max_age_seconds=30):
            assert cache.lookup("how can I reset my password") is None
        assert cache.lookup("how can I reset my password") is not None
        now[0] += 60
        assert cache.lookup("how can I reset my password") is None

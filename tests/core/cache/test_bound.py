"""`ErrorBound` off its topics, under a shift, and against whoever plants questions: it answers where there is evidence."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from llmthrift_core.cache import ErrorBound
from llmthrift_core.cache.semantic.features import candidate_of
from llmthrift_core.cache.semantic.policy import Observation
from llmthrift_core.cache.semantic.risk import Covered
from llmthrift_core.cache.semantic.store import Neighbour


def features(best: float, same: int, around: float) -> tuple[float, ...]:
    """Of a question whose nearest entry is so similar; so many neighbours have its answer, and the farthest is so far."""
    similar = np.linspace(best, around, 16)
    near = [Neighbour(place, float(x), 1 if place < same else 2 + place, None, "q") for place, x in enumerate(similar)]
    return candidate_of(near, "q", lambda word: 1.0, 1_000).features


def drawn(chance: random.Random) -> tuple[tuple[float, ...], float]:
    """A question within the topics, and how likely its candidate is wrong."""
    best, same = chance.uniform(0.6, 0.95), chance.randint(4, 14)
    return features(best, same, best - chance.uniform(0.15, 0.3)), 1 / (1 + math.exp(16 * (best - 0.72) + 0.4 * (same - 7)))


def run(policy: ErrorBound, chance: random.Random, requests: int, worse: float = 1.0) -> tuple[int, int]:
    """Hits and wrong hits of a stream; answers are `worse` times as often wrong as before."""
    hits = wrong = 0
    for _ in range(requests):
        asked, risk = drawn(chance)
        right = chance.random() >= min(risk * worse, 0.95)
        decision = policy.decide(asked, asked[0])
        if decision.verdict == "hit":
            hits += 1
            wrong += not right
        else:
            is_check = decision.verdict == "shadow"
            policy.observe(Observation(asked, right, 1 / decision.propensity if is_check else 1.0, is_check))
    return hits, wrong


@pytest.fixture(scope="module")
def warm() -> ErrorBound:
    policy = ErrorBound(0.02, seed=1)
    hits, wrong = run(policy, random.Random(1), 3_000)
    assert hits > 900
    assert wrong <= 60
    return policy


def test_within_its_topics_it_answers(warm):
    assert warm.judge(features(0.93, 12, 0.7), 0.93).verdict == "hit"


@pytest.mark.parametrize(
    ("best", "same", "around"),
    [(0.93, 1, 0.15), (0.99, 1, 0.7), (0.93, 12, 0.2), (0.4, 16, 0.39)],
    ids=["one question of another topic", "an answer of its own", "nothing else is near", "less similar than all evidence"],
)
def test_off_its_topics_it_does_not(warm, best, same, around):
    decision = warm.judge(features(best, same, around), best)
    assert (decision.verdict, decision.wrong) == ("miss", 1.0)


def test_what_evidence_covers_later_is_answered_then():
    policy, chance = ErrorBound(0.02, seed=1), random.Random(1)
    run(policy, chance, 2_000)
    for _ in range(3_000):
        if policy.judge(features(0.93, 1, 0.2), 0.93).verdict == "hit":
            break
        asked = features(chance.uniform(0.85, 0.95), 1, chance.uniform(0.15, 0.25))
        policy.decide(asked, asked[0])
        policy.observe(Observation(asked, right=True, weight=1.0, was_checked=False))
        run(policy, chance, 1)
    else:
        pytest.fail("a topic with evidence of its own is never answered")


@pytest.mark.parametrize("seed", range(3))
def test_the_bound_holds_where_answers_turn_bad_half_way(seed):
    policy, chance = ErrorBound(0.02, seed=seed), random.Random(seed)
    hits, wrong = run(policy, chance, 3_000)
    more, worse = run(policy, chance, 3_000, worse=3.0)
    assert hits > 700
    assert wrong + worse <= 0.02 * 6_000
    assert more < hits


def test_what_is_covered_is_by_the_weight_of_evidence():
    rows = np.tile(np.array([features(0.9, 8, 0.6)]), (99, 1))
    odd = np.array([features(0.5, 1, 0.1)])
    both: Any = np.vstack([rows, odd])
    assert Covered(both, np.ones(100)).leaves_out(odd).all()  # one in a hundred covers nothing
    assert not Covered(both, np.append(np.ones(99), 5.0)).leaves_out(odd).any()  # a check that stands for several does
    assert not Covered(odd, np.ones(1)).leaves_out(odd).any()

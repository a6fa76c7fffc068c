"""State that survives its process, and that of several processes put together."""

from __future__ import annotations

import zlib

import pytest

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.prompt_caching import CacheTerms, PrefixPlanner
from tests.core.prompt_caching.test_planner import FIVE, HOUR, conversation, unrelated

AT = 500.0


def taught(requests, terms=FIVE):
    planner = PrefixPlanner(terms)
    for at, blocks in requests:
        planner.plan(blocks, at=at)
    return planner


def test_a_planner_goes_on_where_another_stopped():
    before = taught(unrelated(480))
    after = PrefixPlanner(FIVE)
    after.load(before.dump())
    assert after.known_blocks == before.known_blocks
    assert after.balance_tokens == before.balance_tokens
    new = [(("never seen", index), 512) for index in range(10)]
    known = unrelated(480)[-1][1]
    for prompt in (new, known):
        theirs, ours = before.plan(prompt, at=AT), after.plan(prompt, at=AT)
        assert (ours.marked_tokens, ours.read_tokens) == (theirs.marked_tokens, theirs.read_tokens)
        assert prompt is known or ours.marked_tokens == 0
    assert PrefixPlanner(FIVE).plan(new, at=AT).marked_tokens == 5120, "one that learned nothing would write"


def test_what_is_kept_is_known_after_a_restart():
    before = PrefixPlanner(FIVE)
    prompt = [("system", 700), (b"\x00\xff", 600), (("tuple", 1, b"x"), 500), ("a", 400)]
    before.plan(prompt, at=0)
    before.plan([*prompt[:3], ("b", 300)], at=10)
    after = PrefixPlanner(FIVE)
    after.load(before.dump())
    assert after.plan(prompt, at=300).read_tokens == 2200
    assert after.plan([*prompt[:3], ("b", 300)], at=301).read_tokens == 2100
    fresh = PrefixPlanner(FIVE)
    fresh.load(before.dump())
    assert fresh.plan(prompt, at=311).read_tokens == 0, "its life went on while the process was away"


def test_two_processes_know_together_what_each_saw():
    one, two = PrefixPlanner(FIVE), PrefixPlanner(FIVE)
    one.plan([("system", 700), ("a", 100)], at=0)
    two.plan([("system", 700), ("b", 200)], at=200)
    one.merge(two.dump())
    assert one.plan([("system", 700), ("b", 200)], at=400).read_tokens == 900, "the later use holds"
    assert one.plan([("system", 700), ("a", 100)], at=401).read_tokens == 700


def test_the_same_state_twice_changes_nothing():
    one, two = taught(conversation("x", 30)), taught(unrelated(200))
    one.merge(two.dump())
    blocks, means = one.known_blocks, {key: list(mean) for key, mean in one._models[0].means.items()}
    one.merge(two.dump())
    assert one.known_blocks == blocks
    assert set(one._models[0].means) == set(means)
    own = taught(unrelated(200))
    before = {key: mean[0] for key, mean in own._models[0].means.items()}
    own.merge(own.dump())
    assert {key: mean[0] for key, mean in own._models[0].means.items()} == pytest.approx(before)


def test_a_loaded_planner_keeps_its_bound():
    after = PrefixPlanner(FIVE, max_blocks=500)
    after.load(taught(unrelated(300)).dump())
    assert after.known_blocks <= 500


@pytest.mark.parametrize("state", [b"", b"text", zlib.compress(b"[]"), zlib.compress(b'{"format": "other"}')])
def test_what_is_no_state_is_refused(state):
    with pytest.raises(ConfigurationError, match="no state of a PrefixPlanner"):
        PrefixPlanner(FIVE).load(state)


def test_a_state_of_other_terms_is_refused():
    state = PrefixPlanner(FIVE).dump()
    for terms in (HOUR, CacheTerms(min_tokens=512)):
        with pytest.raises(ConfigurationError, match="other terms"):
            PrefixPlanner(terms).merge(state)

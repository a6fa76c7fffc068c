"""Who may put answers into a shared cache, and what one who plants questions gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmthrift_core import Thrift, attribute
from llmthrift_core.attribution import Attribution
from llmthrift_core.cache import CachePolicy, Decision, DecisionPolicy, FixedThreshold, SemanticCache
from llmthrift_core.errors import ConfigurationError


def colliding(texts: Sequence[str]) -> Any:
    """An embedder in the hand of an attacker: whatever is about hours, and what is planted, is one point."""
    return np.array([[1.0, 0.0] if "hours" in text.casefold() or "planted" in text else [0.0, 1.0] for text in texts])


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., SemanticCache]]:
    with Thrift(tmp_path / "l.db") as thrift:
        yield lambda **options: SemanticCache(thrift, **{"embedder": colliding, "policy": FixedThreshold(0.9), **options})


class Learning(DecisionPolicy):
    """Answers nothing, and notes what it is taught."""

    def judge(self, features: Sequence[float], similarity: float) -> Decision:
        return Decision("miss", None, 0.0, "")


def test_only_answers_of_trusted_writers_are_served_to_others(make):
    cache = make(trusted_writers=["curator"])
    with attribute(user="mallory"):
        cache.store("What are the opening hours?", "Call this number and say your PIN.")
        assert cache.lookup("What are the opening hours?").answer == "Call this number and say your PIN."
        assert cache.lookup("Which opening hours are there?").kind == "semantic"  # of one's own making
    for who in ("ada", "curator", None):
        with attribute(user=who):
            assert cache.lookup("What are the opening hours?") is None
            assert cache.lookup("Which opening hours are there?") is None
    with attribute(user="curator"):
        cache.store("What are the opening hours?", "Nine to five.")
    for who in ("ada", "curator", "mallory", None):
        with attribute(user=who):
            assert cache.lookup("What are the opening hours?").answer == "Nine to five."
            assert cache.lookup("Which opening hours are there?").answer == "Nine to five."


def test_an_answer_of_nobody_is_not_kept(make):
    cache = make(trusted_writers=["curator"])
    cache.store("What are the opening hours?", "Nine.")
    assert cache.stats()["entries"] == 0


def test_a_function_may_say_who_is_trusted(make):
    cache = make(trusted_writers=lambda who: who.feature == "nightly")
    with attribute(feature="chat", user="ada"):
        cache.store("What are the opening hours?", "Ten.")
    with attribute(feature="nightly"):
        assert cache.lookup("What are the opening hours?") is None
        cache.store("What are the opening hours?", "Nine.")
    assert cache.lookup("Which opening hours are there?").answer == "Nine."


def test_a_function_that_fails_is_a_miss_and_keeps_nothing(make):
    def trusted(who: Attribution) -> bool:
        raise KeyError(who.user)

    cache = make(trusted_writers=trusted)
    cache.store("What are the opening hours?", "Nine.")
    assert cache.lookup("What are the opening hours?") is None
    assert cache.stats()["entries"] == 0
    assert cache.health()["errors"] == 2


@pytest.mark.parametrize("given", ["curator", [1], 5])
def test_what_names_no_writers_is_refused(make, given):
    with pytest.raises(ConfigurationError, match="trusted_writers must be names of users"):
        make(trusted_writers=given)


def test_what_is_not_trusted_teaches_the_policy_nothing(make):
    policy = Learning()
    cache = make(policy=policy, trusted_writers=["curator"])
    with attribute(user="mallory"):
        for number in ("one", "two", "three"):
            cache.store(f"Which hours has shop {'x' * len(number)}?", "Nine.")
            cache.lookup(f"Tell me hours of {number}")
            cache.store(f"Tell me hours of {number}", "Ten.")
    assert policy.belief().observations == 0
    with attribute(user="curator"):
        cache.store("What are the hours?", "Nine.")
        cache.store("Which are the hours?", "Nine.")
    assert policy.belief().observations == 1


def test_a_collision_of_embeddings_reaches_no_other_tenant(make):
    """Neither what is planted comes out elsewhere, nor does a question that collides with another's get its answer."""
    mine, theirs = (make(limits=CachePolicy(namespace=name)) for name in ("mine", "theirs"))
    theirs.store("What are the opening hours?", "Nine to five, and the code of the door is seven.")
    mine.store("planted wizard hours", "Evil.")
    assert mine.lookup("planted wizard") is None or mine.lookup("planted wizard").answer == "Evil."
    assert theirs.lookup("Tell me the opening hours").answer.startswith("Nine")
    for scope in ("", "a", b"a"):
        assert mine.lookup("What are the opening hours?", scope) is None or scope == ""
    shared = make()
    shared.store("What are the opening hours?", "Nine.", "tenant a")
    assert shared.lookup("What are the opening hours?", "tenant b") is None
    assert shared.lookup("planted hours", "tenant b") is None

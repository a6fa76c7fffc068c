"""Conversations: what was said before decides, in the same words or, where asked for, in other words that say the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmthrift_core import Thrift, attribute
from llmthrift_core.cache import FixedThreshold, SemanticCache
from llmthrift_core.cache.semantic.question import split_history
from llmthrift_core.errors import ConfigurationError

WORDS = ("order", "parcel", "phone", "cancel", "refund", "sure", "plan")
ORDERED = (("user", "I have ordered a phone."), ("assistant", "Sure, it is order 7."))
REWORDED = (("user", "I did order a phone, you know."), ("assistant", "Sure, it is order 7."))
CANCEL, AGAIN = "Cancel it please", "Please do cancel it"


def by_words(texts: Sequence[str]) -> Any:
    """Texts with the same of a few words are one point."""
    return np.array([[float(word in text.casefold()) for word in WORDS] + [0.1] for text in texts])


@pytest.fixture
def thrift(tmp_path: Path) -> Iterator[Thrift]:
    with Thrift(tmp_path / "l.db") as opened:
        yield opened


@pytest.fixture
def make(thrift: Thrift) -> Callable[..., SemanticCache]:
    return lambda **options: SemanticCache(thrift, by_words, FixedThreshold(0.9), **options)


@pytest.mark.parametrize("history", ["exact", "meaning"])
def test_a_last_turn_is_answered_after_the_same_history_only(make, history):
    cache = make(history=history)
    cache.store(CANCEL, "Order 7 is cancelled.", history=ORDERED)
    assert cache.lookup(CANCEL, history=ORDERED).kind == "exact"
    assert cache.lookup(AGAIN, history=ORDERED).kind == "semantic"
    for other in (
        (),
        ORDERED[:1],
        ORDERED[::-1],
        (*ORDERED, ("user", "Sure")),
        (("user", "I have ordered a parcel."), ORDERED[1]),
        (ORDERED[0], ("assistant", "Sure, it is order 8.")),
        (ORDERED[0], ("user", ORDERED[1][1])),
        (("user", "I have not ordered a phone."), ORDERED[1]),
    ):
        assert cache.lookup(CANCEL, history=other) is None
    assert cache.lookup(CANCEL, "another scope", history=ORDERED) is None


def test_other_words_for_the_same_history_are_opted_into(make):
    for history, found in (("exact", False), ("meaning", True)):
        cache = make(history=history)
        cache.store(CANCEL, "Order 7 is cancelled.", history=ORDERED)
        assert (cache.lookup(AGAIN, history=REWORDED) is not None) is found
        cache.clear()


def test_histories_are_found_by_other_processes(make, thrift):
    make(history="meaning").store(CANCEL, "Order 7 is cancelled.", history=ORDERED)
    other = make(history="meaning")
    assert other.lookup(AGAIN, history=REWORDED).answer == "Order 7 is cancelled."
    other.clear()
    assert other.lookup(CANCEL, history=ORDERED) is None


def test_a_history_in_the_first_person_is_its_users(make):
    """Whether told in the same or in other words."""
    cache = make(history="meaning")
    with attribute(user="ada"):
        cache.store(CANCEL, "Ada's order is cancelled.", history=ORDERED)
        assert cache.lookup(AGAIN, history=REWORDED) is not None
    with attribute(user="ben"):
        assert cache.lookup(CANCEL, history=ORDERED) is None
        assert cache.lookup(AGAIN, history=REWORDED) is None


def test_who_is_not_trusted_bridges_no_histories(make):
    cache = make(history="meaning", trusted_writers=["curator"])
    with attribute(user="mallory"):
        cache.store("Cancel which order?", "Evil.", history=(("user", "The order of a phone"),))
        assert cache.lookup("Cancel which order?", history=(("user", "The order of a phone"),)).answer == "Evil."
    with attribute(user="curator"):
        assert cache.lookup("Cancel which order?", history=(("user", "The order of a phone"),)) is None
        cache.store("Cancel which order?", "Order 7.", history=(("user", "The order of one phone"),))
    assert cache.lookup("Cancel which order?", history=(("user", "The order of a phone"),)).answer == "Order 7."


def test_what_is_offered_in_another_order_is_another_turn(make):
    cache = make(history="meaning")
    cache.store("The first order", "A refund.", history=(("assistant", "Sure: a refund, or another plan?"),))
    assert cache.lookup("The first order", history=(("assistant", "Sure: would you like a refund, or another plan?"),)) is not None
    assert cache.lookup("The first order", history=(("assistant", "Sure: another plan, or a refund?"),)) is None


def test_a_turn_that_is_too_long_must_be_equal(make):
    cache = make(history="meaning")
    told = "order " * 500
    cache.store("cancel", "Yes.", history=(("user", told),))
    assert cache.lookup("cancel", history=(("user", told),)).answer == "Yes."
    assert cache.lookup("cancel", history=(("user", told + "!"),)) is None


def test_what_a_named_mask_covers_in_a_turn_must_be_equal(make):
    """The answer may say it again."""
    cache = make(history="meaning", masks={"[USER]": "Ada|Ben"})
    cache.store("Order a phone", "It is ordered for Ada.", history=(("user", "This is the order of Ada"),))
    assert cache.lookup("Order a phone", history=(("user", "This is the order of Ada"),)).answer == "It is ordered for Ada."
    assert cache.lookup("Order a phone", history=(("user", "This is the order of Ben"),)) is None


def test_a_kind_of_history_that_there_is_not_is_refused(make):
    with pytest.raises(ConfigurationError, match="history must be 'exact' or 'meaning', not 'loose'"):
        make(history="loose")


@pytest.mark.parametrize(
    "canonical",
    [
        [["human", "Hi"], ["system", "Be brief."]],
        [["human", [{"type": "image", "url": "u"}]]],
        [["human", "Hi"], ["ai", "Hello", {"calls": []}]],
        [["chat:critic", "Hi"]],
    ],
    ids=repr,
)
def test_what_is_more_than_text_must_be_equal(canonical):
    assert split_history(canonical) == (canonical, ())

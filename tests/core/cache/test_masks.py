"""What does not matter in a question, by the user's word; and marks at the ends of words."""

from __future__ import annotations

import pytest

from llmthrift_core import Thrift
from llmthrift_core.cache import ExactOnly, SemanticCache

MASKS = {"[USER]": r"\b(?:Ada|Ben) [A-Z]\w+", "[TODAY]": r"\d{4}-\d\d-\d\d", "[ORDER]": r"\border \d+"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("How may Ada Byron return a parcel?", "How may Ben Franklin return a parcel?"),
        ("What is open on 2026-03-01?", "What is open on 2027-04-02?"),
        ("How is order 17 sent back?", "How is order 4711 sent back?"),
    ],
)
def test_what_does_not_matter_is_no_difference(thrift: Thrift, first: str, second: str) -> None:
    cache = SemanticCache(thrift, policy=ExactOnly(), masks=MASKS)
    cache.store(first, "By post.")
    hit = cache.lookup(second)
    assert hit is not None
    assert hit.answer == "By post."
    assert SemanticCache(thrift, policy=ExactOnly()).lookup(second) is None


def test_an_answer_that_tells_it_is_given_to_the_same_question_alone(thrift: Thrift) -> None:
    cache = SemanticCache(thrift, policy=0.5, masks=MASKS)
    cache.store("How is order 17 sent back?", "Send order 17 to our depot.")
    assert cache.lookup("How is order 4711 sent back?") is None
    hit = cache.lookup("How is order 17 sent back?")
    assert hit is not None
    assert "17" in hit.answer


@pytest.mark.parametrize(
    ("first", "second", "answer"),
    [
        ("How is order 17 sent back?", "How is order 4711 sent back?", "Yours, number 17, goes by post."),
        ("How is order 0017 sent back?", "How is order 4711 sent back?", "No. 17 goes by post."),
        ("How may Ada Byron return a parcel?", "How may Ben Franklin return a parcel?", "Dear Ada, by post."),
        ("How may Ada Byron return a parcel?", "How may Ben Franklin return a parcel?", "By post, Ms Byron."),
        ("What is open on 2026-03-01?", "What is open on 2027-04-02?", "On the first of March the zoo."),
    ],
)
def test_an_answer_that_tells_a_part_of_it_is_not_shared_either(thrift: Thrift, first: str, second: str, answer: str) -> None:
    cache = SemanticCache(thrift, policy=0.5, masks=MASKS)
    cache.store(first, answer)
    assert cache.lookup(second) is None
    hit = cache.lookup(first)
    assert hit is not None
    assert hit.answer == answer


def test_what_no_mask_covers_matters(thrift: Thrift) -> None:
    cache = SemanticCache(thrift, policy=ExactOnly(), masks=MASKS)
    cache.store("How is order 17 sent back within 5 days?", "By post.")
    assert cache.lookup("How is order 18 sent back within 6 days?") is None


@pytest.mark.parametrize("other", ["Good morning", "good morning!", "Good morning!!", "Good morning.", "Good, morning", "Good morning !"])
def test_marks_at_the_ends_of_words_are_no_difference(thrift: Thrift, other: str) -> None:
    cache = SemanticCache(thrift, policy=ExactOnly())
    cache.store("Good morning!", "Hello.")
    assert cache.lookup(other) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [("Is it 1.5 m?", "Is it 15 m?"), ("What is 5!", "What is 5"), ("What does C++ do?", "What does C do?"), ("Is a != b?", "Is a = b?")],
)
def test_marks_that_tell_are_kept(thrift: Thrift, one: str, other: str) -> None:
    cache = SemanticCache(thrift, policy=ExactOnly())
    cache.store(one, "Yes.")
    assert cache.lookup(other) is None


def test_marks_before_a_spanish_sentence_are_no_difference(thrift: Thrift) -> None:
    cache = SemanticCache(thrift, policy=ExactOnly())
    cache.store("¿Cuándo abre el banco?", "A las nueve.")
    assert cache.lookup("cuándo abre el banco ?") is not None

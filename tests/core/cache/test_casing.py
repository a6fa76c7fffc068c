"""Capitals: a habit at the beginning of a sentence, a fact in units, options, acronyms and names."""

from __future__ import annotations

import pytest

from llmthrift_core import Thrift
from llmthrift_core.cache import ErrorBound, FixedThreshold, SemanticCache
from llmthrift_core.cache.semantic.casing import cases_differ

APART = [
    ("What does the flag -v do?", "What does the flag -V do?"), ("grep -i foo", "grep -I foo"),
    ("How fast is 100 Mb/s?", "How fast is 100 MB/s?"),
    ("Convert 5 mW to W", "Convert 5 MW to W"), ("What is CO?", "What is Co?"), ("What is Polish?", "What is polish?"),
    ("Who is May?", "Who is may?"), ("define TURKEY", "define Turkey"), ("Does US law apply?", "does us law apply?"),
    ("What is AIDS?", "What is aids?"), ("Explain Map in Java", "Explain map in Java"), ("const X = 1", "const x = 1"),
    ("What does ß mean?", "What does ss mean?"), ("Is 1 kb enough?", "Is 1 Kb enough?"), ("What is 5 mg?", "What is 5 Mg?"),
    ("a delay of 5ms", "a delay of 5Ms"), ("what is $HOME", "what is $home"), ("What does the WHO say?", "What does the who say?"),
    ("Works in IT", "Works in it"), ("tar -c x", "tar -C x"), ("Foo vs foo", "foo vs foo"), ("Sponge or sponge?", "sponge or sponge?"),
]  # fmt: skip
ALIKE = [
    ("What is it?", "what is it?"), ("what is the capital of france", "what is the capital of France"), ("Is NASA real?", "is nasa real?"),
    ("WHAT IS the price of the pro plan?", "What is the price of the Pro plan?"), ("Do they open? Tell her.", "do they open? tell her."),
    ("HOW DO YOU RESET IT?", "How do you reset it?"), ("What is the ﬁne?", "What is the fine?"), ("10 Ω", "10 Ω"),
    ("HELLO there", "hello there"),
    ("What is the price of a café?", "What is the price of a cafe\u0301?"), ("What is 123?", "What is １２３?"),
    ("What is 123?", "What is ١٢٣?"), ("What’s the fee?", "What's the fee?"), ("Who wrote “Hamlet”?", 'who wrote "Hamlet"?'),
    ("When do co‑ops open?", "when do co-ops open?"),
]  # fmt: skip


@pytest.fixture(params=[lambda: ErrorBound(0.01), lambda: FixedThreshold(0.8)], ids=["cold bound", "threshold"])
def cache(request: pytest.FixtureRequest, thrift: Thrift) -> SemanticCache:
    return SemanticCache(thrift, policy=request.param())


@pytest.mark.parametrize(("one", "other"), [*APART, *[(b, a) for a, b in APART]])
def test_capitals_that_tell_something_are_another_question(cache: SemanticCache, one: str, other: str) -> None:
    cache.store(one, "first")
    assert cache.lookup(other) is None
    assert "differ" in cache.explain(other).considered[0].refused


@pytest.mark.parametrize(("one", "other"), APART)
def test_both_spellings_are_kept_beside_each_other(cache: SemanticCache, one: str, other: str) -> None:
    for question, answer in ((one, "first"), (other, "second")):
        assert cache.lookup(question) is None
        cache.store(question, answer)
    for question, answer in ((one, "first"), (other, "second")):
        hit = cache.lookup(question)
        assert hit is not None
        assert (hit.answer, hit.kind) == (answer, "exact")


@pytest.mark.parametrize(("one", "other"), [*ALIKE, *[(b, a) for a, b in ALIKE]])
def test_capitals_that_are_a_habit_are_not(cache: SemanticCache, one: str, other: str) -> None:
    cache.store(one, "first")
    hit = cache.lookup(other)
    assert hit is not None
    assert hit.kind == "exact"


def test_other_words_and_punctuation_are_not_compared_here() -> None:
    assert cases_differ("When do you open?", "When do you close?") is None
    assert cases_differ("When do you open?", "when do you open") is None

"""The counts of a text, against what they are by hand, and what can be had back from the stored ones."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmthrift_core.lexical import LEXICAL, MOST_CHARS, Excerpt, chars_of, from_bytes, lexical, stored_counts, to_bytes

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # surrogates too


def test_the_counts_of_a_text_by_hand() -> None:
    text = "Is 12 + 7 = 19?\n\n_é_, a a"
    data = len(text.encode()) + 1  # 26 bytes, é takes two
    kinds = {"digits": 5, "capitals": 1, "?": 1, ",": 1, ".": 0, "\n": 2, "signs": 2, "_": 2, "quotes": 0, "colons": 0}
    other = len("s") + 7 + len("aa")  # the small letters and the spaces
    assert sum(kinds.values()) + other + 2 == data - 1
    words = ["Is", "12", "+", "7", "=", "19?", "_é_,", "a", "a"]
    lengths = [
        math.log1p(len(text)),
        math.log1p(9),
        sum(map(len, words)) / 10,
        8 / 10,  # different words
        math.log1p(2),  # lines with something in them
        math.log1p(15),
        math.log1p(15),
        math.log1p(8),
    ]
    assert lexical(text) == pytest.approx([*(math.sqrt(count / data) for count in (*kinds.values(), other, 2)), *lengths])


def test_the_counts_of_nothing_are_zero_but_for_its_one_empty_line() -> None:
    assert [(place, count) for place, count in enumerate(lexical("")) if count] == [(LEXICAL - 4, math.log(2))]
    assert chars_of(lexical("")) == 0


def test_of_a_long_text_the_ends_and_the_length_count() -> None:
    middle = "?" * 10_000
    text = "a" * (MOST_CHARS // 2) + middle + "b" * (MOST_CHARS // 2)
    assert len(Excerpt.of(text).text) == MOST_CHARS + 1
    counts = lexical(text)
    assert counts[2] == 0  # no question marks
    assert chars_of(counts) == len(text)
    assert lexical("x" * MOST_CHARS)[5] == 0 < lexical("x" * (MOST_CHARS + 1))[5]  # where it was cut, there is a line's end


@given(ANY_TEXT)
def test_any_text_has_counts_that_survive_being_stored(text: str) -> None:
    counts = lexical(text)
    assert len(counts) == LEXICAL
    stored = to_bytes(counts)
    assert len(stored) == 2 * LEXICAL
    assert from_bytes(stored) == stored_counts(text) == pytest.approx(counts, rel=2**-10, abs=2**-24)
    assert to_bytes(from_bytes(stored)) == stored
    assert chars_of(from_bytes(stored)) == pytest.approx(len(text), rel=0.01, abs=1)


@given(st.lists(st.sampled_from(["cat", "dog", "the", "Ada", "Bob", "12", "34"]), min_size=1))
def test_words_cannot_be_told_from_others_of_their_kind(words: list[str]) -> None:
    other = {"cat": "dog", "Ada": "Bob", "12": "34"}
    swapped = {**other, **{value: key for key, value in other.items()}, "the": "the"}
    assert lexical(" ".join(words)) == lexical(" ".join(swapped[word] for word in words))


def test_bytes_that_are_no_counts_are_refused() -> None:
    with pytest.raises(ValueError, match=r"counts are 40 bytes, not 3"):
        from_bytes(b"abc")


def test_counting_loads_no_numpy() -> None:
    program = "import sys; from llmthrift_core.lexical import lexical; lexical('Hello'); assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)

"""Each built-in check sees what it is for, and nothing where there is nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmthrift_core.routing import checks
from llmthrift_core.routing.checks.numbers import evaluate, numbers_in

ASKED = "A box holds 6 pens. How many pens are in 4 boxes?"


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (checks.length, "24", "  \n"),
        (checks.refusal, "They hold 24 pens.", "I'm sorry, but I can't help with that."),
        (checks.hedging, "They hold 24 pens.", "Perhaps they might hold 24 pens, but I am not sure."),
        (checks.second_thoughts, "They hold 24 pens.", "They hold 20 pens. Wait, let me correct that: 24."),
        (checks.ending, "4 * 6 = 24 pens.", "4 * (6 +"),
        (checks.ending, "4 * 6 = 24", "```python\nprint(4 * 6)"),
        (checks.repetition, "4 boxes with 6 pens each hold 24 pens.", "The box holds 6 pens.\n" * 8),
        (checks.conclusion, "24", ""),
        (checks.arithmetic, "4 * 6 = 24", "4 * 6 = 26"),
        (checks.arithmetic, "<<4*6=24>>24", "<<4*6=26>>26"),
        (checks.number_use, "4 * 6 = 24", "The answer is 7."),
        (checks.steps, "4 * 6 = 24, and 24 / 6 = 4", "4 * 6 = 24, and 6 + 6 = 12"),
        (checks.final_number, "6 - 4 = 2", "4 - 6 = -2"),
    ],
)
def test_scores(check: checks.Check, good: str, bad: str) -> None:
    of_good, of_bad = check(ASKED, good), check(ASKED, bad)
    assert isinstance(of_good, tuple)
    assert isinstance(of_bad, tuple)
    assert of_good[0] > of_bad[0]
    assert len(of_good) == len(of_bad)


@pytest.mark.parametrize(
    ("prompt", "good", "bad"),
    [
        ("Answer in JSON.", '```json\n{"pens": 24}\n```', "24 pens"),
        ("Which?\nA. one\nB. two\nAnswer:", "B. two", "A or B"),
    ],
)
def test_the_form_that_is_asked_for(prompt: str, good: str, bad: str) -> None:
    assert checks.requested_form(prompt, good)[0] == 1.0 > checks.requested_form(prompt, bad)[0]


@pytest.mark.parametrize(
    "right",
    [
        "3 x 4 = <<3*4=12>>12 and 12 + 1 = 13",
        "$1,200 / 3 = $400",
        "3 boxes * 4 pens = 12 pens",
        "(2 + 3) × 4 = 5 × 4 = 20",
        "100 ÷ 3 = 33.33",
        "50% * 80 = 40",
        "7x + 11x = 162",
        "x + 9 = 3",
        "2 + 3(y + 1) = 5",
        "y = 5",
        "a == b, c = d",
    ],
)
def test_right_arithmetic_and_algebra_are_not_called_wrong(right: str) -> None:
    assert checks.arithmetic("", right)[2] == 0


@pytest.mark.parametrize(
    "wrong", ["3 * 4 = 13", "2 + 2 = 5 apples", "$100 - $30 = $60", "12 / 4 = 4, so 4 each", "3 × 4 = 12, 12 - 2 = 11"]
)
def test_wrong_arithmetic_is_found(wrong: str) -> None:
    assert checks.arithmetic("", wrong)[2] == 1


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("-2^2", 4),
        ("2^3^2", 512),
        ("10%", 0.1),
        ("8/4/2", 1),
        ("1/0", None),
        ("2 +", None),
        ("", None),
        ("(1", None),
        ("9^9^9", None),
    ],
)
def test_evaluate(expression: str, value: float | None) -> None:
    assert evaluate(expression) == (value if value is None else pytest.approx(value))


@given(st.integers(-(10**6), 10**6), st.integers(1, 10**6), st.sampled_from("+-*"))
def test_evaluate_agrees_with_python(one: int, other: int, sign: str) -> None:
    assert evaluate(f"({one}) {sign} {other}") == {"+": one + other, "-": one - other, "*": one * other}[sign]


def test_numbers_in_text() -> None:
    assert numbers_in("From 1,250 to 3.5, not v2; -7 and .5") == [1250.0, 3.5, -7.0, 0.5]


@settings(max_examples=100)
@given(st.text(max_size=200), st.one_of(st.text(max_size=300), st.text("0123456789.,+-*/=()%$x <>\n", max_size=300)))
def test_every_check_gives_as_many_finite_floats_for_any_text(prompt: str, answer: str) -> None:
    for check in checks.BUILT_IN:
        found, usual = check(prompt, answer), check(ASKED, "4 * 6 = 24")
        assert isinstance(found, tuple)
        assert isinstance(usual, tuple)
        assert len(found) == len(usual)
        assert all(map(math.isfinite, found))
        assert 0 <= found[0] <= 1

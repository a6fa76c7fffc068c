"""The calculations that a text writes out, and what they come to."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

_ANNOTATION: Final = re.compile(r"<<([^<>\n]*)>>")  # calculations as some models mark them, after which the result is repeated
_CURRENCY: Final = re.compile(r"\\?[$€£¥]|\\(?=[*%])")
_THOUSANDS: Final = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_TIMES: Final = re.compile(r"[×·]|\\times|\\cdot|(?<=[\d)\s])x(?=\s*[\d(])")
# words of measure, as in "3 boxes * 4 = 12"; a single letter is a variable
_UNIT: Final = re.compile(r"(?<=\d)\s*[a-zA-Z]{2,}(?:[\s/][a-zA-Z]{2,}){0,2}(?=\s*(?:[-+*/÷=)]|$))")
_BEFORE: Final = re.compile(r"[-\d.()+*/÷^% ]*$")
_AFTER: Final = re.compile(r"[-\d.()+*/÷^% ]*")
_OPERATORS: Final = tuple("+-*/÷^%")
_TOKEN: Final = re.compile(r"\d+\.?\d*|\.\d+|[-+*/÷^()%]")
_LONGEST: Final = 200  # characters of one calculation
_MOST: Final = 100  # calculations of one text
_TOLERANCE: Final = 0.006  # relative: an answer may round to a cent or to two places


@dataclass(frozen=True, slots=True)
class Calculation:
    """One side of an equals sign that is calculated, and the number that the other side says.

    Attributes:
        operands: the numbers of the calculation, in their order, without signs.
        operators: its signs, in their order; division is "/".
        value: what it comes to.
        stated: what the text says that it comes to.
    """

    operands: tuple[float, ...]
    operators: str
    value: float
    stated: float

    @property
    def is_right(self) -> bool:
        return close(self.value, self.stated)


@lru_cache(maxsize=16)  # the checks of one answer read the same calculations
def calculations(text: str) -> tuple[Calculation, ...]:
    """The calculations of a text, one for each pair of neighbours around an equals sign; those that are marked "<<3*4=12>>" first.

    >>> [found.value for found in calculations("3 boxes * 4 = 12, and 12 + 5 = 17 apples")]
    [12.0, 17.0]
    """
    marked = "\n".join([*_ANNOTATION.findall(text), _ANNOTATION.sub("", text)])
    plain = _TIMES.sub("*", _THOUSANDS.sub("", _CURRENCY.sub("", marked.replace("−", "-"))))
    found: list[Calculation] = []
    for line in plain.splitlines():
        sides = [_UNIT.sub(" ", side[-_LONGEST:] if place == 0 else side[:_LONGEST]) for place, side in enumerate(line.split("="))]
        for left, right in pairwise(sides):
            term = _term_at_end(left)
            value, stated = evaluate(term), _value_at_start(right)
            if value is not None and stated is not None:
                found.append(_calculation(term, value, stated))
        if len(found) >= _MOST:
            break
    return tuple(found[:_MOST])


def _calculation(term: str, value: float, stated: float) -> Calculation:
    tokens = _TOKEN.findall(term)
    operands = tuple(float(token) for token in tokens if token[-1] in "0123456789.")
    return Calculation(operands, "".join(token for token in tokens if token in _OPERATORS).replace("÷", "/"), value, stated)


def close(value: float, stated: float) -> bool:
    """Whether two numbers are equal but for rounding."""
    return abs(value - stated) <= max(_TOLERANCE * max(abs(value), abs(stated)), 0.0051)


def evaluate(expression: str) -> float | None:
    """The value of a calculation with + - * / ^ % and brackets; None where it is none.

    >>> evaluate("3 * (4 + 5)")
    27.0
    >>> evaluate("50% * 80")
    40.0
    """
    tokens = _TOKEN.findall(expression)
    if not tokens or "".join(tokens) != re.sub(r"\s+", "", expression):
        return None
    try:
        value, place = _sum(tokens, 0)
    except (IndexError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return value if place == len(tokens) and math.isfinite(value) else None


def _term_at_end(side: str) -> str:
    """The calculation that ends here; empty for a bare number."""
    match = _BEFORE.search(side)
    text = match[0].strip() if match else ""
    before = side[: -len(match[0]) or None].rstrip() if match and match[0] else side
    if text[:1] in _OPERATORS or (before[-1:].isalpha() and len(before.split()[-1]) == 1) or before.endswith("\\"):
        return ""  # a part of a longer term with variables
    return text if any(sign in text[1:] for sign in _OPERATORS) else ""


def _value_at_start(side: str) -> float | None:
    match = _AFTER.match(side)
    text = match[0].rstrip() if match else ""
    rest = side[len(text) :].lstrip() if match else ""
    if len(re.match(r"[a-zA-Z]*", rest)[0]) == 1 or rest[:1] in ("\\", "^"):  # type: ignore[index]
        return None
    return evaluate(text.rstrip(" .+-*/(÷"))


def _sum(tokens: list[str], place: int) -> tuple[float, int]:
    value, place = _product(tokens, place)
    while place < len(tokens) and tokens[place] in "+-":
        sign = 1 if tokens[place] == "+" else -1
        term, place = _product(tokens, place + 1)
        value += sign * term
    return value, place


def _product(tokens: list[str], place: int) -> tuple[float, int]:
    value, place = _power(tokens, place)
    while place < len(tokens) and tokens[place] in "*/÷":
        divide = tokens[place] != "*"
        factor, place = _power(tokens, place + 1)
        value = value / factor if divide else value * factor
    return value, place


def _power(tokens: list[str], place: int) -> tuple[float, int]:
    base, place = _atom(tokens, place)
    if place < len(tokens) and tokens[place] == "^":
        exponent, place = _power(tokens, place + 1)
        base = math.pow(base, exponent)
    while place < len(tokens) and tokens[place] == "%":
        base, place = base / 100, place + 1
    return base, place


def _atom(tokens: list[str], place: int) -> tuple[float, int]:
    first = tokens[place]
    if first == "-":
        value, place = _atom(tokens, place + 1)
        return -value, place
    if first == "(":
        value, place = _sum(tokens, place + 1)
        if tokens[place] != ")":
            raise ValueError
        return value, place + 1
    return float(first), place + 1

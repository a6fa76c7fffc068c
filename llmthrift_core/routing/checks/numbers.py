"""Checks of numbers: the arithmetic in an answer is recomputed, and its numbers are compared with the question's."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Final

_NUMBER: Final = re.compile(r"(?<![\w.])[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|(?<![\w.])\.\d+")
_WORDS: Final = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11,
    "twelve": 12, "twenty": 20, "thirty": 30, "half": 0.5, "twice": 2, "double": 2, "triple": 3, "dozen": 12, "quarter": 0.25,
}  # fmt: skip
_WORD: Final = re.compile(r"\b(" + "|".join(_WORDS) + r")\b", re.IGNORECASE)
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
_MOST: Final = 100  # calculations of one answer
_TOLERANCE: Final = 0.006  # relative: an answer may round to a cent or to two places


def numbers_in(text: str) -> list[float]:
    """The numbers of a text in figures, in their order.

    >>> numbers_in("1,250 apples, -3 and .5")
    [1250.0, -3.0, 0.5]
    """
    return [float(found.replace(",", "").replace("−", "-")) for found in _NUMBER.findall(text)]


def arithmetic(prompt: str, answer: str) -> tuple[float, ...]:
    """The calculations that the answer writes out, recomputed.

    Score, calculations (log), wrong ones, their share, whether the last one is wrong.

    >>> arithmetic("", "3 * 4 = 12, and 12 + 5 = 18")[0] < 0.5
    True
    """
    verdicts = [_close(value, stated) for value, stated in _calculations(answer)]
    wrong = verdicts.count(False)
    share = wrong / len(verdicts) if verdicts else 0.0
    return (0.3**wrong, math.log1p(len(verdicts)), min(wrong, 5), share, float(bool(verdicts) and not verdicts[-1]))


def number_use(prompt: str, answer: str) -> tuple[float, ...]:
    """How an answer's numbers follow from the question's.

    Score, the question's numbers (log), the share of them that the answer does not use, the share of the answer's numbers that come
    from nowhere (neither the question nor a calculation), the same in absolute terms.
    """
    asked = _asked(prompt)
    used = [abs(value) for value in numbers_in(answer)]
    if not asked:
        return (1.0, 0.0, 0.0, 0.0, 0.0)
    known = set(asked) | {round(abs(stated), 4) for _, stated in _calculations(answer)}
    there = {round(value, 4) for value in used}
    figures = {round(abs(value), 4) for value in numbers_in(prompt)}
    unused = len(figures - there) / len(figures) if figures else 0.0
    alien = [value for value in there if value not in known and value > 2]
    return (
        1.0 - 0.3 * unused if used else 0.9,
        math.log1p(len(asked)),
        unused,
        len(alien) / len(there) if there else 0.0,
        math.log1p(len(alien)),
    )


def final_number(prompt: str, answer: str) -> tuple[float, ...]:
    """The last number of the answer, if the question has numbers.

    Score; is there one; it is a number of the question; it is the result of the last calculation; of any calculation; not whole; not
    positive; its size (log); its size against the question's largest number (log); repeated before.
    """
    asked, used = _asked(prompt), numbers_in(answer)
    if not asked or not used:
        return (1.0 if not asked else 0.6, float(bool(used)), *(0.0,) * 8)
    last = used[-1]
    results = [stated for _, stated in _calculations(answer)]
    repeats = sum(_close(last, value) for value in used[:-1])
    return (
        0.7 if last <= 0 else 1.0,
        1.0,
        float(round(abs(last), 4) in asked),
        float(bool(results) and _close(last, results[-1])),
        float(any(_close(last, value) for value in results)),
        float(last != int(last)) if abs(last) < 1e15 else 0.0,
        float(last <= 0),
        math.log1p(min(abs(last), 1e12)),
        math.log1p(min(abs(last), 1e12)) - math.log1p(min(max(asked), 1e12)),
        math.log1p(repeats),
    )


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


def _asked(prompt: str) -> set[float]:
    words = {float(_WORDS[found.lower()]) for found in _WORD.findall(prompt)}
    return {round(abs(value), 4) for value in numbers_in(prompt)} | words


def _calculations(answer: str) -> list[tuple[float, float]]:
    """What is calculated and what it is said to be, for each pair of neighbours around an equals sign."""
    text = "\n".join([*_ANNOTATION.findall(answer), _ANNOTATION.sub("", answer)])
    text = _TIMES.sub("*", _THOUSANDS.sub("", _CURRENCY.sub("", text.replace("−", "-"))))
    found: list[tuple[float, float]] = []
    for line in text.splitlines():
        sides = [_UNIT.sub(" ", side[-_LONGEST:] if place == 0 else side[:_LONGEST]) for place, side in enumerate(line.split("="))]
        for left, right in pairwise(sides):
            calculated, stated = _value_at_end(left), _value_at_start(right)
            if calculated is not None and stated is not None:
                found.append((calculated, stated))
        if len(found) >= _MOST:
            break
    return found[:_MOST]


def _value_at_end(side: str) -> float | None:
    """Of a calculation that ends here, not of a bare number."""
    match = _BEFORE.search(side)
    text = match[0].strip() if match else ""
    before = side[: -len(match[0]) or None].rstrip() if match and match[0] else side
    if text[:1] in _OPERATORS or (before[-1:].isalpha() and len(before.split()[-1]) == 1) or before.endswith("\\"):
        return None  # a part of a longer term with variables
    return evaluate(text) if any(sign in text[1:] for sign in _OPERATORS) else None


def _value_at_start(side: str) -> float | None:
    match = _AFTER.match(side)
    text = match[0].rstrip() if match else ""
    rest = side[len(text) :].lstrip() if match else ""
    if len(re.match(r"[a-zA-Z]*", rest)[0]) == 1 or rest[:1] in ("\\", "^"):  # type: ignore[index]
        return None
    return evaluate(text.rstrip(" .+-*/(÷"))


def _close(value: float, stated: float) -> bool:
    return abs(value - stated) <= max(_TOLERANCE * max(abs(value), abs(stated)), 0.0051)


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

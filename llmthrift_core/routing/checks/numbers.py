"""Checks of numbers: the arithmetic in an answer is recomputed, and its numbers are compared with the question's."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

from llmthrift_core.cache.near_misses.numbers import SMALL

_NUMBER: Final = re.compile(r"(?<![\w.])[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|(?<![\w.])\.\d+")
_WORDS: Final[dict[str, float]] = {
    **{word: float(value) for word, value in SMALL.items() if value},
    "half": 2, "twice": 2, "double": 2, "couple": 2, "pair": 2, "pairs": 2, "third": 3, "thirds": 3, "thrice": 3, "triple": 3, "quarter": 4,
    "quarters": 4, "fourth": 4, "fourths": 4, "fifth": 5, "fifths": 5, "week": 7, "weeks": 7, "dozen": 12, "hundred": 100,
}  # fmt: skip
"""Words that stand for a number to calculate with; a part, such as "third", for the number to divide by."""
_WORD: Final = re.compile(r"[a-z]+")
_PLACES: Final = 4
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
    verdicts = [each.is_right for each in calculations(answer)]
    wrong = verdicts.count(False)
    share = wrong / len(verdicts) if verdicts else 0.0
    return (0.3**wrong, math.log1p(len(verdicts)), min(wrong, 5), share, float(bool(verdicts) and not verdicts[-1]))


def number_use(prompt: str, answer: str) -> tuple[float, ...]:
    """How an answer's numbers follow from the question's.

    Score, the question's numbers (log), the share of its figures that the answer does not use, the share of the answer's numbers that come
    from nowhere (neither the question nor a calculation), the same in absolute terms; the question's numbers in words (log), how many of
    them the answer does not use, their share.
    """
    figures, words = _figures(prompt), _in_words(prompt)
    if not figures and not words:
        return (1.0, *(0.0,) * 7)
    there = _figures(answer)
    known = figures | words | {1.0} | {_rounded(each.stated) for each in calculations(answer)}
    unused = len(figures - there) / len(figures) if figures else 0.0
    alien = [value for value in there if value not in known and value > 2]
    unsaid = [value for value in words if value not in there and _rounded(1 / value) not in there]
    return (
        1.0 - 0.3 * unused if there else 0.9,
        math.log1p(len(figures | words)),
        unused,
        len(alien) / len(there) if there else 0.0,
        math.log1p(len(alien)),
        math.log1p(len(words)),
        min(len(unsaid), 5),
        len(unsaid) / len(words) if words else 0.0,
    )


def steps(prompt: str, answer: str) -> tuple[float, ...]:
    """How an answer's calculations hang together: a result that no later step uses was often forgotten.

    Score; results but for the last that no later calculation uses, their share; the question's numbers that no calculation uses, their
    share; calculations less numbers of the question; numbers of the question that are used twice; operands of the last calculation, and
    how many of these are earlier results; calculations that add, that subtract, that multiply, that divide.

    >>> steps("30 lollipops, 2 eaten, 2 in a bag", "30 - 2 = 28, and 28 / 2 = 14")[1]
    0
    >>> steps("30 lollipops, 2 eaten, 2 in a bag", "30 - 2 = 28, and 30 / 2 = 15")[1]
    1
    """
    chain = list(dict.fromkeys(calculations(answer)))  # what is marked and what is said are one calculation
    if not chain:
        return (1.0, *(0.0,) * 12)
    operands = [[_rounded(value) for value in each.operands] for each in chain]
    results = [_rounded(each.stated) for each in chain]
    forgotten = sum(not any(result in later for later in operands[place + 1 :]) for place, result in enumerate(results[:-1]))
    calculated = [value for each in operands for value in each]
    asked = (_figures(prompt) | _in_words(prompt)) - {0.0}
    unused = sum(value not in calculated and _rounded(1 / value) not in calculated for value in asked)
    share_forgotten, share_unused = forgotten / max(len(chain) - 1, 1), unused / max(len(asked), 1)
    return (
        (1.0 - 0.1 * share_forgotten) * (1.0 - 0.1 * share_unused),
        min(forgotten, 5),
        share_forgotten,
        min(unused, 10),
        share_unused,
        max(-10, min(len(chain) - len(asked), 10)),
        min(sum(calculated.count(value) > 1 for value in asked), 10),
        min(len(operands[-1]), 10),
        min(sum(value in results[:-1] for value in operands[-1]), 10),
        *(min(sum(sign in each.operators for each in chain), 10) for sign in "+-*/"),
    )


def final_number(prompt: str, answer: str) -> tuple[float, ...]:
    """The last number of the answer, if the question has numbers.

    Score; is there one; it is a number of the question; it is the result of the last calculation; of any calculation; not whole; not
    positive; its size (log); its size against the question's largest number (log); repeated before.
    """
    asked, used = _figures(prompt) | _in_words(prompt), numbers_in(answer)
    if not asked or not used:
        return (1.0 if not asked else 0.6, float(bool(used)), *(0.0,) * 8)
    last = used[-1]
    results = [each.stated for each in calculations(answer)]
    repeats = sum(close(last, value) for value in used[:-1])
    return (
        0.7 if last <= 0 else 1.0,
        1.0,
        float(_rounded(last) in asked),
        float(bool(results) and close(last, results[-1])),
        float(any(close(last, value) for value in results)),
        float(last != int(last)) if abs(last) < 1e15 else 0.0,
        float(last <= 0),
        math.log1p(min(abs(last), 1e12)),
        math.log1p(min(abs(last), 1e12)) - math.log1p(min(max(asked), 1e12)),
        math.log1p(repeats),
    )


def _figures(text: str) -> set[float]:
    return {_rounded(value) for value in numbers_in(text)}


def _in_words(text: str) -> set[float]:
    """But for "one", which is rarely a number to calculate with."""
    return {_WORDS[word] for word in _WORD.findall(text.lower()) if word in _WORDS and word != "one"}


def _rounded(value: float) -> float:
    return round(abs(value), _PLACES)


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

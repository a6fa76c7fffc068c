"""Checks of an answer's form: is there one, is it complete, does it hedge, refuse, repeat itself, keep to what was asked for."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

_WORD: Final = re.compile(r"\w+")
_LINE: Final = re.compile(r"[^\n]+")
_SENTENCE: Final = re.compile(r"[.!?](?:\s|$)|\n")
_REFUSAL: Final = re.compile(
    r"\b(?:i(?:'m| am) (?:sorry|unable|not able|afraid)|i (?:can(?:no|')t|could not|couldn't|won't|do not|don't) "
    r"(?:help|assist|answer|provide|determine|know|have (?:access|enough|the)|comply|do that)|as an ai\b|(?:it is|it's) not possible to "
    r"(?:determine|answer|say)|cannot be (?:determined|answered)|not enough information|insufficient information|no answer)",
    re.IGNORECASE,
)
_HEDGES: Final = re.compile(
    r"\b(?:maybe|perhaps|possibly|probably|might|could be|may be|not (?:entirely |completely )?(?:sure|certain|clear)|unclear|unsure|"
    r"i think|i believe|i guess|it seems|appears to|presumably|roughly|approximately|likely|assum(?:e|ing)|depends on)\b|≈",
    re.IGNORECASE,
)
_SECOND_THOUGHTS: Final = re.compile(
    r"\b(?:wait|actually|correction|let me (?:re|correct|try again)|i made (?:a|an) (?:mistake|error)|apologi[sz]e|on second thought|"
    r"however|oops|scratch that|this (?:is not|isn't) possible|contradict\w*)\b",
    re.IGNORECASE,
)
_CONCLUSION: Final = re.compile(
    r"(?:^|\n)\s*#{2,}\s*\S|\\boxed\{|\b(?:final )?answer(?: is)?\s*[:=]|\b(?:therefore|thus|hence|in total|in conclusion|so,)\b",
    re.IGNORECASE,
)
_MARKED: Final = re.compile(r"^\W*(?:#{2,}\s*|\**(?:final |the )?answer\b\W*|\\boxed\{)", re.IGNORECASE)
_OPTIONS: Final = re.compile(r"(?:^|\n)\s*\(?([A-E])[.):]\s")
_CHOICE: Final = re.compile(r"(?<![\w'])\(?([A-E])\)?(?=[\s.,:)]|$)")
_FENCE: Final = "```"
_PAIRS: Final = (("(", ")"), ("[", "]"), ("{", "}"), ("<<", ">>"))
_USUAL: Final = 0.8
"""Geometric mean of the token probabilities from which the score is 1. A rule of thumb; `fit` does not use it."""
_LEAST: Final = -20.0
"""Some providers give -9999 or minus infinity for a token that was not among the likely ones."""
_NONE: Final = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def length(prompt: str, answer: str) -> tuple[float, ...]:
    """Is there an answer at all, and how long is it.

    Score; characters (log); characters against the question's (log); lines (log); sentences (log); words in a line.
    """
    text = answer.strip()
    words, lines = _WORD.findall(text), _LINE.findall(text)
    return (
        1.0 if words or text else 0.0,
        math.log1p(len(text)),
        math.log1p(len(text)) - math.log1p(len(prompt)),
        math.log1p(len(lines)),
        math.log1p(len(_SENTENCE.findall(text))),
        math.log1p(len(words) / max(len(lines), 1)),
    )


def refusal(prompt: str, answer: str) -> tuple[float, ...]:
    """The answer declines, or says that it cannot be given. Score; at its beginning; anywhere."""
    first = _REFUSAL.search(answer)
    early = first is not None and first.start() < 150
    return (0.1 if early else 0.4 if first else 1.0, float(early), float(first is not None))


def hedging(prompt: str, answer: str) -> tuple[float, ...]:
    """Words of doubt. Score; how many (log); for each hundred words."""
    hedges = len(_HEDGES.findall(answer))
    words = len(_WORD.findall(answer)) or 1
    return (1 / (1 + 0.15 * hedges), math.log1p(hedges), min(100 * hedges / words, 20.0))


def second_thoughts(prompt: str, answer: str) -> tuple[float, ...]:
    """The answer takes something back. Score; how often (log)."""
    times = len(_SECOND_THOUGHTS.findall(answer))
    return (1 / (1 + 0.2 * times), math.log1p(times))


def ending(prompt: str, answer: str) -> tuple[float, ...]:
    """Was the answer cut off. Score; open brackets; an open code fence; a sentence left open; a line break at the end."""
    text = answer.rstrip()
    open_brackets = sum(max(text.count(left) - text.count(right), 0) for left, right in _PAIRS)
    fence = text.count(_FENCE) % 2
    last = text[-1:]
    lines = _LINE.findall(text)
    unfinished = last in ",;:=+-*/<([{&" or (last.isalpha() and len(lines[-1].split()) > 6)
    cut = bool(open_brackets or fence or unfinished)
    return (0.4 if cut else 1.0, min(open_brackets, 3), fence, float(unfinished), float(answer.endswith("\n")))


def repetition(prompt: str, answer: str) -> tuple[float, ...]:
    """The answer goes in circles. Score; share of repeated lines; of repeated runs of four words."""
    lines = [line.strip() for line in answer.splitlines() if len(line.strip()) > 10]
    words = _WORD.findall(answer.lower())
    runs = Counter(zip(words, words[1:], words[2:], words[3:], strict=False))
    of_lines = 1 - len(set(lines)) / len(lines) if lines else 0.0
    of_runs = 1 - len(runs) / sum(runs.values()) if runs else 0.0
    worst = max(of_lines, of_runs - 0.3)
    return (1.0 - min(max(worst, 0.0), 0.9), of_lines, of_runs)


def conclusion(prompt: str, answer: str) -> tuple[float, ...]:
    """Does the answer come to an end with a result. Score; says so anywhere; the last line is marked as the result; characters of the last
    line (log); text after a marked result."""
    lines = [line for line in answer.splitlines() if line.strip()]
    if not lines:
        return (0.0, 0.0, 0.0, 0.0, 0.0)
    marks = [place for place, line in enumerate(lines) if _MARKED.match(line)]
    return (
        1.0,
        float(_CONCLUSION.search(answer) is not None),
        float(bool(marks) and marks[-1] == len(lines) - 1),
        math.log1p(len(lines[-1])),
        float(bool(marks) and marks[0] < len(lines) - 1),
    )


def requested_form(prompt: str, answer: str) -> tuple[float, ...]:
    """Does the answer have the form that the question names: JSON, or one of its options. Score; JSON broken; options unclear."""
    broken = unclear = False
    if "json" in prompt.lower():
        text = answer.strip().removeprefix(_FENCE + "json").removeprefix(_FENCE).removesuffix(_FENCE)
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            broken = True
    elif len(set(_OPTIONS.findall(prompt))) >= 2:
        unclear = len(set(_CHOICE.findall(answer[:200] if len(answer) < 400 else answer[-200:]))) != 1
    return (0.3 if broken else 0.8 if unclear else 1.0, float(broken), float(unclear))


def relevance(prompt: str, answer: str) -> tuple[float, ...]:
    """Is the answer about the question. Score; share of the question's longer words that the answer has; of the answer's that the question
    has."""
    asked = {word for word in _WORD.findall(prompt.lower()) if len(word) > 4}
    said = {word for word in _WORD.findall(answer.lower()) if len(word) > 4}
    common = len(asked & said)
    return (1.0, common / len(asked) if asked else 0.0, common / len(said) if said else 0.0)


def log_probabilities(prompt: str, answer: str, context: Mapping[str, Any] | None = None) -> tuple[float, ...]:
    """The probabilities of the answer's tokens, where the provider gives them; neutral where it does not.

    Score; are there any; mean log-probability; the lowest; their 10% and 50% quantiles; the share of tokens below one half. Quantiles say
    more than the mean, which long answers water down (Gupta and others, "Language model cascades: token-level uncertainty and beyond", ICLR
    2024). A cascade that is fitted to examples without log-probabilities has learned nothing of them, and passes them over: give them as
    `Example(..., context={"logprobs": [...]})`.

    Args:
        context: `logprobs`, natural logarithms in the order of the tokens.
    """
    given: Sequence[float] = (context or {}).get("logprobs") or ()
    logs = sorted(min(max(float(each), _LEAST), 0.0) for each in given)
    if not logs:
        return _NONE
    mean = math.fsum(logs) / len(logs)
    return (
        min(math.exp(mean) / _USUAL, 1.0),
        1.0,
        mean,
        logs[0],
        logs[len(logs) // 10],
        logs[len(logs) // 2],
        sum(each < -math.log(2) for each in logs) / len(logs),
    )

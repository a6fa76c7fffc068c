"""The clauses of a long sentence that may answer a question."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from llmthrift_core.prompts.step import MARK
from llmthrift_core.prompts.terms import content_words, folded, grams_of, words_of

_BORDER: Final = re.compile(
    r"(?<=[,;:])\s+|\s+(?=[(–—])|(?<=\))\s+|(?<=[，；：、])"
    r"|\s+(?=(?:and|or|but|which|who|where|while|because|und|oder|aber|sowie|weil|y|pero|que|et|mais|qui)\s)"
)
_LEAST_WORDS: Final = 4
# What a question asks for, by its words without accents, in English, German, Spanish, French and Chinese.
_NUMBER: Final = re.compile(
    r"\bhow (?:many|much|long|old|far|large|big|high|often|tall|deep|fast)"
    r"|\bwhat (?:percent|number|age)|percentage|\bwie (?:viel|lange|alt|gross|hoch|weit|oft)"
    r"|prozent|\bcuant|porcentaje|\bcombien|多少|几"
)
_TIME: Final = re.compile(
    r"\bwhen\b|\b(?:what|which) (?:year|date|day|month|decade|century)|\bwann\b"
    r"|welche[mnrs]? (?:jahr|tag|monat)|\bcuando\b|en que ano|\bquand\b|哪一年|何时|什么时候"
)
_NAME: Final = re.compile(
    r"\bwho(?:m|se)?\b|\bwhere\b|\bwer\b|\bwe[mn]\b|\bwo(?:her|hin)?\b|\bquien|\bdonde\b|\bqui\b|\bou\b"
    r"|\b(?:what|which) (?:city|country|state|person|company|team)|谁|哪里"
)
_DIGIT: Final = re.compile(r"\d")
_CAPITAL: Final = re.compile(r"(?<=\s)[^\W\d_a-z]\w+")
# Logistic regression on whether a clause holds the answer, fitted on questions in English and German, rounded.
_CUE, _OWN, _BEFORE, _NEW = 1.2, 3.2, 0.6, 0.35


def clip(sentence: str, question: str, most: float, count: Callable[[str], int]) -> str:
    """The clauses of a sentence that most likely answer the question, in about so many tokens; at least one."""
    clauses = _clauses_of(sentence)
    if len(clauses) < 2:
        return sentence
    asked = set(grams_of(content_words(question)))
    known = set(words_of(question))
    shares = [len(asked & set(grams_of(content_words(clause)))) / (len(asked) or 1) for clause in clauses]
    scores = [
        _CUE * _cues(clause, known, question)
        + _OWN * shares[place]
        + _BEFORE * (shares[place - 1] if place else 0.0)
        + _NEW * min(3, len(set(content_words(clause)) - known))
        for place, clause in enumerate(clauses)
    ]
    kept: set[int] = set()
    left = most
    for place in sorted(range(len(clauses)), key=lambda place: (-scores[place], place)):
        tokens = count(clauses[place])
        if kept and tokens > left:
            continue
        kept.add(place)
        left -= tokens
    parts: list[str] = []
    for place, clause in enumerate(clauses):
        if place in kept:
            parts.append(clause)
        elif not parts or not parts[-1].startswith(MARK):
            parts.append(f"{MARK} " if not parts or parts[-1].endswith(" ") else f" {MARK} ")
    return "".join(parts).rstrip() + " " * (len(sentence) - len(sentence.rstrip()) > 0)


def _clauses_of(sentence: str) -> list[str]:
    parts: list[str] = []
    at = 0
    for border in _BORDER.finditer(sentence):
        parts.append(sentence[at : border.end()])
        at = border.end()
    parts.append(sentence[at:])
    clauses: list[str] = []
    for part in parts:
        if clauses and min(len(clauses[-1].split()), len(part.split())) < _LEAST_WORDS and len((clauses[-1] + part).split()) <= 14:
            clauses[-1] += part
        else:
            clauses.append(part)
    return clauses


def _cues(clause: str, known: set[str], question: str) -> float:
    """How much of the kind that is asked for the clause has, and the question has not: 0 to 2."""
    asked = folded(question)
    new = [word for word in words_of(clause) if word not in known]
    if _NUMBER.search(asked) or _TIME.search(asked):
        return float(min(2, sum(_DIGIT.search(word) is not None for word in new)))
    if _NAME.search(asked):
        return float(min(2, sum(folded(name) not in known for name in _CAPITAL.findall(clause))))
    return 0.0

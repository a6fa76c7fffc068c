"""Wordy phrases, polite openings and stop words by language, read from data/wording.json."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

_FILE: Final = Path(__file__).parent / "data" / "wording.json"
_WORD: Final = re.compile(r"[^\W\d_]+")
_MOST_WORDS: Final = 400  # the language shows in so many


@dataclass(frozen=True, slots=True)
class Wording:
    """What a language says at length.

    Attributes:
        phrases: a pattern of wordy phrases.
        shorter: by phrase in small letters, what says the same.
        openings: a pattern of polite openings, at the beginning of a sentence, with the word after them as `first`.
        gerunds: by gerund, the verb: "would you mind explaining" is "explain".
        stop_words: a pattern of words that say little by themselves, with the space after them. Negations are none of them.
        common: words that show the language.
    """

    phrases: re.Pattern[str]
    shorter: dict[str, str]
    openings: re.Pattern[str]
    gerunds: dict[str, str]
    stop_words: re.Pattern[str]
    common: frozenset[str]


@cache
def wordings() -> dict[str, Wording]:
    """The languages that are known, by their code."""
    given: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    return {language: _wording(words) for language, words in given.items()}


def wording_of(text: str) -> Wording | None:
    """That of the text's language; None where it is another, or too short to say.

    >>> wording_of("The harbour of the town was built by engineers.") is wordings()["en"]
    True
    """
    language = language_of(text)
    return None if language is None else wordings()[language]


def language_of(text: str) -> str | None:
    """The language whose common words the text has most of; English for a few words in ASCII; None for others."""
    words = Counter(word.lower() for word in _WORD.findall(text[: _MOST_WORDS * 12])[:_MOST_WORDS])
    if not words:
        return None
    shares = {language: sum(words[word] for word in known.common) for language, known in wordings().items()}
    best = max(shares, key=shares.__getitem__)
    if shares[best] >= max(1, 0.05 * words.total()):
        return best
    return "en" if words.total() < 20 and text.isascii() else None


def _wording(words: dict[str, Any]) -> Wording:
    phrases: dict[str, str] = words["phrases"]
    # A phrase that says nothing is left out like an opening, so that the sentence begins after it.
    openings = [re.escape(each) for each in _longest_first([*words["openings"], *(each for each, short in phrases.items() if not short)])]
    phrases = {each: short for each, short in phrases.items() if short}
    if words["asking"]:
        asking, verbs = ("|".join(map(re.escape, _longest_first(words[name]))) for name in ("asking", "verbs"))
        openings.append(rf"(?:{asking})(?=\s+(?:{verbs})\b)")
    if words["gerund_openings"]:
        minding, gerunds = "|".join(map(re.escape, words["gerund_openings"])), "|".join(map(re.escape, words["gerunds"]))
        openings.append(rf"(?:{minding})(?=\s+(?:{gerunds})\b)")
    stop = "|".join(map(re.escape, _longest_first(words["stop"])))
    return Wording(
        phrases=re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, _longest_first(phrases)))})(?![\w-])", re.IGNORECASE),
        shorter=phrases,
        openings=re.compile(rf"(?:\A|(?<=[.!?:;]\s)|(?<=\n))[ \t]*(?:{'|'.join(openings)})(?![\w-]),?[ \t,]*(?P<first>\w*)", re.IGNORECASE),
        gerunds=words["gerunds"],
        stop_words=re.compile(rf"(?<![\w'’-])(?:{stop})(?![\w'’-])[ \t]?", re.IGNORECASE),
        common=frozenset(words["words"]),
    )


def _longest_first(words: Any) -> list[str]:
    return sorted(words, key=len, reverse=True)

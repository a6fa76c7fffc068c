"""Texts as terms to compare: words, their beginnings, and pairs of characters where words are not told apart."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Final

# Scripts without spaces between words: Han, Hiragana, Katakana, Thai, Lao, Khmer, Burmese.
UNSPACED: Final = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3040-\u30ff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_UNSPACED: Final = re.compile(f"[{UNSPACED}]+")
_WORD: Final = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_GRAM: Final = 4
_ASKING: Final = """
the a an of to in on at by for from with and or as is are was were be been being it its this that these those which who whom whose what
when where why how did do does has have had there than then so if but also can could would will may might into such some any der die das
den dem des ein eine einen einem einer eines und oder im am an auf aus bei mit nach von vom zu zum zur für ist sind war waren wird wurde
wurden werden hat haben hatte als wie was wer wo wann warum welche welcher welches welchen welchem wen wem auch sich es durch über unter
um el la los las un una unos unas de del en al por para con y o que es son fue era fueron como qué quién quiénes cuándo cuál cuáles
dónde cuánto cuántos cuántas se su sus lo le les du des et ou est sont était par pour avec sur dans ce cette il elle qui quoi quel
quelle quels quelles quand où comment
"""


@cache
def _common() -> frozenset[str]:
    return frozenset(folded(word) for word in _ASKING.split())


def folded(text: str) -> str:
    """Small letters without accents.

    >>> folded("Città ÜBER")
    'citta uber'
    """
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return unicodedata.normalize("NFC", "".join(each for each in decomposed if not unicodedata.combining(each)))


def is_unspaced(text: str) -> bool:
    """Whether most of the text's letters are of scripts without spaces."""
    return sum(len(run) for run in _UNSPACED.findall(text)) > 0.2 * len(text)


def words_of(text: str) -> list[str]:
    """Its words in small letters; of scripts without spaces, each two characters that follow each other."""
    low = folded(text)
    if low.isascii():
        return _WORD.findall(low)
    found: list[str] = []
    for word in _WORD.findall(low):
        at = 0
        for run in _UNSPACED.finditer(word):
            if at < run.start():
                found.append(word[at : run.start()])
            found += _pairs(run.group())
            at = run.end()
        if at < len(word):
            found.append(word[at:])
    return found


def content_words(text: str) -> list[str]:
    """The words that say what the text is about."""
    common = _common()
    return [word for word in words_of(text) if word not in common]


def stem_of(word: str) -> str:
    """About the stem of a word in European languages: its first six letters, or all but an ending.

    >>> stem_of("bridges"), stem_of("bridge"), stem_of("boats"), stem_of("cat")
    ('bridge', 'bridge', 'boat', 'cat')
    """
    return word[:6] if len(word) > 5 else word[:-1] if len(word) > 4 and word[-1] in "sn" else word


def grams_of(words: list[str]) -> list[str]:
    """Runs of four characters of each word: parts of compounds, stems, other spellings."""
    found: list[str] = []
    for word in words:
        framed = f"#{word}#"
        found += [framed[at : at + _GRAM] for at in range(max(1, len(framed) - _GRAM + 1))]
    return found


def _pairs(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(len(run) - 1)] or [run]

"""Sentences of a text in any script, as spans that together are the whole text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

# Marks that end a sentence without a space after them: Chinese, Japanese, Devanagari, Ethiopic, Burmese, Khmer.
_WITHOUT_SPACE: Final = "。！？｡．।॥።፧၊။។"
# Marks that need a space, a line end or the text's end after them: Latin, Greek, Cyrillic, Arabic, Urdu.
_WITH_SPACE: Final = ".!?…؟۔"
_CLOSING: Final = "\"'”’»)\\]」』）】》〉"
_BORDER: Final = re.compile(
    rf"[{_WITHOUT_SPACE}]+[{_CLOSING}]*\s*"
    rf"|[{_WITH_SPACE}]+[{_CLOSING}]*(?:\s+|$)"
    r"|\n[ \t]*\n\s*"
    r"|\n(?=[ \t]*(?:[-*•·]|\d{1,3}[.)])[ \t])"
)
_LAST_WORD: Final = re.compile(r"[\w.&-]+\Z")
_ABBREVIATED: Final = """
mr mrs ms dr prof st sr jr rev gen col capt lt sgt gov sen rep hon pres no nos vol fig figs eq sec ch pp ed eds al etc vs cf ca approx est
inc ltd corp co dept univ jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun e.g i.e a.m p.m u.s u.k u.n d.c b.c
a.d ph.d bzw usw evtl ggf vgl hr fr str abs art bd hrsg geb gest jh jhd mio mrd tel z.b d.h u.a o.ä u.ä s.o s.u v.chr n.chr sog inkl zzgl
abb sra srta ud uds ee.uu a.c d.c pág págs av tel dpto gral m mm mme mlle env p.ex c.-à-d z b d h u o
"""
_ABBREVIATIONS: Final = frozenset(_ABBREVIATED.split())
# "am 3. Mai", "des 19. Jahrhunderts": a number with a full stop is an ordinal after these words, and before those.
_ORDINAL: Final = "am im der die das des dem den vom zum zur bis ab seit und oder ende anfang mitte beim ins jeder jedes kein dieser dieses"
_BEFORE_ORDINAL: Final = frozenset(_ORDINAL.split())
_AFTER_ORDINAL: Final = re.compile(
    r"(?:Jahrhundert|Jahrtausend|Januar|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember|Platz|Lebensjahr|Jh)"
)


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """The sentences, each with the white space that follows it: (start, end), in order and without gaps.

    >>> text = "Dr. Lee paid 3.5 dollars. Was it much? 不多。很少。"
    >>> [text[start:end] for start, end in sentence_spans(text)]
    ['Dr. Lee paid 3.5 dollars. ', 'Was it much? ', '不多。', '很少。']
    """
    spans = []
    start = 0
    for end in _borders(text):
        if text[start:end].strip():
            spans.append((start, end))
            start = end
    if start < len(text):
        if text[start:].strip() or not spans:
            spans.append((start, len(text)))
        else:
            spans[-1] = (spans[-1][0], len(text))
    return spans


def split_sentences(text: str) -> list[str]:
    """The sentences without the white space around them."""
    return [found for start, end in sentence_spans(text) if (found := text[start:end].strip())]


def _borders(text: str) -> Iterator[int]:
    for mark in _BORDER.finditer(text):
        if text[mark.start()] != "." or _ends_sentence(text, mark.start(), mark.end()):
            yield mark.end()


def _ends_sentence(text: str, at: int, after: int) -> bool:
    """Whether the full stop at this place ends a sentence, rather than an abbreviation or an ordinal number."""
    following = text[after : after + 1]
    if not following or text[at:after].count("\n") > 1:
        return True
    if any(mark in _CLOSING for mark in text[at:after]) and not following.islower():
        return True  # a quotation ends with it
    if following.islower():  # also after "e.g." and "ca."
        return False
    found = _LAST_WORD.search(text, max(0, at - 24), at)
    if found is None:
        return True
    word = found.group().strip(".&-")
    if word.isdigit() and len(word) <= 2:
        before = _LAST_WORD.search(text, max(0, found.start() - 24), len(text[: found.start()].rstrip()))
        return not ((before is not None and before.group().lower() in _BEFORE_ORDINAL) or _AFTER_ORDINAL.match(text, after))
    if len(word) == 1 and word.isalpha() and word.isupper() and word != "I":  # an initial
        return False
    return word.lower() not in _ABBREVIATIONS

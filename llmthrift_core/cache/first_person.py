"""A check whether a question may be about its asker, so that only its asker's own answer can be the answer.

"What is my balance?" has one text and as many answers as there are users. Such a question is kept per user: one in the first person, one
that speaks of "this user" or of what is "on file", and one in a language that the guard does not read, which may be either. In doubt a
question counts as personal: another user then pays for an answer of his own.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

from llmthrift_core.cache.near_misses.facts import Facts
from llmthrift_core.cache.near_misses.language import ENGLISH, FOREIGN, is_told, without_accents
from llmthrift_core.cache.near_misses.lexicon import is_known
from llmthrift_core.cache.near_misses.words import STARTERS, word_set
from llmthrift_core.cache.speakers import speaks_of_oneself

_REMEMBERED: Final = 8_192
_READ: Final = 20_000  # characters of a text that are looked at for its language; all of it is searched for the first person
_WORD: Final = re.compile(r"[^\W\d_]+")
_APOSTROPHES: Final = str.maketrans("\u2019\u2018\u02bc\u00b4`", "'''''")
_OWN: Final = r"(?:accounts?|orders?|parcels?|packages?|refunds?|shipments?|delivery|payments?|claims?|applications?|tickets?|courier)"
_ENGLISH: Final = re.compile(
    r"\b(?:i|im|ive|iam|imma|me|my|ma|mah|mine|myself|we|weve|our|ours|ourselves|lets|gimme|lemme|wanna|gotta|ill)\b"
    # "I'd like" without its apostrophe; the country is written in capitals
    r"|\bid\s+(?:like|love|rather|prefer|want|appreciate)\b|(?-i:\b(?:us|Us)\b)"
    # somebody who is not named, and what is known of him
    r"|\b(?:this|the|current)\s+(?:user|caller|customer|asker|undersigned)\b"
    r"|\b(?:this|current)\s+(?:client|member|patient|subscriber|employee|student|tenant|guest|visitor|account|order|session)\b"
    # a sentence that has dropped its "I"
    r"|(?:^|[.!?;,]\s*)(?:haven'?t|didn'?t\s+(?:get|receive)|never\s+(?:got|received)|can'?t|forgot|lost|still\s+(?:waiting|no|not)|"
    r"been\s+(?:charged|billed|waiting)|got\s+(?:charged|billed)|locked\s+out|(?:still\s+|it\s+|order\s+)?hasn'?t\s+(?:arrived|come|shipped))\b"
    # what only somebody has of whom nothing is said: "order status", "where is the parcel", "has the refund been processed"
    r"|\b(?:account|current|outstanding|remaining)\s+balance\b|\b(?:what(?:'?s|\s+is)\s+the|^)\s*(?:bal|balance)\b"
    rf"|\b{_OWN}\s+status\b|\bstatus\s+of\s+the\s+(?:last\s+|latest\s+)?{_OWN}\b|\bwhere(?:'?s|\s+is|\s+are)\s+the\s+{_OWN}\b"
    rf"|\b(?:has|have|is|was|did|will)\s+the\s+{_OWN}\s+(?:been|arrived?|come|ship(?:ped)?|sent|paid|locked|blocked|refunded|on\s+its\s+way)\b"
    r"|\b(?:new|unread|any)\s+(?:messages?|e-?mails?|notifications?)\b|\b(?:next|upcoming)\s+appointments?\b|\bhow\s+much\s+is\s+(?:owed|due|left)\b"
    r"|\baccount\s+(?:holder|owner)\b|\bon\s+(?:file|record)\b|\b(?:logged|signed)[ -]in\b",
    re.IGNORECASE,
)
_KNOWN: Final = ENGLISH | STARTERS | {"s"}
# Words by which people speak of themselves, in languages of which there are no tables. None of them is usual in English.
_ELSEWHERE: Final = word_set(
    "ich mich mir mein meine meinem meinen meiner meines meins wir uns unser unsere unserem unseren unserer unseres "
    "je moi mon mes mien mienne miens miennes nous notre nos "
    "yo mi mis mio mia mios mias mío mía míos mías nosotros nosotras nuestro nuestra nuestros nuestras conmigo "
    "eu meu meus minha minhas nosso nossa nossos nossas comigo io miei mie noi nostro nostra nostri nostre "
    "ik mij mijn wij ons onze jag mig mitt mina vår jeg meg mitt mine vi vår moj moja moje mój mnie mi mam nasz ja "
    "ben benim bana bizim saya aku kami kita mera meri mere mujhe hum hamara eu mea mei minu minun minulla"
) - {"mine", "ben", "ja", "mi", "ma"}

_ELIDED: Final = word_set("qu c d l n s t")  # what French leaves of a word before its apostrophe
# In a text of another language: English by the way, or a neighbour of that language.
_IN_MIXED: Final = word_set(
    "i my myself we our ours iam ik mij mijn wij ons onze jag jeg eu meu meus minha minhas nosso nossa nossos nossas comigo io miei mie "
    "noi nostro nostra nostri nostre"
)


def is_personal(text: str) -> bool:
    """Whether the answer to a text may be its asker's own.

    >>> is_personal("What is my balance?"), is_personal("Wo ist mein Paket?"), is_personal("When do you open?")
    (True, True, False)
    """
    return _is_personal(text) if len(text) <= _READ else _is_personal.__wrapped__(text)


@lru_cache(maxsize=_REMEMBERED)
def _is_personal(text: str) -> bool:
    text = unicodedata.normalize("NFKC", text).translate(_APOSTROPHES)
    words = _WORD.findall(text.casefold())
    if (language := _language_of(text[:_READ], words)) is not None:
        return not _IN_MIXED.isdisjoint(words) or speaks_of_oneself(text, language)
    if _ENGLISH.search(text):
        return True
    if not words:
        return False  # numbers and signs
    return not _ELSEWHERE.isdisjoint(words) or not _is_english(text[:_READ], words)


def _language_of(text: str, words: list[str]) -> str | None:
    """German, Spanish or French, where it is surely that."""
    if FOREIGN.isdisjoint(words) and text.isascii():
        return None
    language = Facts.of(text).language
    if language not in ("de", "es", "fr") or not is_told([without_accents(word) for word in words if word not in _ELIDED], language):
        return None
    return language


def _is_english(text: str, words: list[str]) -> bool:
    known = sum(word in _KNOWN for word in words)
    if not (4 * known >= len(words) if text.isascii() else 2 * known > len(words)):
        return False
    if sum(word not in _KNOWN and not is_known(word) for word in words) > known:
        return False  # "Hol a csomagom?" has one word that is English too
    facts = Facts.of(text)
    return not (facts.foreign or facts.language)

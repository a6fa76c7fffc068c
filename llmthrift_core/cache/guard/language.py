"""Whether a text is English, judged by its script, its accents and the function words in it."""

from __future__ import annotations

import re
from typing import Final

from llmthrift_core.cache.guard.tables import word_set
from llmthrift_core.cache.guard.translation import TELLING

ENGLISH: Final = word_set(
    "the a an and of to is are was were do does did can could would should will my your his her its our their this that these those "
    "what which who when where why how i you he she it we they with for from not have has had there at by on if than or but be"
)
# Words which no English text has by chance.
DISTINCT: Final = word_set(
    # German, Dutch
    "der das und nicht ist ein eine einen wie ich mein meine kann für wird sind wo warum auf zu mit sich het een niet wat hoe ik mijn "
    "kan zijn voor waar bij "
    # French
    "est pas les une quel quelle comment pourquoi je vous dans avec sur où qui mon mes ma puis cette c'est "
    # Spanish, Portuguese, Italian
    "que por para cómo como qué cuál dónde una mi puedo está es los las con pero não você meu minha posso quanto onde che non il mio "
    "sono perché perche quale dove gli della nel "
    # Nordic, Polish, Turkish, Indonesian, romanised Hindi
    "och är hur jag inte og ikke hvordan jeg jest nie jak się czy moje bir nasıl için ve nedir yang dan apa bagaimana untuk saya "
    "kya hai kaise mera nahi"
)
# Words which English also has in names ("Tour de France", "Los Angeles").
SHARED: Final = word_set("de la le el del des du di da van von los las den dem die en et al y se per im")
# "Los Angeles" and "Las Vegas" are English.
_PLACES: Final = frozenset({"angeles", "vegas"})
BORROWED: Final = word_set("café cafés résumé résumés naïve cliché fiancé fiancée façade jalapeño piñata crème brûlée déjà décor entrée")
_TOLD: Final = DISTINCT | TELLING
FOREIGN: Final = _TOLD | SHARED
_BEYOND_LATIN: Final = re.compile(r"[^\W\d_\u0000-\u024f\u1e00-\u1eff]")
_LETTER: Final = re.compile(r"[^\W\d_]")


def is_foreign(text: str, words: frozenset[str]) -> bool:
    """Whether a text is probably not English, so that lists of English words say nothing about it."""
    plain = text.isascii()
    if not plain and is_beyond_latin(text):
        return True
    english = len(words & ENGLISH)
    distinct = len(words & _TOLD)
    strange = distinct + len(words & SHARED)
    if not words.isdisjoint(_PLACES):
        strange, distinct = strange - 1, distinct - 1
    if strange > english and (strange > 1 or distinct):
        return True
    if plain or english:
        return False
    accented = [word for word in words if not word.isascii() and word.isalpha() and word not in BORROWED]
    return len(accented) > 1 or (bool(accented) and (bool(strange) or len(words) <= 2))


def is_beyond_latin(text: str) -> bool:
    """Whether much of a text is in letters that English, German, Spanish and French do not have."""
    beyond = len(_BEYOND_LATIN.findall(text))
    return beyond > 0 and beyond * 4 >= len(_LETTER.findall(text))

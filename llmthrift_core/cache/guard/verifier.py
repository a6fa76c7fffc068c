"""A small learned verifier: how likely two questions that the guard lets pass are one, by how their words lie side by side.

The cosine of their embeddings is one feature among others. The weights in `data/verifier.json` are made by `tools/pair_verifier.py`, of
pairs that were written or generated for it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from llmthrift_core.cache.guard.alignment import Leftover, leftover
from llmthrift_core.cache.guard.everyday import LIGHT
from llmthrift_core.cache.guard.lexicon import is_word, lemma, part_of_speech, rarity
from llmthrift_core.cache.guard.tables import word_set
from llmthrift_core.cache.guard.words import STOP_WORDS

if TYPE_CHECKING:
    from llmthrift_core.cache.guard.facts import Facts

NAMES: Final = (
    "left on both sides", "left on one side only", "words left", "far words left", "unknown words left", "kinds or wider", "shared share",
    "alike share", "same tokens", "length", "other question", "yes or no to one", "one denies", "one has trouble", "light words left",
    "one word shared", "nothing left", "trouble left", "nouns left", "verbs left", "rare words left", "share left", "near words left",
    "other aspects",
)  # fmt: skip
_YES_OR_NO: Final = word_set("can could do does did is are was were will would should must may am has have shall")
_ASPECTS: Final = (
    ("cost", word_set("cost costs price prices priced charge charges fee fees expensive cheap cheaper cheapest paid free fare")),
    ("time", word_set("when date time times hour hours deadline due schedule expire expires until long last lasts soon period")),
    ("place", word_set("where place location venue located")),
    ("person", word_set("who whom whose")),
    ("reason", word_set("why reason reasons cause causes")),
)
_FOCUSED: Final = {"when": "time", "where": "place", "who": "person", "why": "reason", "how long": "time", "how many": "number"}
_ASKS_HOW: Final = frozenset({"how", "what", "which", "where", "when", "who", "why", "whom", "whose"})


def features(left: Facts, right: Facts) -> tuple[float, ...] | None:
    """How the words of two texts lie side by side, in the order of `NAMES`; None for texts that are not laid side by side."""
    if left.foreign or right.foreign or left.language != right.language:
        return None
    found = leftover(left.content, right.content)
    if found is None:
        return None
    if left.language:  # the guard lets pass only what is said in forms of the same words
        found = Leftover(max(len(left.content), len(right.content)), (), (), (), None, 0)
    mine, theirs = len(found.mine), len(found.theirs)
    few, many = min(mine, theirs), max(mine, theirs)
    far = sum(1 - max(each.nearness, 0.0) for each in found.best)
    words = (*found.mine, *found.theirs)
    parts = [part_of_speech(word) for word in words]
    unknown = sum(not is_word(word) for word in words)
    related = sum(each.kind in ("kinds", "wider") for each in found.best)
    all_words = found.shared + mine + theirs
    light = {lemma(word) for word in (left.words ^ right.words) if word in LIGHT and word not in STOP_WORDS}
    return (
        float(min(few, 3)),
        float(min(many, 3)) if not few else 0.0,
        min(mine + theirs, 8) / 4,
        min(far, 6.0) / 3,
        min(unknown, 3) / 2,
        min(related, 3) / 2,
        found.shared / all_words if all_words else 0.0,
        found.alike / max(found.shared, 1),
        len(left.words & right.words) / max(len(left.words | right.words), 1),
        abs(math.log(max(len(left.tokens), 1) / max(len(right.tokens), 1))),
        float(bool(left.focus and right.focus and left.focus != right.focus)),
        float(_kind(left) != _kind(right)),
        float(left.denies != right.denies),
        float(left.troubled != right.troubled),
        min(len(light), 4) / 4,
        float(found.shared <= 1),
        float(not mine and not theirs),
        float(left.denies != right.denies and bool(mine or theirs)),
        min(sum(part == "n" for part in parts), 4) / 2,
        min(sum(part == "v" for part in parts), 4) / 2,
        min(sum(rarity(word) for word in words), 4.0) / 2,
        len(words) / all_words if all_words else 0.0,
        min(sum(0.5 < each.nearness for each in found.best), 4) / 2,
        float(min(len(_aspects(left) ^ _aspects(right)), 3)),
    )


def score(left: Facts, right: Facts, cosine: float) -> float:
    """How sure it is that two questions are one, from 0 to 1: their cosine and how their words lie side by side."""
    found = features(left, right)
    if found is None:
        return min(max(cosine, 0.0), 1.0)
    weights, share, offset = _weights()
    total = offset + share * cosine + sum(weight * value for weight, value in zip(weights, found, strict=True))
    return min(max(total, 0.0), 1.0)


@cache
def _weights() -> tuple[Sequence[float], float, float]:
    made = json.loads(files(__package__).joinpath("data", "verifier.json").read_text(encoding="utf-8"))
    return tuple(made["weights"][name] for name in NAMES), float(made["cosine"]), float(made["offset"])


def _aspects(facts: Facts) -> frozenset[str]:
    """What of a thing is asked for: its cost, time, place, number, maker or reason."""
    return frozenset(aspect for aspect, words in _ASPECTS if not words.isdisjoint(facts.words)) | (
        frozenset({_FOCUSED[facts.focus]}) if facts.focus in _FOCUSED else frozenset()
    )


def _kind(facts: Facts) -> str:
    """Whether a text asks for yes or no, for something, or does not ask."""
    for token in facts.tokens[:3]:
        if token in _ASKS_HOW:
            return "open"
        if token in _YES_OR_NO:
            return "open" if _ASKS_HOW & facts.words else "closed"
    return "open" if _ASKS_HOW & facts.words else "told"

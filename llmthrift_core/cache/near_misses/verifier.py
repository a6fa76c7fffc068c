"""A small learned verifier: how likely two questions that the guard lets pass are one, by how their words lie side by side.

The cosine of their embeddings is one feature among others. The weights in `data/verifier.json` are made by `tools/pair_verifier.py`, of
pairs that were written or generated for it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from llmthrift_core.cache.near_misses.alignment import Leftover, leftover
from llmthrift_core.cache.near_misses.lexicon import lemma, part_of_speech
from llmthrift_core.cache.near_misses.words import (
    ARTICLES,
    AUXILIARIES,
    PRONOUNS,
    STOP_WORDS,
    word_set,
)

if TYPE_CHECKING:
    from llmthrift_core.cache.near_misses.facts import Facts

NAMES: Final = (
    "left on both sides", "left on one side only", "kinds or wider", "alike share", "other question", "nothing left", "nouns left",
    "verbs left", "near words left", "other aspects", "conditions left", "subjects left",
)  # fmt: skip
_NEAR: Final = 0.5
_BETWEEN: Final = ARTICLES | PRONOUNS | AUXILIARIES
_CONDITIONS: Final = word_set(
    "for without with as if when during after before in on at from by to while unless of into within under over since until"
)
_ASPECTS: Final = (
    ("cost", word_set("cost costs price prices priced charge charges fee fees expensive cheap cheaper cheapest paid free fare")),
    ("time", word_set("when date time times hour hours deadline due schedule expire expires until long last lasts soon period")),
    ("place", word_set("where place location venue located")),
    ("person", word_set("who whom whose")),
    ("reason", word_set("why reason reasons cause causes")),
)
_FOCUSED: Final = {"when": "time", "where": "place", "who": "person", "why": "reason", "how long": "time", "how many": "number"}


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
    parts = [part_of_speech(word) for word in (*found.mine, *found.theirs)]
    conditions, subjects = map(sum, zip(_roles(left, found.mine), _roles(right, found.theirs), strict=True))
    return (
        float(min(few, 3)),
        0.0 if few else float(min(many, 3)),
        min(sum(each.kind in ("kinds", "wider") for each in found.best), 3) / 2,
        found.alike / max(found.shared, 1),
        float(bool(left.focus and right.focus and left.focus != right.focus)),
        float(not mine and not theirs),
        min(parts.count("n"), 4) / 2,
        min(parts.count("v"), 4) / 2,
        min(sum(each.nearness > _NEAR for each in found.best), 4) / 2,
        float(min(len(_aspects(left) ^ _aspects(right)), 3)),
        min(conditions, 3) / 2,
        min(subjects, 2) / 2,
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


def _roles(facts: Facts, left_over: Sequence[str]) -> tuple[int, int]:
    """How many words that are left over stand in a condition ("for children"), and as who does it ("can children ...")."""
    if not left_over:
        return 0, 0
    conditions = subjects = 0
    is_condition = is_subject = False
    for token in facts.tokens:
        if token in STOP_WORDS:
            is_condition = token in _CONDITIONS or (is_condition and token in _BETWEEN)
            is_subject = token in AUXILIARIES or (is_subject and token in ARTICLES)
        elif lemma(token) in left_over:
            conditions += is_condition
            subjects += is_subject
        else:
            is_condition = is_subject = False
    return conditions, subjects


def _aspects(facts: Facts) -> frozenset[str]:
    """What of a thing is asked for: its cost, time, place, number, maker or reason."""
    return frozenset(aspect for aspect, words in _ASPECTS if not words.isdisjoint(facts.words)) | (
        frozenset({_FOCUSED[facts.focus]}) if facts.focus in _FOCUSED else frozenset()
    )

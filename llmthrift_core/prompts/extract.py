"""The sentences of a document that a question is about."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from llmthrift_core.prompts.clauses import clip
from llmthrift_core.prompts.protected import Span, protected_blocks
from llmthrift_core.prompts.relevance import relevance, z_scores
from llmthrift_core.prompts.sentences import sentence_spans
from llmthrift_core.prompts.step import MARK

SENTENCE_VECTORS: Final = 0.3
"""How much vectors count beside words: sentences of one paragraph are about one thing, and words tell them apart."""
_LONG: Final = 2.25
"""A first sentence so many times longer than what may be kept is cut to its clauses."""
_SHORT_TEXT, _LONG_TEXT = 7, 11
"""Sentences: how many of one are kept depends on how clear the answer is, up to the first number fully, from the second on not at all."""
# Fitted on questions in English and German: how scores become chances, and the least chance, times what it is by chance, for which a
# sentence is kept beside the first, so that so large a share is kept on average.
_SHARPNESS, _CLEAR, _CLEAR_BY_SHARE = 1.45, -4.23, 1.345
Piece = tuple[Span, bool]


def pieces_of(text: str) -> list[Piece]:
    """The sentences between blocks of code, JSON and tables, and the blocks, which are fixed: (span, is fixed)."""
    pieces: list[Piece] = []
    at = 0
    for start, end in [*protected_blocks(text), (len(text), len(text))]:
        if at < start:
            pieces += [((at + first, at + last), False) for first, last in sentence_spans(text[at:start])]
        if start < end:
            pieces.append(((start, end), True))
        at = end
    return pieces


def joined(text: str, pieces: list[Piece], kept: set[int], others: Mapping[int, str] | None = None) -> str:
    """The pieces that are kept, in their order, with a mark for each run of others.

    Args:
        others: by place, what stands for a piece.
    """
    others = others or {}
    if len(kept) == len(pieces) and not others:
        return text
    parts: list[str] = []
    cut = ""  # the last piece that was left out since the last one that was kept
    for place, ((start, end), _) in enumerate(pieces):
        if place not in kept:
            if not cut and parts and not parts[-1].endswith(("\n", " ")):
                parts.append(" ")
            cut = text[start:end]
            continue
        if cut:  # what begins a line, such as code, begins one still
            parts.append(f"{MARK}\n" if cut.endswith("\n") else f"{MARK} ")
            cut = ""
        parts.append(others.get(place, text[start:end]))
    return "".join([*parts, MARK] if cut else parts).strip()


def extract(
    text: str,
    question: str,
    most: float,
    count: Callable[[str], int],
    *,
    embedder: Any = None,
    failures: Counter[str] | None = None,
    strict: bool = False,
) -> str:
    """The sentences nearest to the question, until they have about so many tokens, and at least one.

    Args:
        most: tokens.
        count: the tokens of a text.
        strict: never more tokens than that, but for the first sentence.
    """
    pieces = pieces_of(text)
    free = [place for place, (_, is_fixed) in enumerate(pieces) if not is_fixed]
    if not free:
        return text
    sentences = [text[slice(*pieces[place][0])] for place in free]
    scores = relevance(question, sentences, embedder, failures, vectors=SENTENCE_VECTORS) if question.strip() else [0.0] * len(free)
    kept = set(range(len(pieces))) - set(free)
    left = most - sum(count(text[slice(*pieces[place][0])]) for place in kept)
    sizes = [count(sentence) + 1 for sentence in sentences]  # and a mark
    order = sorted(range(len(free)), key=lambda at: (-scores[at], at))
    first = order[0]
    longest = left if strict else _LONG * left
    clipped = ""
    if question.strip() and sizes[first] > longest > 0:
        clipped = clip(sentences[first], question, longest, count)
        sizes[first] = count(clipped) + 1
    taken = _within(order, sizes, left) if strict else _on_average(order, scores, sizes, left)
    return joined(text, pieces, kept | {free[at] for at in taken}, {free[first]: clipped} if clipped else {})


def _within(order: Sequence[int], sizes: Sequence[int], most: float) -> set[int]:
    """The first in order, and those after it that fit beside it."""
    kept: set[int] = set()
    for at in order:
        if kept and sizes[at] > most:
            break
        kept.add(at)
        most -= sizes[at]
    return kept


def _on_average(order: Sequence[int], scores: Sequence[float], sizes: Sequence[int], most: float) -> set[int]:
    """The first in order, and others, so that texts keep that many tokens on average.

    Of a short text, which has few ways to be cut, fewer sentences stay where it is clear which of them answers, and up to twice as many
    tokens where it is not. Of a long one so many stay each time.
    """
    whole = sum(sizes)
    share = most / whole if whole else 1.0
    chances = _chances(scores)
    slack = min(1.0, max(0.0, (_LONG_TEXT - len(order)) / (_LONG_TEXT - _SHORT_TEXT))) if max(scores) > min(scores) else 0.0
    floor, ceiling = (1 - slack) * most, (1 + slack) * most
    least = math.exp(_CLEAR + _CLEAR_BY_SHARE / share) if share > 0.05 else math.inf
    kept: set[int] = set()
    used = 0.0
    for at in order:
        size = sizes[at]
        if kept and used + (size if slack else size / 2) > ceiling:
            continue
        if kept and used + size / 2 > floor and chances[at] * whole / size < least:
            continue
        kept.add(at)
        used += size
    return kept


def _chances(scores: Sequence[float]) -> list[float]:
    """How likely each sentence is the one that answers."""
    found = z_scores(scores)
    top = max(found)
    weights = [math.exp(_SHARPNESS * (score - top)) for score in found]
    total = sum(weights)
    return [weight / total for weight in weights]

"""The sentences of a document that a question is about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from llmthrift_core.prompts.clauses import clip
from llmthrift_core.prompts.protected import Span, protected_blocks
from llmthrift_core.prompts.relevance import relevance
from llmthrift_core.prompts.sentences import sentence_spans
from llmthrift_core.prompts.step import MARK

SENTENCE_VECTORS: Final = 0.3
"""How much vectors count beside words: sentences of one paragraph are about one thing, and words tell them apart."""
_LONG: Final = 2.5
"""A first sentence so many times longer than what may be kept is cut to its clauses."""
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
    cut = False
    for place, ((start, end), _) in enumerate(pieces):
        if place in kept:
            parts.append(others.get(place, text[start:end]))
            cut = False
        elif not cut:
            if parts and not parts[-1].endswith(("\n", " ")):
                parts.append(" ")
            parts.append(f"{MARK}\n" if text[start:end].endswith("\n") else f"{MARK} ")
            cut = True
    return "".join(parts).strip()


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
    room = 1.0 if strict else _room_of(most / max(count(text), 1))
    order = sorted(range(len(free)), key=lambda at: (-scores[at], at))
    first = order[0]
    longest = left if strict else _LONG * left
    tokens = count(sentences[first]) + 1  # and a mark
    clipped = ""
    if question.strip() and tokens > longest > 0:
        clipped = clip(sentences[first], question, longest, count)
        tokens = count(clipped) + 1
    kept.add(free[first])
    left -= tokens
    for at in order[1:]:
        tokens = count(sentences[at]) + 1
        if tokens * room > left:
            break
        kept.add(free[at])
        left -= tokens
    return joined(text, pieces, kept, {free[first]: clipped} if clipped else {})


def _room_of(share: float) -> float:
    """The part of a sentence that must fit for it to be taken: so the share is kept on average, and sentences stay whole.

    Of a small share the first sentence alone, which always stays, takes more than its part.
    """
    return min(1.3, max(0.5, 1.7 - 2.33 * share))

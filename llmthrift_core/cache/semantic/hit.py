"""What a lookup by meaning gives back, and how it explains itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmthrift_core.cache.entry import Entry


@dataclass(frozen=True, slots=True)
class SemanticHit:
    """An answer from the cache.

    Attributes:
        answer: the stored answer.
        kind: "exact" for an equal question, else "semantic".
        matched: the question that the answer was given to.
        similarity: how sure it is that the two questions are one, from 0 to 1: the cosine of their embeddings and how their words lie side
            by side. 1 for an equal one. Beyond English, German, Spanish and French it is the cosine.
        id: for `SemanticCache.feedback`.
        entry: the payload, model and usage, for doors that serve more than text.
    """

    answer: str
    kind: Literal["exact", "semantic"]
    matched: str
    similarity: float
    id: str
    entry: Entry


@dataclass(frozen=True, slots=True)
class Considered:
    """One cached question that was looked at.

    Attributes:
        refused: what the near-miss guard says against it, or None.
        shares_answer: whether it has the answer that most of the neighbourhood shares.
    """

    question: str
    similarity: float
    refused: str | None
    shares_answer: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a question is answered from the cache or not.

    Attributes:
        decision: "hit", "shadow" or "miss".
        reason: in words.
        risk: the estimated probability that the answer would be wrong; None where it is not known.
        considered: the nearest cached questions, the nearest first.
    """

    decision: str
    reason: str
    risk: float | None
    considered: tuple[Considered, ...]

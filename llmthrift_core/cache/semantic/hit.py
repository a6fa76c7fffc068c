"""The result of a lookup by meaning, and its explanation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from llmthrift_core.cache.entry import Entry
from llmthrift_core.cache.semantic.features import Candidate


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


class Served(NamedTuple):
    """A hit, for the feedback on it. `candidate`: what the policy learns of; None where it does not."""

    place: bytes
    number: int
    candidate: Candidate | None


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
        scope: which one this is of, in words; "" where one was named.
    """

    decision: str
    reason: str
    risk: float | None
    considered: tuple[Considered, ...]
    scope: str = ""


def hit_id_of(number: int, key: bytes, chance: int) -> str:
    """The id of a hit on an entry, by its number and key; `chance` tells hits apart."""
    return f"{number:x}-{key.hex()[:12]}-{chance:x}"


def parts_of(hit_id: str) -> tuple[int, str]:
    """The number of the entry in the id of a hit, and the beginning of its key; what fits no entry for any other text."""
    number, _, rest = hit_id.partition("-")
    try:
        found = int(number, 16)
    except ValueError:
        return -1, "?"
    return found if found < 1 << 63 else -1, rest.partition("-")[0] or "?"  # a database asked for more would raise

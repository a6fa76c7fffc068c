"""Says when two questions that look alike are not the same question, by their words alone: no model, no network."""

from __future__ import annotations

from llmthrift_core.cache.near_misses.comparing import difference
from llmthrift_core.cache.near_misses.facts import Facts
from llmthrift_core.cache.near_misses.verifier import score

__all__ = ["Facts", "near_miss", "score"]


def near_miss(a: str, b: str) -> str | None:
    """Why `b` must not be answered with the answer to `a`, or None if nothing speaks against it.

    `Facts.of(text)` keeps what is needed of one text for many comparisons.
    """
    return difference(Facts.of(a), Facts.of(b))

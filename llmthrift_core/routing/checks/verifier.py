"""Checks that decide by themselves, beside those that a cascade weighs and learns from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Finding:
    """What a verifier says of an answer.

    Attributes:
        score: 0 to 1.
        reason: why, in words that fit a ledger row: it must not quote the answer.
    """

    score: float
    reason: str


@runtime_checkable
class Verifier(Protocol):
    """A check whose word is final: an answer with a score below its own threshold is not kept, whatever the other checks say.

    Verifiers take no part in `Cascade.fit`. Those that ask a model (`waits`) are asked last, in their order, only about answers that
    everything else accepts, and not about answers that call tools or that their reader has already seen.

    Attributes:
        name: with its options, for reasons and for the version of a cascade.
        accepts_from: the score from which an answer may be kept, 0 to 1.
        waits: a model is asked.
    """

    @property
    def name(self) -> str: ...

    @property
    def accepts_from(self) -> float: ...

    @property
    def waits(self) -> bool: ...

    def __call__(self, prompt: str, answer: str, context: Mapping[str, Any]) -> Finding | None:
        """The finding; None where it cannot say: the other checks decide then."""
        ...

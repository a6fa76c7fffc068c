"""A plan for one request: which prefix to write or refresh, on which terms, what that should save, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from llmthrift_core.display import counted, usd
from llmthrift_core.prompt_caching.prefix_tree import Node
from llmthrift_core.prompt_caching.terms import CacheTerms


@dataclass(frozen=True, slots=True)
class Plan:
    """What to mark in a request.

    Attributes:
        marked_tokens: the prefix to write or to refresh, in tokens; 0 to mark nothing.
        marked_blocks: the same in blocks.
        marks: after how many blocks to put a mark, as many as the terms allow; the last is the end of the prefix.
        terms: the terms on which to write; None where nothing is marked.
        read_tokens: of the prefix, what the provider should still have.
        written_tokens: of the prefix, what it does not have.
        total_tokens: of the request.
        expected_saving: what reading and writing should save against no caching, in input tokens.
        input_usd_per_million: the price of an input token, where the planner knows it.
    """

    marked_tokens: int
    marked_blocks: int
    marks: tuple[int, ...]
    terms: CacheTerms | None
    read_tokens: int
    written_tokens: int
    total_tokens: int
    expected_saving: float
    input_usd_per_million: Decimal | None
    kept_back: str = field(repr=False)
    trust: float = field(repr=False)
    at_seconds: float = field(repr=False)
    path: Sequence[Node] = field(repr=False, compare=False)

    @property
    def expected_saving_usd(self) -> Decimal | None:
        """The expected saving in dollars; None where the input price is not known."""
        if self.input_usd_per_million is None:
            return None
        return Decimal(str(round(self.expected_saving, 3))) * self.input_usd_per_million / 1_000_000

    @property
    def reason(self) -> str:
        """Why, in a sentence or two, with tokens and dollars."""
        parts = []
        if self.read_tokens:
            parts.append(f"{counted(self.read_tokens, 'token is', 'tokens are')} kept and will be read")
        if self.written_tokens and self.terms is not None:
            parts.append(
                f"writing {counted(self.written_tokens, 'token')} for {_life(self.terms.ttl_seconds)} at {self.terms.write:g}x should pay"
            )
        if self.kept_back:
            parts.append(self.kept_back)
        if self.trust < 0.9:
            parts.append(f"reads count for {self.trust:.0%}, as far as the provider has billed them")
        text = "; ".join(parts) or "nothing to mark"
        if self.expected_saving_usd is not None and self.marked_tokens:
            text += f"; expected saving {usd(self.expected_saving_usd)}"
        return text


def _life(seconds: float) -> str:
    return f"{seconds / 3600:g} h" if seconds >= 3600 else f"{seconds / 60:g} min"

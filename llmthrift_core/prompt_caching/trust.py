"""How far a provider bills as planned: learned from the usage of planned requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmthrift_core.display import counted

if TYPE_CHECKING:
    from llmthrift_core.prompt_caching.plan import Plan

# As many tokens as expected count for nothing yet; and what lies further back than so many is forgotten.
_DOUBT_TOKENS: Final = 20_000.0
_MEMORY_TOKENS: Final = 2_000_000.0


@dataclass(slots=True)
class Trust:
    """What the provider read and wrote beside what was planned, in tokens.

    Attributes:
        expected, read: what should have been read, and of it what was.
        planned, written: what should have been written, and what was.
        unasked: written without being asked.
        unexpected: read though it was taken to have expired.
        requests: how many were observed.
        sent, counted: of these, the tokens as the plans count them, and as the provider does.
    """

    expected: float = 0.0
    read: float = 0.0
    planned: float = 0.0
    written: float = 0.0
    unasked: float = 0.0
    unexpected: float = 0.0
    requests: int = 0
    sent: float = 0.0
    counted: float = 0.0

    @property
    def scale(self) -> float:
        """The provider's tokens for one of the plans'."""
        return self.counted / self.sent if self.sent and self.counted else 1.0

    @property
    def share(self) -> float:
        """The share of expected reads that were billed as reads; 1 until something else is known."""
        return min(1.0, (self.read + _DOUBT_TOKENS) / (self.expected + _DOUBT_TOKENS))

    def note(self, plan: Plan, read: int, written: int) -> None:
        """Take in one request."""
        self.requests += 1
        self.expected += plan.read_tokens
        self.read += min(read, plan.read_tokens)
        self.unexpected += max(0, read - plan.read_tokens)
        self.planned += plan.written_tokens
        self.written += min(written, plan.written_tokens)
        self.unasked += max(0, written - (plan.marked_tokens - min(read, plan.marked_tokens)))
        if self.expected > _MEMORY_TOKENS:
            self.expected, self.read = self.expected / 2, self.read / 2

    def findings(self) -> list[str]:
        """Where the provider bills otherwise than planned, in sentences; empty where it does not."""
        found = []
        if self.share < 0.9:
            found.append(
                f"Of {counted(round(self.expected), 'token')} that should have been read, {self.read:,.0f} were: plans count on "
                f"{self.share:.0%}."
            )
        if self.planned > _DOUBT_TOKENS and self.written < self.planned / 2:
            found.append(
                f"Of {counted(round(self.planned), 'token')} that were marked for writing, {self.written:,.0f} were billed as written."
            )
        if self.unasked > _DOUBT_TOKENS:
            found.append(
                f"{counted(round(self.unasked), 'token was', 'tokens were')} written that no plan had marked: the provider caches "
                "by itself."
            )
        if self.unexpected > _DOUBT_TOKENS:
            found.append(
                f"{counted(round(self.unexpected), 'token was', 'tokens were')} read that should have expired: the provider keeps "
                "prefixes longer."
            )
        return found

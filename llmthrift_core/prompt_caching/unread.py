"""Writes to the prompt cache that nobody read before they expired, and what they cost."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from llmthrift_core.prompt_caching.prefix_tree import Node

# Of a planner whose losses nobody takes, so many call sites are kept.
_MOST_SITES: Final = 1_000
_MOST_AT_ONCE: Final = 8


class Write(NamedTuple):
    """A run that was written.

    Attributes:
        until: when it expires unless it is read.
        premium: what a token of it cost above an ordinary one.
        call_site: that wrote it.
    """

    until: float
    premium: float
    call_site: str | None


class UnreadWrites:
    """The writes that wait for a read, in the order in which they were made."""

    __slots__ = ("_lost", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[tuple[Write, Node]] = deque()
        self._lost: dict[str | None, float] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, node: Node, write: Write) -> None:
        """A run was written."""
        node.unread = write
        self._waiting.append((write, node))

    def settle(self, now: float) -> None:
        """Count what has expired. Lives differ, so that a short one may be counted when a longer one before it is."""
        left = _MOST_AT_ONCE
        while left and self._waiting and (self._waiting[0][0].until < now or self._waiting[0][1].unread is not self._waiting[0][0]):
            left -= 1
            write, node = self._waiting.popleft()
            if node.unread is write:
                node.unread = None
                if write.call_site in self._lost or len(self._lost) < _MOST_SITES:
                    self._lost[write.call_site] = self._lost.get(write.call_site, 0.0) + write.premium * node.tokens

    def take(self, call_site: str | None) -> float:
        """What the writes of a call site have cost in vain since this was last asked, in input tokens."""
        return self._lost.pop(call_site, 0.0)

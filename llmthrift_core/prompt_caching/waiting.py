"""When it is known whether a prefix comes back: pauses between two uses, and the questions that wait for an answer.

A prefix that came back did so at a known time; one that did not might still. So that neither is counted early, an outcome counts only after
the median pause, one that has not come back by then counts as half a negative, and as a whole one once nearly all would have come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import log
from typing import Any, Final

from llmthrift_core.prompt_caching.prefix_tree import Node

_CLASSES: Final = 64  # two an octave: from a second to half a lifetime
_RENEW_EVERY: Final = 128
_FORGET_AT: Final = 4096
_HALF: Final = 0.5
_NEARLY_ALL: Final = 0.97
_MARGIN: Final = 1.5
_SHORTEST_SECONDS: Final = 10.0
# So that the work of one plan stays small; most plans ask two questions, each of which is counted once or twice.
_MOST_AT_ONCE: Final = 5
_MOST_DUE: Final = 10_000


class Pauses:
    """How long it takes until a prefix comes back.

    Attributes:
        median_seconds: after this half of those that come back have.
        patience_seconds: after this one that has not come back is taken not to.
    """

    __slots__ = ("counts", "events", "longest_seconds", "median_seconds", "patience_seconds")

    def __init__(self, longest_seconds: float) -> None:
        self.longest_seconds = longest_seconds
        self.counts = [1.0 if _SHORTEST_SECONDS <= 2 ** (index / 2) <= longest_seconds else 0.0 for index in range(_CLASSES)]
        self.events = 0
        self.median_seconds = self.patience_seconds = longest_seconds
        self.renew()

    def add(self, seconds: float) -> None:
        """Note a pause."""
        self.counts[min(_CLASSES - 1, int(2.885 * log(max(0.0, seconds) + 1)))] += 1
        self.events += 1
        if self.events % (16 if self.events < _RENEW_EVERY else _RENEW_EVERY) == 0:
            self.renew()
        if self.events > _FORGET_AT:
            self.counts = [count / 2 for count in self.counts]
            self.events //= 2

    def renew(self) -> None:
        """Compute both times again."""
        total, below, median = sum(self.counts), 0.0, self.longest_seconds
        index = 0
        for index, count in enumerate(self.counts):
            if below < _HALF * total <= below + count:
                median = 2 ** ((index + 1) / 2)
            below += count
            if below >= _NEARLY_ALL * total:
                break
        self.median_seconds = min(self.longest_seconds / 2, median)
        self.patience_seconds = min(self.longest_seconds, max(self.median_seconds, _MARGIN * 2 ** ((index + 1) / 2)))


class Question:
    """Whether a prefix comes back: what was known when it was sent.

    Attributes:
        at_seconds: when.
        kind, circumstances, siblings: see `ReuseModel`.
        origin: the node behind which it began, whose record of what came back it belongs to.
        counted: how much of a negative it was counted for so far.
        worths: what a write was worth under each of the terms; empty while it has not come back.
    """

    __slots__ = ("at_seconds", "circumstances", "counted", "kind", "origin", "siblings", "worths")

    def __init__(self, at_seconds: float, kind: str, circumstances: tuple[Any, ...], siblings: float, origin: Node | None) -> None:
        self.at_seconds = at_seconds
        self.kind = kind
        self.circumstances = circumstances
        self.siblings = siblings
        self.origin = origin
        self.counted = 0.0
        self.worths: tuple[float, ...] = ()

    def answered(self, worths: tuple[float, ...]) -> Question:
        """The same question with its answer, where a part of the run went on and the rest still waits."""
        copy = Question(self.at_seconds, self.kind, self.circumstances, self.siblings, self.origin)
        copy.counted, copy.worths = self.counted, worths
        return copy


class Waiting:
    """Questions in the order in which they were asked."""

    __slots__ = ("_answered", "_due", "_late", "_open", "pauses")

    def __init__(self, pauses: Pauses) -> None:
        self.pauses = pauses
        self._open: deque[tuple[float, Node]] = deque()
        self._late: deque[tuple[float, Node]] = deque()
        self._answered: deque[Question] = deque()
        self._due: deque[Question] = deque(maxlen=_MOST_DUE)

    def __len__(self) -> int:
        return len(self._open) + len(self._late) + len(self._answered) + len(self._due)

    def ask(self, node: Node, question: Question) -> None:
        """Begin to wait."""
        node.asked = question
        self._open.append((question.at_seconds, node))

    def answer(self, question: Question, now: float, worths: tuple[float, ...]) -> None:
        """It came back: that counts at the time at which others are counted."""
        pause = now - question.at_seconds
        self.pauses.add(pause)
        (self._due if pause >= self.pauses.median_seconds else self._answered).append(question.answered(worths))

    def settle(self, now: float, count: Callable[[Question, float], None]) -> None:
        """Count what is due, and only so much that it takes no time."""
        median, patience = self.pauses.median_seconds, self.pauses.patience_seconds
        left = _MOST_AT_ONCE
        while left and self._due:
            left -= 1
            question = self._due.popleft()
            count(question, 1 - question.counted)
        while left and self._answered and now - self._answered[0].at_seconds >= median:
            left -= 1
            question = self._answered.popleft()
            count(question, 1 - question.counted)
        for waiting, age, total in ((self._late, patience, 1.0), (self._open, median, _HALF)):
            while left and waiting and now - waiting[0][0] >= age:
                at_seconds, node = waiting.popleft()
                asked = node.asked
                if asked is None or asked.at_seconds != at_seconds or asked.counted >= total:
                    continue
                left -= 1
                count(asked, total - asked.counted)
                asked.counted = total
                if total < 1:
                    self._late.append((at_seconds, node))

"""A cheap and a strong model, and a judge, as the loopback provider plays them for cascades with checks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from llmthrift_core import Thrift
from llmthrift_core.testing.answers import Answer, Question, ToolCall

WEAK, STRONG, JUDGE = "gpt-4o-mini", "gpt-4o", "gpt-4.1-mini"
SOUND, BETTER = "Oslo is the capital of Norway.", "The capital of Norway is Oslo."
ASKED: Final = "What is the capital of Norway?"
ESCALATED: Final = [("weak", None), ("strong", "escalation")]
KEPT: Final = [("weak", None)]


def of_both(*, weak: Answer, strong: Answer) -> Callable[[Question], Answer]:
    """The weak model gives one answer, the strong one another."""
    return lambda question: weak if question.model == WEAK else strong


class Judging:
    """The weak model answers soundly, and a judge says of it what it is told to say: a score from 0 to 10, or any text."""

    def __init__(self, says: int | str | Exception) -> None:
        self.says = says
        self.asked: list[str] = []
        self.go = threading.Event()
        self.waits = False

    def __call__(self, question: Question) -> Answer:
        if question.model != JUDGE:
            return Answer(SOUND if question.model == WEAK else BETTER)
        self.asked.append(question.last_user_text)
        if self.waits:
            self.go.wait(20)
        if isinstance(self.says, Exception):
            raise self.says
        code = question.last_user_text.split()[-1]
        return Answer(f"{code} {self.says}" if isinstance(self.says, int) else self.says)

    @property
    def times(self) -> int:
        """How often the judge was asked."""
        return len(self.asked)


def calling(tool: str, raw: str | None = None, **arguments: object) -> Answer:
    """An answer that calls a tool."""
    return Answer(tool_calls=(ToolCall(tool, arguments),), raw_arguments=raw)


def answers(thrift: Thrift) -> list[tuple[str, str | None]]:
    """Which model answered or was asked for checks' sake, and why, in the order of the ledger."""
    thrift.flush()
    found = sorted((row for row in thrift.ledger.calls() if row.request_type is None), key=lambda row: (row.at_us, row.attempt))
    return [("weak" if WEAK in row.model else "strong", row.attempt_reason) for row in found]


def asked_for_checks(thrift: Thrift) -> list[tuple[str, str | None, str | None]]:
    """(model, user, request type) of what checks asked."""
    thrift.flush()
    rows = [row for row in thrift.ledger.calls() if row.request_type is not None]
    return sorted((next(name for name in (WEAK, JUDGE, STRONG) if row.model.startswith(name)), row.user, row.request_type) for row in rows)


def reason_of_escalation(thrift: Thrift) -> str:
    """What the ledger says of why the strong model was asked."""
    thrift.flush()
    return next(str(row.route_reason) for row in thrift.ledger.calls() if row.attempt_reason == "escalation")


def threads_end() -> None:
    """Wait for reviews, and for what they ask."""
    for thread in threading.enumerate():
        if thread.name in ("llmthrift-asking", "llmthrift-review"):
            thread.join(20)


def gone_but_paid(thrift: Thrift) -> None:
    """A caller went while a judge was thinking: the weak answer is settled and recorded, and nothing else is begun."""
    thrift.flush()
    (row,) = (row for row in thrift.ledger.calls() if row.request_type is None)
    assert (row.error, row.output_tokens > 0, row.cost_nano_usd > 0) == ("CancelledError", True, True)
    assert thrift.budgets.holds() == []
    (status,) = thrift.budgets.status()
    assert status["spent"] * 10**9 == sum(each.cost_nano_usd for each in thrift.ledger.calls())

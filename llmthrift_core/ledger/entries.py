"""What the ledger writes beside calls: captured text, other costs, feedback."""

from __future__ import annotations

from typing import Any, NamedTuple

from llmthrift_core.attribution import Attribution
from llmthrift_core.ledger.record import CallRecord, tags_json


class Capture(NamedTuple):
    """The text of one call, redacted already. In the order of the table `captures`."""

    request_id: str
    at_us: int
    user: str | None
    prompt: str | None
    answer: str | None


class OtherCost(NamedTuple):
    """A cost that is not a model call."""

    request_id: str
    at_us: int
    kind: str
    cost_nano_usd: int
    attribution: Attribution

    def values(self) -> tuple[Any, ...]:
        """The row, in the order of INSERT_OTHER_COSTS; unknown is ''."""
        who = self.attribution
        return (
            self.request_id,
            self.at_us,
            self.kind,
            self.cost_nano_usd,
            who.user or "",
            who.feature or "",
            who.session or "",
            who.run or "",
            who.request_type or "",
            who.prompt_version or "",
            who.config_version or "",
            who.call_site or "",
            tags_json(who.tags) if who.tags else "",
        )


class Feedback(NamedTuple):
    """A judgement of an answer. In the order of INSERT_FEEDBACK; quality is millionths of 0..1."""

    request_id: str
    at_us: int
    quality: int
    source: str | None
    comment: str | None


Entry = CallRecord | Capture | OtherCost | Feedback

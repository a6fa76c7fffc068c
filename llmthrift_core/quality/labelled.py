"""Judged calls with their text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, select

from llmthrift_core.ledger.judged import JudgedCall, read_judged, read_reviewed
from llmthrift_core.storage.tables import captures

_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class LabelledCall:
    """A judged call and what is stored of its text.

    Attributes:
        judged: the call and its quality.
        prompt, answer: None where no text is stored.
    """

    judged: JudgedCall
    prompt: str | None
    answer: str | None


def read_labelled(connection: Connection, *, since_us: int | None, escalations: bool) -> Iterator[LabelledCall]:
    """The judged calls from `since_us` on.

    Args:
        escalations: also what nobody judged but a cascade reviewed, with its confidence as the quality.
    """
    judged = list(read_judged(connection, since_us=since_us, until_us=None))
    if escalations:
        known = {each.call["request_id"] for each in judged}
        reviewed = read_reviewed(connection, since_us=since_us)
        judged += [each for each in reviewed if each.call["request_id"] not in known]
    for start in range(0, len(judged), _BATCH):
        yield from _with_text(connection, judged[start : start + _BATCH])


def _with_text(connection: Connection, judged: Sequence[JudgedCall]) -> Iterator[LabelledCall]:
    query = select(captures.c.request_id, captures.c.prompt, captures.c.answer).where(
        captures.c.request_id.in_({each.call["request_id"] for each in judged})
    )
    texts = {request_id: (prompt, answer) for request_id, prompt, answer in connection.execute(query)}
    for each in judged:
        yield LabelledCall(each, *texts.get(each.call["request_id"], (None, None)))

"""Judged calls with what is stored of their text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, select

from llmthrift_core.ledger.judged import JudgedCall, read_judged, read_reviewed
from llmthrift_core.lexical import from_bytes
from llmthrift_core.storage.tables import calls, captures

_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class LabelledCall:
    """A judged call and what is stored of its text.

    Attributes:
        judged: the call and its quality.
        prompt, answer: None where no text is stored.
        counts: of the question, see `llmthrift_core.lexical`; None where they are not stored.
    """

    judged: JudgedCall
    prompt: str | None
    answer: str | None
    counts: tuple[float, ...] | None


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
    query = (
        select(calls.c.request_id, captures.c.prompt, captures.c.answer, calls.c.lexical_counts)
        .select_from(calls.outerjoin(captures, captures.c.request_id == calls.c.request_id))
        .where(calls.c.request_id.in_({each.call["request_id"] for each in judged}))
    )
    stored = {request_id: texts for request_id, *texts in connection.execute(query)}
    for each in judged:
        prompt, answer, counts = stored[each.call["request_id"]]
        yield LabelledCall(each, prompt, answer, None if counts is None else from_bytes(counts))

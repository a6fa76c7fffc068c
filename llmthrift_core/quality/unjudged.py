"""Recorded answers whose text is known and that no judge has judged yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from sqlalchemy import Connection, bindparam, exists, select

from llmthrift_core.ledger.judged import BY_APPLICATION, SOURCE_PREFIX, within
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import calls, captures, feedback

_GET_TEXTS: Final = Statement(select(captures.c.prompt, captures.c.answer).where(captures.c.request_id == bindparam("of_request")))


class Unjudged(NamedTuple):
    """A call that may be judged."""

    request_id: str
    feature: str | None
    prompt_version: str | None


def read_unjudged(connection: Connection, *, since_us: int, until_us: int) -> Iterator[Unjudged]:
    """Whole answers of [since_us, until_us), rejected ones of cascades included, without those that judges and routers asked for. Hits have
    no answer of their own."""
    judged = exists().where(feedback.c.request_id == calls.c.request_id, feedback.c.source.startswith(SOURCE_PREFIX))
    query = (
        select(calls.c.request_id, calls.c.feature, calls.c.prompt_version)
        .select_from(calls.join(captures, captures.c.request_id == calls.c.request_id))
        .where(*within(since_us, until_us), BY_APPLICATION, calls.c.error.is_(None), captures.c.answer.is_not(None), ~judged)
    )
    for row in connection.execute(query):
        yield Unjudged(*row)


def texts_of(database: Database, request_id: str) -> tuple[str, str] | None:
    """The prompt and the answer; None where they were deleted meanwhile."""
    row = database.fetch_one(_GET_TEXTS, (request_id,))
    return None if row is None or row[1] is None else (row[0] or "", row[1])

"""Calls with what was said about their answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, bindparam, exists, func, or_, select

from llmthrift_core.lexical import from_bytes
from llmthrift_core.model_calls.models import OWN_REQUEST_TYPES
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import calls, captures, feedback

SOURCE_PREFIX: Final = "judge:"
"""Of the sources of an `Evaluation`."""
BY_APPLICATION: Final = or_(calls.c.request_type.is_(None), calls.c.request_type.not_in(OWN_REQUEST_TYPES))
"""A condition: without what judges and routers asked for themselves."""
_COLUMNS: Final = (
    calls.c.id,
    calls.c.request_id,
    calls.c.call_id,
    calls.c.at_us,
    calls.c.error,
    calls.c.tools_called,
    calls.c.model,
    calls.c.provider,
    calls.c.user,
    calls.c.feature,
    calls.c.session,
    calls.c.run,
    calls.c.request_type,
    calls.c.prompt_version,
    calls.c.config_version,
    calls.c.call_site,
    calls.c.tags,
    calls.c.cache,
    calls.c.tier,
    calls.c.escalated,
    calls.c.input_tokens,
    calls.c.output_tokens,
    calls.c.latency_us,
    calls.c.cost_nano_usd,
    calls.c.prompt_hash,
)
_BATCH: Final = 500
_LONGEST_CALL_US: Final = 3_600_000_000
_MILLION: Final = 1_000_000
_GET_TEXTS: Final = Statement(select(captures.c.prompt, captures.c.answer).where(captures.c.request_id == bindparam("of_request")))


@dataclass(frozen=True, slots=True)
class JudgedCall:
    """One answer.

    Attributes:
        call: columns of the table `calls`, by name.
        quality: the mean of the last judgement by each source, or the confidence of a cascade.
    """

    call: Mapping[str, Any]
    quality: float

    @property
    def tags(self) -> Mapping[str, str]:
        """The call's tags."""
        return tags_of(self.call["tags"])


@lru_cache(maxsize=4096)
def tags_of(text: str | None) -> Mapping[str, str]:
    """Tags as they are stored."""
    found: dict[str, str] = json.loads(text) if text else {}
    return found


def read_judged(
    connection: Connection, *, since_us: int | None, until_us: int | None, source: str | None = None, where: Sequence[Any] = ()
) -> Iterator[JudgedCall]:
    """The judged calls of [since_us, until_us), in no order that matters, without what judges and routers asked for themselves.

    What is said about an attempt that failed is meant for the answer that the caller got in the end: the last attempt of that call. So is
    what is said where a cascade rejected the answer, which the caller never saw; but an `Evaluation` judges the answer that it was shown.

    Args:
        source: only judgements by sources that begin so, such as "judge:".
        where: further conditions on the table `calls`.
    """
    query = (
        select(*_COLUMNS, feedback.c.source, feedback.c.quality)
        .select_from(calls.join(feedback, feedback.c.request_id == calls.c.request_id))
        .where(*within(since_us, until_us), BY_APPLICATION, *where)
        .order_by(feedback.c.request_id, feedback.c.id)  # by its index: in the order of calls, SQLite would look at every call
    )
    if source is not None:
        query = query.where(func.substr(feedback.c.source, 1, len(source)) == source)
    unseen: list[JudgedCall] = []
    for _, rows in groupby(connection.execute(query).mappings(), key=lambda row: row["id"]):
        last: dict[str | None, int] = {}
        for row in rows:
            last[row["source"]] = row["quality"]
        of_caller = {source for source in last if row["error"] is not None or (row["escalated"] and not _is_judge(source))}
        if own := [quality for source, quality in last.items() if source not in of_caller]:
            yield JudgedCall(_call(row), _mean(own))
        if of_caller:
            unseen.append(JudgedCall(_call(row), _mean([last[source] for source in of_caller])))
    yield from _answering(connection, unseen)


def read_reviewed(connection: Connection, *, since_us: int | None, where: Sequence[Any] = ()) -> Iterator[JudgedCall]:
    """The answers from `since_us` on that a cascade kept or rejected, with its confidence as their quality."""
    query = (
        select(*_COLUMNS, calls.c.confidence)
        .where(*within(since_us, None), BY_APPLICATION, calls.c.confidence.is_not(None), calls.c.error.is_(None), *where)
        .order_by(calls.c.id)
    )
    for row in connection.execute(query).mappings():
        yield JudgedCall(_call(row), row["confidence"])


def count_unknown(connection: Connection, *, since_us: int | None, until_us: int | None) -> int:
    """Judgements of calls that are not in the ledger: mistyped ids, or calls that were pruned."""
    query = (
        select(func.count()).select_from(feedback.outerjoin(calls, calls.c.request_id == feedback.c.request_id)).where(calls.c.id.is_(None))
    )
    if since_us is not None:
        query = query.where(feedback.c.at_us >= since_us)
    if until_us is not None:
        query = query.where(feedback.c.at_us < until_us)
    return int(connection.execute(query).scalar_one())


def within(since_us: int | None, until_us: int | None) -> list[ColumnElement[bool]]:
    """The period, as conditions on the table `calls`."""
    conditions = []
    if since_us is not None:
        conditions.append(calls.c.at_us >= since_us)
    if until_us is not None:
        conditions.append(calls.c.at_us < until_us)
    return conditions


def _is_judge(source: str | None) -> bool:
    return source is not None and source.startswith(SOURCE_PREFIX)


def _mean(qualities: Sequence[int]) -> float:
    return sum(qualities) / len(qualities) / _MILLION


def _call(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {column.name: row[column.name] for column in _COLUMNS}


def _answering(connection: Connection, unseen: Sequence[JudgedCall]) -> Iterator[JudgedCall]:
    """The same judgements on the last attempt of each call, where it has an answer."""
    for start in range(0, len(unseen), _BATCH):
        batch = unseen[start : start + _BATCH]
        times = [judged.call["at_us"] for judged in batch]
        # There is no index on calls: only those soon after are looked through.
        query = (
            select(*_COLUMNS)
            .where(calls.c.call_id.in_({judged.call["call_id"] for judged in batch}))
            .where(
                calls.c.error.is_(None), calls.c.escalated == 0, calls.c.at_us >= min(times), calls.c.at_us < max(times) + _LONGEST_CALL_US
            )
            .order_by(calls.c.attempt)
        )
        last = {row["call_id"]: _call(row) for row in connection.execute(query).mappings()}
        for judged in batch:
            if (answered := last.get(judged.call["call_id"])) is not None:
                yield JudgedCall(answered, judged.quality)


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


def read_questions(connection: Connection, *, since_us: int | None, limit: int) -> list[tuple[str, str | None]]:
    """The stored prompts of the newest calls of the application, each once, with their call sites."""
    query = (
        select(captures.c.prompt, calls.c.call_site)
        .select_from(calls.join(captures, captures.c.request_id == calls.c.request_id))
        .where(*within(since_us, None), BY_APPLICATION, calls.c.error.is_(None), captures.c.prompt.is_not(None))
        .order_by(calls.c.id.desc())
        .limit(limit)
    )
    return list(dict.fromkeys((prompt, site) for prompt, site in connection.execute(query)))


def texts_of(database: Database, request_id: str) -> tuple[str, str] | None:
    """The prompt and the answer; None where they were deleted meanwhile."""
    row = database.fetch_one(_GET_TEXTS, (request_id,))
    return None if row is None or row[1] is None else (row[0] or "", row[1])

"""The calls of doors that follow a configuration, as the ledger has them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, case, func, select

from llmthrift_core.ledger.judged import BY_APPLICATION, read_judged, within
from llmthrift_core.moments import DAY_US
from llmthrift_core.quality.experiments import Unit
from llmthrift_core.statistics import RatioSums
from llmthrift_core.storage.tables import adjustments, calls, feedback
from llmthrift_core.versions.tuning import TAG

MOST_CALLS: Final = 20_000
_COST: Final = func.coalesce(calls.c.cost_nano_usd, adjustments.c.cost_nano_usd)
_OUTPUT_COST: Final = func.coalesce(calls.c.output_cost_nano_usd, adjustments.c.output_cost_nano_usd)
_INPUT_COST: Final = func.coalesce(calls.c.input_cost_nano_usd, adjustments.c.input_cost_nano_usd)
_COLUMNS: Final = (
    "id", "request_id", "at_us", "model", "provider", "tier", "cache", "cache_saved_nano_usd", "prompt_hash", "error", "escalated",
    "input_tokens", "output_tokens", "reasoning_tokens", "cache_read_tokens", "cache_write_tokens", "observed_shortening_nano_usd",
    "observed_prefix_nano_usd", "prefix_plan",
)  # fmt: skip


def of_tuning(name: str, version: int | None = None) -> ColumnElement[bool]:
    """A condition on the table `calls`: the door followed this configuration, in one version or in any."""
    label = json.dumps(f"{name}@" if version is None else f"{name}@{version}", ensure_ascii=False)
    return calls.c.tags.contains(f'"{TAG}":{label[:-1] if version is None else label}', autoescape=True)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is known of the calls of a period, before anything is read of them one by one.

    Attributes:
        requests: how many.
        with_user, with_session: of them, those that name one.
        last_us: of the newest; None: there are none.
        last_request_id: of the newest.
        days: with calls.
    """

    requests: int
    with_user: int
    with_session: int
    last_us: int | None
    last_request_id: str | None
    days: int

    @property
    def unit(self) -> Unit:
        """What most calls name."""
        if self.with_user * 2 > self.requests:
            return "user"
        return "session" if self.with_session * 2 > self.requests else "request"


def read_traffic(connection: Connection, name: str, *, since_us: int, version: int | None = None) -> Traffic:
    """The calls from `since_us` on of doors that follow a configuration."""
    where = [*within(since_us, None), of_tuning(name, version), BY_APPLICATION]
    counted = connection.execute(
        select(
            func.sum(case((calls.c.attempt == 1, 1), else_=0)),
            func.sum(case((calls.c.user.is_not(None) & (calls.c.attempt == 1), 1), else_=0)),
            func.sum(case((calls.c.session.is_not(None) & (calls.c.attempt == 1), 1), else_=0)),
            func.max(calls.c.at_us),
            func.count(func.distinct(calls.c.at_us - calls.c.at_us % DAY_US)),
        ).where(*where)
    ).one()
    requests, users, sessions, last_us, days = (0 if each is None else int(each) for each in counted)
    last = None
    if requests:
        last = connection.execute(select(calls.c.request_id).where(*where, calls.c.at_us == last_us).limit(1)).scalar()
    return Traffic(requests, users, sessions, last_us or None, last, days)


def read_rows(connection: Connection, name: str, *, since_us: int) -> Sequence[Any]:
    """The newest calls from `since_us` on, oldest first."""
    query = (
        select(
            *(calls.c[column] for column in _COLUMNS),
            _COST.label("cost"),
            _OUTPUT_COST.label("output_cost"),
            _INPUT_COST.label("input_cost"),
        )
        .select_from(calls.outerjoin(adjustments, adjustments.c.request_id == calls.c.request_id))
        .where(*within(since_us, None), of_tuning(name), BY_APPLICATION)
        .order_by(calls.c.at_us.desc(), calls.c.id.desc())
        .limit(MOST_CALLS)
    )
    return list(reversed(connection.execute(query).all()))


def is_recorded(connection: Connection, request_id: str) -> bool:
    """Whether a call is still in the ledger."""
    return connection.execute(select(calls.c.id).where(calls.c.request_id == request_id)).first() is not None


@dataclass(frozen=True, slots=True)
class Slice:
    """Judged answers of a part of a period.

    Attributes:
        start_us: of the part.
        quality: of its answers, by unit.
    """

    start_us: int
    quality: RatioSums


def read_quality(
    connection: Connection, name: str, *, since_us: int, slice_us: int, version: int | None = None, source: str | None = None
) -> list[Slice]:
    """The judged answers from `since_us` on in parts, oldest first."""
    units: dict[int, dict[str, list[float]]] = {}
    for judged in read_judged(connection, since_us=since_us, until_us=None, source=source, where=[of_tuning(name, version)]):
        call = judged.call
        of = units.setdefault((call["at_us"] - since_us) // slice_us, {})
        score = of.setdefault(call["user"] or call["session"] or call["call_id"], [0, 0.0])
        score[0] += 1
        score[1] += judged.quality
    found = []
    for number in sorted(units):
        sums = RatioSums()
        for count, quality in units[number].values():
            sums.add(count, quality)
        found.append(Slice(since_us + number * slice_us, sums))
    return found


def disagreement(connection: Connection, name: str, *, since_us: int) -> tuple[int, float]:
    """How many answers several sources judged, and by how much they differ on average."""
    quality = feedback.c.quality
    query = (
        select(func.max(quality), func.min(quality))
        .select_from(calls.join(feedback, feedback.c.request_id == calls.c.request_id))
        .where(*within(since_us, None), of_tuning(name), BY_APPLICATION)
        .group_by(calls.c.request_id)
        .having(func.count(func.distinct(func.coalesce(feedback.c.source, ""))) > 1)
    )
    differences = [(int(high) - int(low)) / 1e6 for high, low in connection.execute(query)]
    return len(differences), sum(differences) / len(differences) if differences else 0.0

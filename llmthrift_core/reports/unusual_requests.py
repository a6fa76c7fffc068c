"""Single requests that took ten times what those of their feature before them did."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from heapq import nlargest
from typing import Any, Final, NamedTuple

from sqlalchemy import bindparam, func, or_, select, text

from llmthrift_core.display import cell, usd
from llmthrift_core.moments import FIRST_US, from_us
from llmthrift_core.money import to_usd
from llmthrift_core.reports.sums import SumsReader
from llmthrift_core.reports.unusual import REQUESTS_BEFORE, RecentRequests
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import COSTLY_NANO_USD, adjustments, calls

_NEWEST: Final = 20_000
_LEAD: Final = 5_000  # rows before them, in which each feature's hundred are looked for
_CANDIDATES: Final = 1_000  # older rows, those that cost most
_CANDIDATE_TIMES: Final = 5  # of its feature's mean: below it is not compared with the hundred before
_MOST_OLDER: Final = 50
_OLDER_LEAD: Final = 1_000
_NOTABLE: Final = 3  # times the mean: tokens below are not what made it dear

# A later price is only looked for where there was none.
_LATER: Final = select(adjustments.c.cost_nano_usd).where(adjustments.c.request_id == calls.c.request_id).scalar_subquery()
_ROWS: Final = select(
    func.coalesce(calls.c.cost_nano_usd, _LATER).label("cost"),
    *(calls.c[name] for name in ("id", "at_us", "feature", "model", "input_tokens", "output_tokens")),
)
_NEWEST_FIRST: Final = (calls.c.at_us.desc(), calls.c.id.desc())
_PERIOD: Final = (calls.c.at_us >= bindparam("since_us"), calls.c.at_us < bindparam("until_us"))
_BEFORE: Final = (calls.c.at_us <= bindparam("at_us"), or_(calls.c.at_us < bindparam("before_us"), calls.c.id < bindparam("before_id")))
_READ_NEWEST: Final = Statement(_ROWS.where(*_PERIOD).order_by(*_NEWEST_FIRST).limit(_NEWEST))
_READ_LEAD: Final = Statement(_ROWS.where(*_BEFORE).order_by(*_NEWEST_FIRST).limit(_LEAD))
# The index has only those that cost a cent, which the term as it stands there tells.
_COSTLY: Final = calls.c.cost_nano_usd >= text(str(COSTLY_NANO_USD))
_READ_CANDIDATES: Final = Statement(_ROWS.where(_COSTLY, *_PERIOD).order_by(calls.c.cost_nano_usd.desc()).limit(_CANDIDATES))
_AROUND: Final = _ROWS.where(*_BEFORE).order_by(*_NEWEST_FIRST).limit(_OLDER_LEAD).subquery()
_READ_BEFORE: Final = Statement(
    select(_AROUND).where(func.coalesce(_AROUND.c.feature, "") == bindparam("feature")).order_by(_AROUND.c.at_us, _AROUND.c.id)
)


class _Row(NamedTuple):
    cost: int | None
    id: int
    at_us: int
    feature: str | None
    model: str
    input_tokens: int
    output_tokens: int


class _Found(NamedTuple):
    row: _Row
    mean: float
    score: float
    before: Sequence[_Row]


@dataclass(frozen=True, slots=True)
class UnusualRequest:
    """A request, what those before it took, and what was different about it."""

    request_id: str
    feature: str | None
    at: datetime
    value_usd: Decimal
    expected_usd: Decimal
    score: float
    why: str


def unusual_requests(database: Database, *, since_us: int | None, until_us: int, most: int) -> list[UnusualRequest]:
    """Model calls that were paid for in [since_us, until_us), each compared with up to a hundred of its feature before it.

    The newest 20,000 rows are looked at one by one. Of older ones in the period those that cost a cent, and five times what the calls of
    their feature took on average: the fifty that cost most.

    Args:
        since_us: None looks at the newest rows only.
        most: those that took most beyond what was expected.

    Raises:
        StorageError: the database cannot be read.
    """
    newest = database.fetch_all(_READ_NEWEST, _READ_NEWEST.in_order(since_us=FIRST_US if since_us is None else since_us, until_us=until_us))
    if not newest:
        return []
    oldest = _Row(*newest[-1])
    found = list(_unusual(database.fetch_all(_READ_LEAD, _before(_READ_LEAD, oldest)), newest))
    if since_us is not None and len(newest) == _NEWEST:
        found += _older(database, since_us, oldest.at_us)
    return _told(database, nlargest(most, found, key=lambda each: (each.row.cost or 0) - each.mean))


def _unusual(lead: Sequence[Any], newest: Sequence[Any]) -> Iterator[_Found]:
    """Unusual ones of the newest, the newest first; those of the lead are only what they are compared with."""
    recent: dict[str | None, tuple[RecentRequests, deque[Any]]] = {}
    for is_lead, rows in ((True, lead), (False, newest)):
        for row in reversed(rows):
            cost, feature = row[0], row[3]
            if not cost:  # a hit, a refusal, or without a price
                continue
            if feature not in recent:
                recent[feature] = RecentRequests(), deque(maxlen=REQUESTS_BEFORE)
            costs, before = recent[feature]
            unusual = costs.see(cost)
            if unusual is not None and not is_lead:
                yield _Found(_Row(*row), *unusual, [_Row(*each) for each in before])
            before.append(row)


def _older(database: Database, since_us: int, until_us: int) -> Iterator[_Found]:
    period = _READ_CANDIDATES.in_order(since_us=since_us, until_us=until_us)
    candidates = [_Row(*row) for row in database.fetch_all(_READ_CANDIDATES, period)]
    if not candidates:
        return
    with database.read() as connection:
        measures = ("cost_nano_usd", "attempts", "cache_hits", "errors")
        features = SumsReader(connection, since_us=since_us, until_us=until_us, measures=measures).by_dimension("feature")
    compared = 0
    for row in candidates:
        cost, attempts, hits, errors = features.get(row.feature, (0, 0, 0, 0))
        if (row.cost or 0) * max(0, attempts - hits - errors) < _CANDIDATE_TIMES * cost:
            continue
        before = database.fetch_all(_READ_BEFORE, _before(_READ_BEFORE, row, feature=row.feature or ""))
        yield from _unusual(before[::-1], [row])
        compared += 1
        if compared == _MOST_OLDER:
            return


def _before(statement: Statement, row: _Row, **more: Any) -> Sequence[Any]:
    return statement.in_order(at_us=row.at_us, before_us=row.at_us, before_id=row.id, **more)


def _told(database: Database, found: Iterable[_Found]) -> list[UnusualRequest]:
    by_id = {each.row.id: each for each in found}
    query = select(*(calls.c[name] for name in ("id", "request_id", "user", "prompt_version"))).where(calls.c.id.in_(by_id))
    with database.read() as connection:
        details = {row.id: row for row in connection.execute(query)}
    told = []
    for number, each in by_id.items():
        if (detail := details.get(number)) is None:  # pruned meanwhile
            continue
        value, expected = to_usd(each.row.cost or 0), to_usd(round(each.mean))
        why = _why(each, detail, value, expected)
        at, score = from_us(each.row.at_us), round(each.score, 2)
        told.append(UnusualRequest(detail.request_id, each.row.feature, at, value, expected, score, why))
    return told


def _why(found: _Found, detail: Any, value: Decimal, expected: Decimal) -> str:
    row, before = found.row, found.before
    whose = "" if row.feature is None else f"feature {cell(row.feature)}: "
    text = f"{whose}{usd(value)} for one request, where the {len(before)} before it took {usd(expected)} on average ({found.score:,.1f}x)"
    reasons = [f"model {cell(row.model)}" + ("" if any(row.model == each.model for each in before) else ", which is new here")]
    for name in ("input", "output"):
        count, usual = getattr(row, f"{name}_tokens"), sum(getattr(each, f"{name}_tokens") for each in before) / len(before)
        if count > _NOTABLE * usual:
            reasons.append(f"{count:,} {name} tokens instead of {usual:,.0f}")
    reasons += [f"{name} {cell(text)}" for name, text in (("user", detail.user), ("prompt version", detail.prompt_version)) if text]
    return f"{text}: {', '.join(reasons)}"

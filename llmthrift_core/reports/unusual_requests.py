"""Single requests that took ten times what those of their feature before them did."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from statistics import fmean
from typing import Any, Final

from sqlalchemy import Connection, func, select

from llmthrift_core.display import cell, usd
from llmthrift_core.moments import from_us
from llmthrift_core.money import to_usd
from llmthrift_core.reports.unusual import REQUESTS_BEFORE, RecentRequests
from llmthrift_core.storage.tables import adjustments, calls

_NEWEST: Final = 20_000
_LEAD: Final = 5_000  # rows before the period, in which each feature's hundred are looked for
_NOTABLE: Final = 3  # times the mean: tokens below are not what made it dear


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

    @property
    def excess_usd(self) -> Decimal:
        """What it took beyond what was expected."""
        return self.value_usd - self.expected_usd


def unusual_requests(connection: Connection, *, since_us: int | None, until_us: int) -> Iterator[UnusualRequest]:
    """Model calls that were paid for in [since_us, until_us), each compared with up to a hundred of its feature before it.

    Args:
        since_us: None looks at the newest 20,000 rows.
    """
    cost = func.coalesce(calls.c.cost_nano_usd, adjustments.c.cost_nano_usd).label("cost")
    names = ("request_id", "at_us", "feature", "model", "user", "prompt_version", "input_tokens", "output_tokens")
    joined = calls.outerjoin(adjustments, adjustments.c.request_id == calls.c.request_id)
    query = select(cost, *(calls.c[name] for name in names)).select_from(joined).where(calls.c.at_us < until_us)
    newest = calls.c.at_us.desc(), calls.c.id.desc()
    if since_us is None:
        rows = connection.execute(query.order_by(*newest).limit(_NEWEST)).all()[::-1]
    else:
        before = connection.execute(query.where(calls.c.at_us < since_us).order_by(*newest).limit(_LEAD)).all()[::-1]
        rows = [*before, *connection.execute(query.where(calls.c.at_us >= since_us).order_by(calls.c.at_us, calls.c.id))]
    recent: dict[str | None, RecentRequests] = {}
    tokens: dict[str | None, deque[tuple[int, int, str]]] = {}
    for row in rows:
        if not row.cost:  # a hit, a refusal, or without a price
            continue
        feature = row.feature
        if feature not in recent:
            recent[feature], tokens[feature] = RecentRequests(), deque(maxlen=REQUESTS_BEFORE)
        found = recent[feature].see(row.cost)
        if found is not None and (since_us is None or row.at_us >= since_us):
            mean, score = found
            value, expected = to_usd(row.cost), to_usd(round(mean))
            why = _why(row, value, expected, score, tokens[feature])
            yield UnusualRequest(row.request_id, feature, from_us(row.at_us), value, expected, round(score, 2), why)
        tokens[feature].append((row.input_tokens, row.output_tokens, row.model))


def _why(row: Any, value: Decimal, expected: Decimal, score: float, before: deque[tuple[int, int, str]]) -> str:
    whose = "" if row.feature is None else f"feature {cell(row.feature)}: "
    text = f"{whose}{usd(value)} for one request, where the {len(before)} before it took {usd(expected)} on average ({score:,.1f}x)"
    reasons = [f"model {cell(row.model)}" + ("" if any(model == row.model for *_, model in before) else ", which is new here")]
    inputs, outputs, _ = zip(*before, strict=True)
    for count, counts, what in ((row.input_tokens, inputs, "input"), (row.output_tokens, outputs, "output")):
        usual = fmean(counts)
        if count > _NOTABLE * usual:
            reasons.append(f"{count:,} {what} tokens instead of {usual:,.0f}")
    reasons += [f"{name} {cell(text)}" for name, text in (("user", row.user), ("prompt version", row.prompt_version)) if text]
    return f"{text}: {', '.join(reasons)}"

"""Sums of one day of the ledger, by everything that a row of FOCUS names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import sub
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Connection, Table, case, func, select

from llmthrift_core.exporters.exported import Period
from llmthrift_core.exporters.token_kinds import COUNTS
from llmthrift_core.ledger.record import tags_json
from llmthrift_core.ledger.statements import MEASURES
from llmthrift_core.reports.report import SAVINGS
from llmthrift_core.reports.sums import SumsReader
from llmthrift_core.storage.tables import adjustments, calls, other_costs, rollups

_GROUPED: Final = (calls.c.model, calls.c.provider, calls.c.feature, calls.c.tags, calls.c.service_tier, calls.c.cache)


@dataclass(frozen=True, slots=True)
class CallGroup:
    """Calls of one day that only their amounts tell apart.

    Attributes:
        is_priced: False for calls whose model has no price.
        sums: COUNTS, web_searches, attempts, saved tokens, and amounts in nano-USD.
    """

    model: str
    provider: str | None
    feature: str | None
    tags: str | None
    service_tier: str | None
    cache: str | None
    is_priced: bool
    sums: Mapping[str, int]

    @property
    def key(self) -> tuple[Any, ...]:
        """All but the amounts."""
        return self.model, self.provider, self.feature, self.tags, self.service_tier, self.cache, self.is_priced

    def plus(self, other: CallGroup) -> CallGroup:
        """Both together."""
        return replace(self, sums={name: amount + other.sums[name] for name, amount in self.sums.items()})


@dataclass(frozen=True, slots=True)
class CostGroup:
    """Costs of one day that are not model calls."""

    kind: str
    feature: str | None
    tags: str | None
    count: int
    cost_nano_usd: int

    @property
    def key(self) -> tuple[Any, ...]:
        """All but the amounts; refunds stay by themselves."""
        return self.kind, self.feature, self.tags, self.cost_nano_usd < 0

    def plus(self, other: CostGroup) -> CostGroup:
        """Both together."""
        return replace(self, count=self.count + other.count, cost_nano_usd=self.cost_nano_usd + other.cost_nano_usd)


Group = TypeVar("Group", CallGroup, CostGroup)


def read_call_groups(connection: Connection, period: Period) -> Iterator[CallGroup]:
    """The calls of a period, in a stable order."""
    cost, input_cost, output_cost = (
        func.coalesce(calls.c[name], adjustments.c[name]) for name in ("cost_nano_usd", "input_cost_nano_usd", "output_cost_nano_usd")
    )
    priced = case((cost.is_not(None), 1), else_=0)
    sums: dict[str, ColumnElement[Any]] = {
        "attempts": func.count(),
        **{name: func.sum(calls.c[name]) for name in (*COUNTS, "web_searches")},
        "cost_nano_usd": func.sum(cost),
        "input_cost_nano_usd": func.sum(input_cost),
        "output_cost_nano_usd": func.sum(output_cost),
        "saved_tokens": func.sum(calls.c.saved_input_tokens + calls.c.saved_output_tokens),
        **{name: func.sum(calls.c[name]) for name in SAVINGS},
    }
    joined = calls.outerjoin(adjustments, adjustments.c.request_id == calls.c.request_id)
    query = select(*_GROUPED, priced, *sums.values()).select_from(joined).where(*_within(calls, period)).group_by(*_GROUPED, priced)
    for row in sorted(connection.execute(query).all(), key=lambda row: tuple(str(value or "") for value in row[: len(_GROUPED) + 1])):
        model, provider, feature, tags, service_tier, cache, is_priced = row[: len(_GROUPED) + 1]
        amounts = (int(value or 0) for value in row[len(_GROUPED) + 1 :])
        found = dict(zip(sums, amounts, strict=True))
        yield CallGroup(model, provider, feature, tags, service_tier, cache, bool(is_priced), found)


def read_cost_groups(connection: Connection, period: Period) -> Iterator[CostGroup]:
    """The other costs of a period; refunds by themselves."""
    columns = (other_costs.c.kind, other_costs.c.feature, other_costs.c.tags)
    is_refund = case((other_costs.c.cost_nano_usd < 0, 1), else_=0)
    query = select(*columns, func.count(), func.sum(other_costs.c.cost_nano_usd)).where(*_within(other_costs, period))
    rows = connection.execute(query.group_by(*columns, is_refund)).all()
    for kind, feature, tags, count, cost in sorted(rows, key=lambda row: (row[0], str(row[1] or ""), str(row[2] or ""), row[4])):
        yield CostGroup(kind, feature, tags, int(count), int(cost))


def read_pruned_groups(connection: Connection, period: Period, *, pruned_us: int) -> Iterator[CallGroup | CostGroup]:
    """What the stored sums have more than the rows that are left: calls by model, whose features and tags are not known any more."""
    kept: dict[str, list[int]] = {}
    for group in read_call_groups(connection, period):
        sums = kept.setdefault(group.model, [0] * len(MEASURES))
        for index, name in enumerate(MEASURES):
            unpriced = group.sums["attempts"] if name == "unpriced" and not group.is_priced else 0
            sums[index] += group.sums.get(name, 0) + unpriced
    stored = SumsReader(connection, since_us=period.since_us, until_us=period.until_us, whole_before_us=pruned_us)
    other = -sum(group.cost_nano_usd for group in read_cost_groups(connection, period))
    for model, amounts in stored.by_dimension("model").items():
        other += amounts[MEASURES.index("other_cost_nano_usd")]
        left = dict(zip(MEASURES, map(sub, amounts, kept.get(model or "", [0] * len(MEASURES))), strict=True))
        unpriced = left["unpriced"]
        rest = {name: left.get(name, 0) for name in (*COUNTS, "web_searches")}
        rest |= {name: left[name] for name in MEASURES if name.endswith("_nano_usd")}
        if model and (any(rest.values()) or left["attempts"] > unpriced):
            rest |= {"attempts": left["attempts"] - unpriced, "saved_tokens": 0}
            yield CallGroup(model, None, None, None, None, None, True, rest)
        if model and unpriced > 0:
            yield CallGroup(model, None, None, None, None, None, False, {**dict.fromkeys(rest, 0), "attempts": unpriced})
    if other:
        yield CostGroup("other costs", None, None, 1, other)


def with_tags_of(groups: Sequence[Group], names: Sequence[str]) -> list[Group]:
    """The groups with these tags alone; those that only other tags told apart are added up."""
    found: dict[tuple[Any, ...], Group] = {}
    for group in groups:
        tags = {name: value for name, value in json.loads(group.tags or "{}").items() if name in names}
        narrowed = replace(group, tags=tags_json(tuple(sorted(tags.items()))) if tags else None)
        first = found.get(key := narrowed.key)
        found[key] = narrowed if first is None else first.plus(narrowed)
    return list(found.values())


def next_us(connection: Connection, at_us: int | None, *, pruned_us: int | None) -> int | None:
    """When the first call or cost at or after a time was recorded; where calls were pruned, when the bucket of their sums begins."""
    found = []
    for table in (calls, other_costs):
        query = select(func.min(table.c.at_us))
        found.append(connection.execute(query if at_us is None else query.where(table.c.at_us >= at_us)).scalar())
    if pruned_us is not None and (at_us is None or at_us < pruned_us):
        bucket = select(func.min(rollups.c.bucket)).where(rollups.c.dimension == "all", rollups.c.span == 3600)
        if at_us is not None:
            bucket = bucket.where(rollups.c.bucket >= at_us // 1_000_000 - 3599)
        begins = connection.execute(bucket).scalar()
        found.append(None if begins is None else max(int(begins) * 1_000_000, at_us if at_us is not None else int(begins) * 1_000_000))
    times = [int(at) for at in found if at is not None]
    return min(times) if times else None


def _within(table: Table, period: Period) -> list[ColumnElement[bool]]:
    bounds: list[ColumnElement[bool]] = []
    if period.since_us is not None:
        bounds.append(table.c.at_us >= period.since_us)
    if period.until_us is not None:
        bounds.append(table.c.at_us < period.until_us)
    return bounds

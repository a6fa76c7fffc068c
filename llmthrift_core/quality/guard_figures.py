"""What routing saved and what watching it cost, out of the ledger."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, func, select

from llmthrift_core.ledger.judged import BY_APPLICATION, SOURCE_PREFIX, read_judged, tags_of, within
from llmthrift_core.model_calls.models import EVALUATION, OWN_REQUEST_TYPES
from llmthrift_core.money import to_usd
from llmthrift_core.quality.spending import JUDGING_TAG
from llmthrift_core.statistics import Interval, RatioSums, quality_interval
from llmthrift_core.storage.tables import calls, other_costs


@dataclass(frozen=True, slots=True)
class GuardFigures:
    """A period of routing under a guard.

    Attributes:
        routed: attempts whose saving is known, rejected ones among them; hits of the cache are none.
        routing_saved_usd: the baseline's price minus the cost, over all of these. What rejected answers cost is taken off.
        checks_usd: what models cost that were asked before an answer was kept: judges in a cascade, further samples, ratings.
        judging_usd: what the guard's own judgements cost.
        judged: how many there are.
        quality: the mean of the judged answers within its limits; NaN where there are none.
    """

    routed: int = 0
    routing_saved_usd: Decimal = Decimal(0)
    checks_usd: Decimal = Decimal(0)
    judging_usd: Decimal = Decimal(0)
    judged: int = 0
    quality: Interval = field(default_factory=lambda: Interval(math.nan, 0.0, 1.0))

    @property
    def net_saving_usd(self) -> Decimal:
        """What routing saved, without what it took to make sure of it."""
        return self.routing_saved_usd - self.checks_usd - self.judging_usd


def read_guard_figures(connection: Connection, *, name: str, version: str, since_us: int, confidence: float) -> GuardFigures:
    """The figures from `since_us` on.

    Args:
        name: of the guard: of its judgements and its daily amount.
        version: of the policy, which calls carry as `config_version`.
        confidence: of the limits of quality.
    """
    since = within(since_us, None)
    ours = [*since, calls.c.config_version == version]
    is_checking = calls.c.request_type.in_(OWN_REQUEST_TYPES)
    saved = select(func.count(calls.c.routing_saved_nano_usd), func.sum(calls.c.routing_saved_nano_usd)).where(
        *ours, calls.c.cache.is_(None), BY_APPLICATION
    )
    routed, saved_nano = connection.execute(saved).one()
    checks_nano = connection.execute(select(func.sum(calls.c.cost_nano_usd)).where(*ours, is_checking)).scalar_one()
    sums = RatioSums()
    for judged in read_judged(connection, since_us=since_us, until_us=None, source=f"{SOURCE_PREFIX}{name}/"):
        sums.add(1, judged.quality)
    judging_nano = _marked(connection, calls, name, [*since, calls.c.request_type == EVALUATION])
    judging_nano += _marked(connection, other_costs, name, [other_costs.c.at_us >= since_us, other_costs.c.kind == EVALUATION])
    return GuardFigures(
        routed=int(routed),
        routing_saved_usd=to_usd(int(saved_nano or 0)),
        checks_usd=to_usd(int(checks_nano or 0)),
        judging_usd=to_usd(judging_nano),
        judged=sums.units,
        quality=quality_interval(sums, confidence),
    )


def _marked(connection: Connection, table: Table, name: str, where: list[ColumnElement[bool]]) -> int:
    """The sum of what judgements cost that this name paid for; their number is bounded by the daily amount."""
    rows: Any = connection.execute(select(table.c.cost_nano_usd, table.c.tags).where(*where, table.c.tags.is_not(None)))
    return sum(cost or 0 for cost, tags in rows if tags_of(tags).get(JUDGING_TAG) == name)

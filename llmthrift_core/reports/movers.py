"""`Mover`: on which model, feature, user and prompt version more was spent than before, in dollars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from sqlalchemy import Connection, and_, case, func, select

from llmthrift_core.display import cell, usd
from llmthrift_core.ledger.rollups import DAY, HOUR
from llmthrift_core.moments import MICROSECONDS
from llmthrift_core.money import to_usd
from llmthrift_core.storage.tables import rollups

_DIMENSIONS: Final = ("feature", "model", "user", "prompt_version")
_REFERENCE_DAYS: Final = 14
_LEAST_SHARE: Final = 0.25  # of the excess: what moved less explains nothing


@dataclass(frozen=True, slots=True)
class Mover:
    """One of an attribute's values, and by how much more was spent on it than in the mean of the fourteen days before."""

    attribute: str
    value: str
    more_usd: Decimal

    def __str__(self) -> str:
        return f"{self.attribute.replace('_', ' ')} {cell(self.value)} +{usd(self.more_usd)}"


def movers(connection: Connection, *, begin_us: int, end_us: int, scope: Mapping[str, str], excess_usd: float) -> tuple[Mover, ...]:
    """The value of each attribute that moved most, where it explains a quarter of the excess.

    An hour is compared with the same hour of the days before, a day with days, and the first hours of a day with the same ones.
    Stored sums know one attribute at a time: what is told of a feature's day is what moved in all of that day.

    Args:
        begin_us, end_us: whole hours of one day of some time zone, or all of it.
        scope: these attributes are known already.
    """
    found = (_largest(connection, dimension, begin_us, end_us) for dimension in _DIMENSIONS if dimension not in scope)
    return tuple(mover for mover in found if mover is not None and float(mover.more_usd) >= _LEAST_SHARE * excess_usd)


def _largest(connection: Connection, dimension: str, begin_us: int, end_us: int) -> Mover | None:
    begin, end = begin_us // MICROSECONDS, end_us // MICROSECONDS
    is_whole = end - begin > DAY - 2 * HOUR  # where clocks change, 23 hours or 25
    span = DAY if begin % DAY == 0 and end - begin == DAY else HOUR
    begin -= begin % span  # a zone that is no whole hours from UTC
    spent = rollups.c.cost_nano_usd + rollups.c.other_cost_nano_usd
    now = func.sum(case((rollups.c.bucket >= begin, spent), else_=0))
    before = func.sum(case((rollups.c.bucket < begin, spent), else_=0))
    more = now * _REFERENCE_DAYS - before
    first = begin - _REFERENCE_DAYS * DAY
    # The same hours are named one by one: those between them, with all their users, are not read.
    same_hours = [hour + day for day in range(0, (_REFERENCE_DAYS + 1) * DAY, DAY) for hour in range(first, first + end - begin, HOUR)]
    period = and_(rollups.c.bucket >= first, rollups.c.bucket < end) if is_whole else rollups.c.bucket.in_(same_hours)
    query = select(rollups.c.value, more).where(rollups.c.dimension == dimension, rollups.c.span == span, period)
    row = connection.execute(query.group_by(rollups.c.value).order_by(more.desc(), rollups.c.value).limit(1)).first()
    if row is None or row[1] <= 0:
        return None
    return Mover(dimension, row[0], to_usd(round(int(row[1]) / _REFERENCE_DAYS)))

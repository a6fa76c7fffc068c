"""What the ledger says of the arms of an experiment, added up by unit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, case, func, or_, select

from llmthrift_core.ledger.judged import read_judged, tags_of, within
from llmthrift_core.model_calls.models import EVALUATION
from llmthrift_core.statistics import RatioSums
from llmthrift_core.storage.tables import adjustments, calls

_UNIT_COLUMNS: Final = {"user": calls.c.user, "session": calls.c.session, "request": calls.c.call_id}


@dataclass
class ArmSums:
    """One arm.

    Attributes:
        requests: calls. unpriced: model attempts without a price, in no cost.
        cost: dollars per request, by unit. quality: per judged request, by unit.
        cost_nano_usd: the exact cost.
    """

    requests: int = 0
    unpriced: int = 0
    cost_nano_usd: int = 0
    cost: RatioSums = field(default_factory=RatioSums)
    quality: RatioSums = field(default_factory=RatioSums)


def read_arms(
    connection: Connection,
    *,
    tag: str,
    arms: Sequence[str],
    unit: str,
    since_us: int,
    until_us: int | None,
    source: str | None,
) -> dict[str, ArmSums]:
    """The arms in the period [since_us, until_us), by name. Left out are calls of judges, which an arm is not to pay for, unlike what its
    router asks, and units that were erased."""
    column = _UNIT_COLUMNS[unit]
    # Tags are stored as JSON without spaces. The pattern may find too much, such as other spellings: tags are read to be sure.
    name = json.dumps(tag, ensure_ascii=False)
    conditions = [
        calls.c.tags.contains(f"{name}:", autoescape=True),
        column.is_not(None),
        or_(calls.c.request_type.is_(None), calls.c.request_type != EVALUATION),
    ]
    found = {arm: ArmSums() for arm in arms}
    cost = func.coalesce(calls.c.cost_nano_usd, adjustments.c.cost_nano_usd)
    query = (
        select(
            column,
            calls.c.tags,
            func.sum(case((calls.c.attempt == 1, 1), else_=0)),
            func.sum(func.coalesce(cost, 0)),
            func.sum(case((cost.is_(None), 1), else_=0)),
        )
        .select_from(calls.outerjoin(adjustments, adjustments.c.request_id == calls.c.request_id))
        .where(*within(since_us, until_us), *conditions)
        .group_by(column, calls.c.tags)
        .order_by(column)
    )
    costs: dict[tuple[str, str], list[int]] = {}
    for who, tags, requests, nano_usd, unpriced in connection.execute(query):
        arm = tags_of(tags).get(tag)
        if arm not in found:
            continue
        total = costs.setdefault((arm, who), [0, 0])
        total[0] += int(requests)
        total[1] += int(nano_usd)
        found[arm].unpriced += int(unpriced)
    for (arm, _), (requests, nano_usd) in costs.items():
        sums = found[arm]
        sums.requests += requests
        sums.cost_nano_usd += nano_usd
        sums.cost.add(requests, nano_usd / 1e9)
    qualities: dict[tuple[str, str], list[float]] = {}
    for judged in read_judged(connection, since_us=since_us, until_us=until_us, source=source, where=conditions):
        arm = judged.tags.get(tag)
        if arm in found:
            score = qualities.setdefault((arm, judged.call[column.name]), [0, 0.0])
            score[0] += 1
            score[1] += judged.quality
    for (arm, _), (count, quality) in qualities.items():
        found[arm].quality.add(count, quality)
    return found

"""The health of caches: hit rates in all processes, room, time to live, and entries that never answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import func, select

from llmthrift_core.alerts.alert import Alert, Notice
from llmthrift_core.alerts.watched import Watched
from llmthrift_core.display import counted
from llmthrift_core.ledger.statements import MEASURES
from llmthrift_core.moments import DAY_US
from llmthrift_core.reports.sums import SumsReader
from llmthrift_core.storage.tables import calls

_LEAST_HIT_RATE: Final = 0.2
_LEAST_WHERE_REPEATED: Final = 0.4
_REPEATED: Final = 0.5  # of the prompts: above this share caching should answer much
_ENOUGH_REQUESTS: Final = 100
_NEWEST: Final = 10_000
_ENOUGH_ENTRIES: Final = 20
_LEAST_TTL_SECONDS: Final = 3600.0
_HOUR_US: Final = 3_600_000_000


def cache_health(watched: Watched, alert: Alert) -> Iterator[Notice]:
    """Few hits in the last day, where a cache is in use; and what caches say of themselves: full, entries gone before their first hit."""
    stats = watched.cache.stats()
    yield from _hit_rate(watched, alert, in_use=bool(stats["entries"] or stats["stores"] or watched.parts.keepers))
    remaining = stats["average_remaining_ttl_seconds"]
    if remaining is not None and (stats["entries"] or 0) >= _ENOUGH_ENTRIES and remaining < _LEAST_TTL_SECONDS:
        text = f"Cached answers have {remaining / 60:.0f} minutes left on average, less than an hour: give them more time with ttl_seconds."
        yield _notice(watched, alert, text, "ttl", remaining, _LEAST_TTL_SECONDS)
    said = [*watched.cache.alerts(), *(line for part in watched.parts.keepers for line in part.alerts())]
    for line in said:
        if "lookups were hits" not in line:  # of this process alone; the rate above is that of all
            what = line.partition(":")[0] + (" unused" if "never answered" in line else " full")
            yield _notice(watched, alert, line, what, None, None)


def _hit_rate(watched: Watched, alert: Alert, *, in_use: bool) -> Iterator[Notice]:
    watched.ledger.catch_up()
    since_us = (watched.now_us() - DAY_US) // _HOUR_US * _HOUR_US
    with watched.database.read() as connection:
        sums = dict(zip(MEASURES, SumsReader(connection, since_us=since_us, until_us=None).total(), strict=True))
        requests, hits = sums["requests"], sums["cache_hits"]
        if requests < _ENOUGH_REQUESTS or not (in_use or hits):
            return
        newest = select(calls.c.prompt_hash).where(calls.c.prompt_hash.is_not(None), calls.c.attempt == 1, calls.c.at_us >= since_us)
        prompts = newest.order_by(calls.c.at_us.desc()).limit(_NEWEST).subquery()
        asked, different = connection.execute(select(func.count(), func.count(prompts.c.prompt_hash.distinct())).select_from(prompts)).one()
    repeated = 1 - different / asked if asked else 0.0
    least = alert.number(_LEAST_WHERE_REPEATED if repeated > _REPEATED else _LEAST_HIT_RATE)
    rate = hits / requests
    if rate < least:
        advice = "look for parts of the prompt that change with every call, such as times and ids"
        if repeated > _REPEATED:
            advice = (
                f"{repeated:.0%} of the prompts were asked before: look for calls that bypass the cache, or have a namespace of their own"
            )
        text = (
            f"{rate:.0%} of {counted(requests, 'request')} of the last 24 hours were answered from the cache, fewer than "
            f"{least:.0%}: {advice}."
        )
        yield _notice(watched, alert, text, "hit rate", rate, least)


def _notice(watched: Watched, alert: Alert, text: str, what: str, value: float | None, threshold: float | None) -> Notice:
    return Notice("cache_health", alert.name, text, watched.at, {}, value, threshold, f"{what} {watched.today}")

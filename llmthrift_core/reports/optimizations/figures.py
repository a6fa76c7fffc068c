"""What all findings are made of: sums of the period, and its newest calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from functools import cache
from typing import Any, Final, NamedTuple

from sqlalchemy import bindparam, func, select

from llmthrift_core.ledger.retention import pruned_until_us
from llmthrift_core.ledger.rollups import DAY
from llmthrift_core.ledger.statements import MEASURES
from llmthrift_core.moments import FIRST_US, LAST_US
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.reports.sums import SumsReader
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import adjustments, calls
from llmthrift_core.usage import Usage

MOST_CALLS: Final = 5_000
_COLUMNS: Final = (
    "request_id",
    "at_us",
    "model",
    "provider",
    "feature",
    "call_site",
    "attempt",
    "attempt_reason",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cache",
    "error",
    "escalated",
    "observed_cache_nano_usd",
    "observed_routing_nano_usd",
    "prompt_hash",
    "prompt_chars",
    "system_chars",
    "tier",
    "prefix_miss",
    "prefix_lost_nano_usd",
)
_MONEY: Final = ("cost_nano_usd", "input_cost_nano_usd", "output_cost_nano_usd")

_READ_NEWEST: Final = Statement(
    select(*(calls.c[name] for name in _COLUMNS), *(func.coalesce(calls.c[name], adjustments.c[name]) for name in _MONEY))
    .select_from(calls.outerjoin(adjustments, adjustments.c.request_id == calls.c.request_id))
    .where(calls.c.at_us >= bindparam("since_us"), calls.c.at_us < bindparam("until_us"))
    .order_by(calls.c.at_us.desc(), calls.c.id.desc())
    .limit(MOST_CALLS)
)


class Row(NamedTuple):
    """What of a call the findings read. The columns of `calls`, later prices in place."""

    request_id: str
    at_us: int
    model: str
    provider: str | None
    feature: str | None
    call_site: str | None
    attempt: int
    attempt_reason: str | None
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cache: str | None
    error: str | None
    escalated: int
    observed_cache_nano_usd: int | None
    observed_routing_nano_usd: int | None
    prompt_hash: str | None
    prompt_chars: int | None
    system_chars: int | None
    tier: str | None
    prefix_miss: str | None
    prefix_lost_nano_usd: int | None
    cost_nano_usd: int | None
    input_cost_nano_usd: int | None
    output_cost_nano_usd: int | None

    @property
    def site(self) -> str:
        """Where the call comes from, as far as it says."""
        return self.call_site or self.feature or self.model

    @property
    def usage(self) -> Usage:
        """Its tokens, as far as findings price them again."""
        return Usage(
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cache_read_tokens=self.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens,
        )


Sums = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Figures:
    """A period of the ledger.

    Attributes:
        total: sums of MEASURES over all calls.
        models: the same by model.
        days: the same by UTC day, oldest first.
        newest: at most MOST_CALLS calls of the period, newest first.
        paid: those of them that were answered by a model and have a price.
        sites: the same, by where they come from.
        prices: the price list.
        now_us: today, for its prices.
    """

    total: Sums
    models: Mapping[str, Sums]
    days: Sequence[tuple[str, Sums]]
    newest: Sequence[Row]
    paid: Sequence[Row]
    sites: Mapping[str, Sequence[Row]]
    prices: PriceCatalog
    now_us: int

    @property
    def attempts(self) -> int:
        """Of the whole period."""
        return self.total["attempts"]

    @property
    def cost(self) -> int:
        """Of the whole period, in nano-USD."""
        return self.total["cost_nano_usd"]


def read_figures(database: Database, prices: PriceCatalog, *, since_us: int | None, until_us: int | None, now_us: int) -> Figures:
    """The figures of [since_us, until_us).

    Raises:
        StorageError: the database cannot be read.
    """
    pruned_us = pruned_until_us(database)
    with database.read() as connection:
        reader = SumsReader(connection, since_us=since_us, until_us=until_us, whole_before_us=pruned_us)
        total = _named(reader.total())
        models = {model: _named(amounts) for model, amounts in reader.by_dimension("model").items() if model is not None}
        days = [(begin.date().isoformat(), _named(amounts)) for begin, amounts in sorted(reader.by_time(DAY, UTC).items())]
    within = _READ_NEWEST.in_order(
        since_us=FIRST_US if since_us is None else since_us, until_us=LAST_US + 1 if until_us is None else until_us
    )
    newest = [Row(*row) for row in database.fetch_all(_READ_NEWEST, within)]
    paid = [row for row in newest if row.cache is None and row.error is None and row.cost_nano_usd is not None]
    return Figures(total, models, days, newest, paid, _by_site(paid), prices, now_us)


def priced_as(figures: Figures, row: Row, model: str, provider: str | None, *, at_us: int | None = None) -> int | None:
    """What a call's tokens cost on a model, in nano-USD; None where that is unknown."""
    priced = figures.prices.price(row.usage, model, provider, figures.now_us if at_us is None else at_us)
    return None if priced is None else priced.nano_usd


def tiers(figures: Figures) -> Callable[[str], str | None]:
    """The tier of a model by its name, each looked up once, with the provider that most of the newest calls name."""
    providers: dict[str, Counter[str | None]] = {}
    for row in figures.newest:
        providers.setdefault(row.model, Counter())[row.provider] += 1

    @cache
    def tier(model: str) -> str | None:
        known = providers.get(model)
        return figures.prices.tier(model, known.most_common(1)[0][0] if known else None)

    return tier


def _by_site(rows: Sequence[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.site, []).append(row)
    return groups


def _named(amounts: Sequence[int]) -> dict[str, Any]:
    return dict(zip(MEASURES, amounts, strict=True))

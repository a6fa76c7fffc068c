"""What recorded calls would have cost, if: longer answers, another model, other prices, another life of cached answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Row, and_, func, or_, select

from llmthrift_core.attachments import AccountHost
from llmthrift_core.attribution import FIELDS
from llmthrift_core.display import Plan, cell, counted, drawn_bars
from llmthrift_core.errors import ConfigurationError, UnknownModelError
from llmthrift_core.ledger.reading import USAGE_COLUMNS, usage_of_row
from llmthrift_core.moments import MICROSECONDS, Moment, to_us
from llmthrift_core.money import Number, exact, to_usd
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.tables import adjustments, calls
from llmthrift_core.texts import as_pairs, require_thrift

if TYPE_CHECKING:
    from llmthrift_core.display import Drawn

_ROWS_AT_ONCE: Final = 10_000
_MOST_DRAWN: Final = 20  # values of `by`, the dearest
_BY: Final = ("model", "provider", *FIELDS)
Repriced = Callable[[Row[Any], int | None], int | None]
"""What a row would have cost in nano-USD, from the row and what it did cost; None is unknown."""


@dataclass(frozen=True, repr=False)
class WhatIf(Plan):
    """What recorded calls did cost, and what they would have cost.

    Rows have the value of `by` (None: not given), before_usd, after_usd and change_usd.

    Attributes:
        changed: what was changed, in words.
        before_usd, after_usd: the sums of calls that have both.
        unpriced: attempts without a price before or after, which are in no amount.
        notes: what was assumed.
    """

    changed: str
    by: str
    rows: tuple[Mapping[str, Any], ...]
    before_usd: Decimal
    after_usd: Decimal
    attempts: int
    unpriced: int
    notes: tuple[str, ...] = field(default=())

    @property
    def change_usd(self) -> Decimal:
        """after_usd - before_usd: negative where it would have cost less."""
        return self.after_usd - self.before_usd

    @property
    def change_share(self) -> float | None:
        """change_usd / before_usd; None where nothing was paid."""
        return float(self.change_usd / self.before_usd) if self.before_usd else None

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Before and after by value, and in all."""
        names = ("before_usd", "after_usd", "change_usd")
        rows = [[row[self.by], *(row[name] for name in names)] for row in self.rows]
        return [self.by, "before", "after", "change"], [*rows, ["total", self.before_usd, self.after_usd, self.change_usd]]

    def to_dicts(self) -> list[dict[str, Any]]:
        """The rows as new dicts."""
        return [dict(row) for row in self.rows]

    def remarks(self) -> list[str]:
        """What was changed, and what is in no amount."""
        share = "" if self.change_share is None else f" ({self.change_share:+.1%})"
        unpriced = (
            [f"{counted(self.unpriced, 'attempt has no price and is', 'attempts have no price and are')} in no amount."]
            if self.unpriced
            else []
        )
        return [f"{self.changed}: {counted(self.attempts, 'attempt')}{share}.", *unpriced, *self.notes]

    def _drawn(self, alt: Any) -> Drawn:
        """Before and after, of the dearest twenty values."""
        rows = [
            {"name": f"{cell(row[self.by])}, {when}", "high": row[f"{when}_usd"], "kind": when}
            for row in self.rows[:_MOST_DRAWN]
            for when in ("before", "after")
        ]
        return drawn_bars(alt, rows, title="US dollars")


def what_if(
    thrift: AccountHost,
    *,
    since: Moment | None = None,
    until: Moment | None = None,
    output: Number | None = None,
    model: Mapping[str, str] | None = None,
    prices: PriceCatalog | Mapping[str, Any] | str | Path | None = None,
    cache_ttl_seconds: Number | None = None,
    by: str = "model",
) -> WhatIf:
    """Replay the recorded calls of a period with one thing changed. Every row is priced by itself, at its own time.

    Args:
        thrift: whose ledger is replayed.
        since, until: the half-open period [since, until).
        output: factor of what answers cost: 1.2 is a fifth longer.
        model: models and what would have answered instead, with as many tokens: {"gpt-4o": "gpt-4o-mini"}.
        prices: a catalog, or a mapping or TOML file of price overrides, instead of those that the calls were priced with.
        cache_ttl_seconds: how long an exact answer would have been kept; needs the hashes of prompts, which capture="off" does not record.
        by: "model", "provider", "feature", "user", "session", "run", "request_type", "prompt_version", "config_version" or "call_site".

    Raises:
        ConfigurationError: nothing is changed, or more than one thing, or an unknown `by`.
        UnknownModelError: a model in `model` has no price.
        StorageError: the database cannot be read.
    """
    require_thrift(thrift, "what_if")
    given = {"output": output, "model": model, "prices": prices, "cache_ttl_seconds": cache_ttl_seconds}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise ConfigurationError(
            f"change one thing: {', '.join(f'{name}=' for name in given)}; {' and '.join(f'{name}=' for name in named) or 'none'} is given"
        )
    if by not in _BY:
        raise ConfigurationError(f"by must be one of {', '.join(_BY)}, not {by!r}")
    if output is not None:
        factor = exact("output", output)
        replay, changed = _longer(factor), f"Output times {float(factor):g}"
    elif model is not None:
        replay, changed = _moved(thrift, as_pairs("model", model)), ", ".join(f"{old} on {new}" for old, new in model.items())
    elif prices is not None:
        catalog = prices if isinstance(prices, PriceCatalog) else PriceCatalog(overrides=prices)
        replay, changed = _priced_by(catalog), "Other prices"
    else:
        ttl = exact("cache_ttl_seconds", cache_ttl_seconds)
        replay, changed = _cached(int(ttl * MICROSECONDS)), f"Answers kept for {float(ttl):g} s"
    thrift.ledger.catch_up()
    notes: tuple[str, ...] = ()
    if cache_ttl_seconds is not None:
        notes = ("Equal prompts on one model count as one question; calls whose prompt was not hashed stay as they are.",)
    return _replay(
        thrift.database, replay, changed, by, None if since is None else to_us(since), None if until is None else to_us(until), notes
    )


def _replay(
    database: Database, replay: Repriced, changed: str, by: str, since_us: int | None, until_us: int | None, notes: Sequence[str]
) -> WhatIf:
    sums: dict[str | None, list[int]] = {}
    attempts = unpriced = 0
    for row in _rows(database, by, since_us, until_us):
        attempts += 1
        before = row.cost
        after = replay(row, before)
        if before is None or after is None:
            unpriced += 1
            continue
        amounts = sums.setdefault(row.of, [0, 0])
        amounts[0] += before
        amounts[1] += after
    rows = [
        {by: value, "before_usd": to_usd(before), "after_usd": to_usd(after), "change_usd": to_usd(after - before)}
        for value, (before, after) in sorted(sums.items(), key=lambda item: (-item[1][0], str(item[0])))
    ]
    before, after = (sum(amounts[index] for amounts in sums.values()) for index in (0, 1))
    return WhatIf(changed, by, tuple(rows), to_usd(before), to_usd(after), attempts, unpriced, tuple(notes))


def _rows(database: Database, by: str, since_us: int | None, until_us: int | None) -> Iterator[Any]:
    """The rows in the order of their times."""
    names = ("model", "provider", "at_us", "cache", "cache_saved_nano_usd", "prompt_hash", "id", *USAGE_COLUMNS)
    cost, output_cost = (func.coalesce(calls.c[name], adjustments.c[name]) for name in ("cost_nano_usd", "output_cost_nano_usd"))
    query = (
        select(*(calls.c[name] for name in names), calls.c[by].label("of"), cost.label("cost"), output_cost.label("output_cost"))
        .select_from(calls.outerjoin(adjustments, adjustments.c.request_id == calls.c.request_id))
        .order_by(calls.c.at_us, calls.c.id)
        .limit(_ROWS_AT_ONCE)
    )
    if until_us is not None:
        query = query.where(calls.c.at_us < until_us)
    page = query if since_us is None else query.where(calls.c.at_us >= since_us)
    while True:
        with database.read() as connection:
            rows = connection.execute(page).all()
        yield from rows
        if len(rows) < _ROWS_AT_ONCE:
            return
        last = rows[-1]
        page = query.where(and_(calls.c.at_us >= last.at_us, or_(calls.c.at_us > last.at_us, calls.c.id > last.id)))


def _longer(factor: Fraction) -> Repriced:
    def replay(row: Row[Any], before: int | None) -> int | None:
        if before is None:
            return None
        return before - (row.output_cost or 0) + round((row.output_cost or 0) * factor)

    return replay


def _moved(thrift: AccountHost, models: Mapping[str, str]) -> Repriced:
    if not models:
        raise ConfigurationError('model must name at least one model, such as model={"gpt-4o": "gpt-4o-mini"}')
    for new in models.values():
        if not thrift.prices.knows(new):
            raise UnknownModelError(new)
    prices = thrift.prices

    def replay(row: Row[Any], before: int | None) -> int | None:
        new = models.get(row.model)
        if new is None or row.cache is not None:
            return before
        return _price(prices, row, new, None)

    return replay


def _priced_by(prices: PriceCatalog) -> Repriced:
    def replay(row: Row[Any], before: int | None) -> int | None:
        return before if row.cache is not None else _price(prices, row, row.model, row.provider)

    return replay


def _price(prices: PriceCatalog, row: Row[Any], model: str, provider: str | None) -> int | None:
    found = prices.price(usage_of_row(row._mapping), model, provider, row.at_us)
    return None if found is None else found.nano_usd


def _cached(ttl_us: int) -> Repriced:
    stored_us: dict[tuple[str, str], int] = {}

    def replay(row: Row[Any], before: int | None) -> int | None:
        if row.prompt_hash is None or row.cache == "semantic":
            return before
        key = (row.model, row.prompt_hash)
        stored = stored_us.get(key)
        if stored is not None and row.at_us - stored <= ttl_us:
            return 0
        stored_us[key] = row.at_us
        # A hit whose answer would have been gone by then: it would have cost what it saved.
        return row.cache_saved_nano_usd if row.cache is not None else before

    return replay

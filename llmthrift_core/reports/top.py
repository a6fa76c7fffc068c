"""What costs most: the first rows of a report with all details, or single calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, select, text

from llmthrift_core.display import PrintedRows, html_table, percent, plain_table
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.ledger.reading import select_calls
from llmthrift_core.ledger.retention import pruned_until_us
from llmthrift_core.ledger.statements import MEASURES
from llmthrift_core.moments import Moment, from_us, to_us
from llmthrift_core.money import to_usd
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.reports.costly_calls import Usual, reasons
from llmthrift_core.reports.details import detailed_report
from llmthrift_core.reports.report import Report
from llmthrift_core.reports.sums import SumsReader
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.tables import COSTLY_NANO_USD, adjustments, calls

_MOST_READ: Final = 50_000  # rows of a period that are sorted by what they cost
_SHOWN: Final = ("at", "model", "user", "feature", "input_tokens", "output_tokens", "cost_usd", "share", "why")
_HEADER: Final = ("at", "model", "user", "feature", "input", "output", "cost", "share", "why")


@dataclass(frozen=True, repr=False)
class CostliestCalls(PrintedRows):
    """Single calls, most expensive first.

    Each row has: request_id, at (UTC), model, provider, user, feature, session, run (its name, or its trace), call_site, input_tokens,
    output_tokens, cost_usd, share (of the cost of the period's model calls), latency_seconds, attempt_reason, error, and why (sentences as
    in `run_costs`, compared with the mean call of the period).

    Attributes:
        rows: the rows, as mappings.
        notes: what a reader should know about the numbers.
    """

    rows: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...] = ()

    def to_text(self) -> str:
        """The rows as a table, each with its first reason."""
        if not self.rows:
            return "\n".join(["No priced calls are recorded in this period.", *self.notes])
        return "\n".join([plain_table(_HEADER, self._cells()), *self.notes])

    def _repr_html_(self) -> str:
        return html_table(_HEADER, self._cells()) + "".join(f"<p>{escape(note)}</p>" for note in self.notes)

    def _cells(self) -> list[list[Any]]:
        return [[_shown(row, name) for name in _SHOWN] for row in self.rows]


def top(
    database: Database,
    prices: PriceCatalog,
    *,
    n: int,
    by: str,
    since: Moment | None,
    until: Moment | None,
    now_us: int,
) -> Report | CostliestCalls:
    """The `n` that cost most.

    Args:
        by: as for `report`, or "call".
        now_us: where the period ends without `until`.

    Raises:
        ConfigurationError: `n` is no positive number, an unknown `by`, or a time that is none.
        StorageError: the database cannot be read.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ConfigurationError(f"n must be how many rows are wanted, at least 1, not {n!r}")
    if by == "call":
        return costliest_calls(database, prices, n, since=since, until=until)
    return first_rows(database, by, n, since=since, until=until, now_us=now_us)


def first_rows(
    database: Database, by: str, n: int, *, since: Moment | None, until: Moment | None, now_us: int, with_slow: bool = True
) -> Report:
    """The first `n` rows of a report with details, by cost, and the total of all.

    Args:
        with_slow: False leaves p95_latency_seconds unknown, for which the newest rows are read.

    Raises:
        ConfigurationError: an unknown `by`, or a time that is none.
        StorageError: the database cannot be read.
    """
    return detailed_report(database, by=by, since=since, until=until, tz=None, now_us=now_us, most=n, with_slow=with_slow)


def costliest_calls(database: Database, prices: PriceCatalog, n: int, *, since: Moment | None, until: Moment | None) -> CostliestCalls:
    """The `n` calls that cost most.

    Raises:
        ConfigurationError: a time that is none.
        StorageError: the database cannot be read.
    """
    since_us, until_us = None if since is None else to_us(since), None if until is None else to_us(until)
    pruned_us = pruned_until_us(database)
    within = [*([] if since_us is None else [calls.c.at_us >= since_us]), *([] if until_us is None else [calls.c.at_us < until_us])]
    notes = [] if pruned_us is None or (since_us is not None and since_us >= pruned_us) else ["Calls that were pruned are missing here."]
    with database.read() as connection:
        reader = SumsReader(connection, since_us=since_us, until_us=until_us, whole_before_us=pruned_us)
        sums = dict(zip(MEASURES, reader.total(), strict=True))
        ids, is_whole = _ids(connection, n, within, sums["attempts"])
        found = [dict(row._mapping) for row in connection.execute(select_calls().where(calls.c.id.in_(ids)))]
    if not is_whole:
        notes.append(f"Of calls below ${COSTLY_NANO_USD / 1e9:.2f} only the newest {_MOST_READ:,} of the period were looked at.")
    paid = sums["attempts"] - sums["cache_hits"]
    mean_in, mean_out = (sums["input_tokens"] / paid, sums["output_tokens"] / paid) if paid else (0.0, 0.0)
    usual = Usual(paid, mean_in, mean_out, "the mean of the period", has_cheaper_models=False, tier_of=cache(prices.tier))
    rows = [_row(row, sums["cost_nano_usd"], usual) for row in sorted(found, key=lambda row: (-row["cost_nano_usd"], row["id"]))[:n]]
    return CostliestCalls(tuple(rows), tuple(notes))


def _ids(connection: Connection, n: int, within: Sequence[ColumnElement[bool]], attempts: int) -> tuple[list[int], bool]:
    """The ids of the `n` calls that cost most, and some more; and whether all calls of the period were looked at."""
    later = select(calls.c.id).join(adjustments, adjustments.c.request_id == calls.c.request_id).where(*within)
    ids = list(connection.execute(later.order_by(adjustments.c.cost_nano_usd.desc()).limit(n)).scalars())
    if attempts > _MOST_READ:
        # The index has only those that cost a cent, which the term as it stands there tells.
        costly = select(calls.c.id).where(calls.c.cost_nano_usd >= text(str(COSTLY_NANO_USD)), *within)
        found = list(connection.execute(costly.order_by(calls.c.cost_nano_usd.desc()).limit(n)).scalars())
        if len(found) == n:
            return [*ids, *found], True
        ids += found
    newest = select(calls.c.id, calls.c.cost_nano_usd).where(*within).order_by(calls.c.at_us.desc()).limit(_MOST_READ).subquery()
    priced = select(newest.c.id).where(newest.c.cost_nano_usd > 0).order_by(newest.c.cost_nano_usd.desc()).limit(n)
    return [*ids, *connection.execute(priced).scalars()], attempts <= _MOST_READ


def _shown(row: Mapping[str, Any], name: str) -> Any:
    match name:
        case "at":
            return f"{row['at']:%Y-%m-%d %H:%M:%S}"
        case "share":
            return percent(row["share"])
        case "why":
            return row["why"][0] if row["why"] else ""
    return row[name]


def _row(row: Mapping[str, Any], whole: int, usual: Usual) -> dict[str, Any]:
    cost = int(row["cost_nano_usd"])
    return {
        "request_id": row["request_id"],
        "at": from_us(row["at_us"]),
        **{name: row[name] for name in ("model", "provider", "user", "feature", "session")},
        "run": row["run"] or row["trace_id"],
        **{name: row[name] for name in ("call_site", "input_tokens", "output_tokens")},
        "cost_usd": to_usd(cost),
        "share": cost / whole if whole else None,
        "latency_seconds": None if row["latency_us"] is None else row["latency_us"] / 1e6,
        "attempt_reason": row["attempt_reason"],
        "error": row["error"],
        "why": tuple(reasons(row, usual)),
    }

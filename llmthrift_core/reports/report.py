"""`Report`: use and cost in a period, one row per value of an attribute."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from decimal import Decimal
from heapq import nsmallest
from html import escape
from operator import add, itemgetter
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, func, literal_column, select, text

from llmthrift_core.display import PrintedRows, html_table, plain_table
from llmthrift_core.errors import ConfigurationError, MissingExtraError
from llmthrift_core.ledger.retention import pruned_until_us
from llmthrift_core.ledger.rollups import DAY, DIMENSIONS, HOUR
from llmthrift_core.ledger.statements import MEASURES
from llmthrift_core.moments import Moment, to_us, zone_of
from llmthrift_core.money import to_usd
from llmthrift_core.reports import columns
from llmthrift_core.reports.escalations import rate_of
from llmthrift_core.reports.sums import Amounts, SumsReader
from llmthrift_core.routing.cascades.escalation import escalation_alert
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.tables import COSTLY_NANO_USD, calls, rollups, run_of_calls

if TYPE_CHECKING:
    import pandas

_COST: Final = MEASURES.index("cost_nano_usd")
_OTHER_COST: Final = MEASURES.index("other_cost_nano_usd")
_ATTEMPTS: Final = MEASURES.index("attempts")
TIMES: Final = ("day", "hour", "month")
CHOICES: Final = (*DIMENSIONS, "run", *TIMES)
_COUNTS: Final = (
    "requests",
    "attempts",
    "errors",
    "retries",
    "fallbacks",
    "escalations",
    "routed",
    "escalated",
    "cache_hits",
    "unpriced",
    "estimated",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "shortened_tokens",
)
# What each lever saved; they add up.
SAVINGS: Final = (
    "cache_saved_nano_usd",
    "routing_saved_nano_usd",
    "shortening_saved_nano_usd",
    "prefix_saved_nano_usd",
    "batch_saved_nano_usd",
)

_NANO: Final = Decimal("1e-9")
# Runs have no stored sums: in a long period only the runs of some calls are read.
_NEWEST_CALLS: Final = 10_000
_COSTLY_CALLS: Final = 1_000
_COSTLY_BY_TIME: Final = 50_000
_OTHER_RUNS: Final = (
    f"Runs have no stored sums: these are the runs of the newest {_NEWEST_CALLS:,} calls of the period, and of the {_COSTLY_CALLS:,} calls "
    "that cost most and at least a cent. The total is of all; give since and until for others."
)
_counts_of: Final = itemgetter(*map(MEASURES.index, _COUNTS))
_savings_of: Final = itemgetter(*map(MEASURES.index, SAVINGS))


@dataclass(frozen=True, repr=False)
class Report(PrintedRows):
    """Use and cost, one row per value of `by`, most expensive first; hours, days and months in their order.

    Each row has: the value under the name of `by` (None: not given), requests (calls, hits included), attempts (model
    attempts and hits), errors, retries, fallbacks, escalations (attempts that were made because a cascade had rejected an
    answer), routed (requests through a router whose first answer came from here), escalated (answers that a cascade rejected),
    escalation_rate (share of routed whose first answer was rejected; None where nothing was routed), cache_hits, unpriced (rows
    without a price, which no cost includes), estimated (rows whose tokens are estimates), input_tokens, output_tokens,
    cache_read_tokens, cache_write_tokens, reasoning_tokens (billed tokens; parts are included in the totals), cost_usd =
    input_cost_usd + output_cost_usd + fees_usd (searches and whatever else is billed beside tokens, and what the rounding of a call's
    parts leaves), cost_per_request_usd, cost_per_1000_requests_usd, answers (attempts and hits that neither failed nor were rejected by a
    cascade), cost_per_answer_usd (which failures raise), error_rate (errors / attempts), retry_cost_usd and fallback_cost_usd (of
    attempts that repeated a failed one on the same model or on another; in cost_usd too), escalated_cost_usd (of rejected answers; in
    cost_usd too), saved_usd = cache_saved_usd + routing_saved_usd + shortening_saved_usd + prefix_saved_usd (by the provider's prompt
    cache) + batch_saved_usd, shortened_tokens, prefix_lost_usd and prefix_unread_usd (what missed prefixes cost, and writes that nobody
    read; in cost_usd too), other_cost_usd (not in cost_usd) and mean_latency_seconds (None: no row has one). Money is Decimal.

    Attributes:
        by: what the rows stand for.
        rows: the rows, as mappings.
        total: a row of the sums over all rows; its value of `by` is "total".
        notes: what a reader should know about the numbers.
        has_details: the rows also have share (of the cost in the total), p95_latency_seconds (of the newest calls of the period),
            previous_cost_usd (of the period of the same length before, or of the row before where rows are times) and trend (cost_usd /
            previous_cost_usd - 1). None is unknown.
    """

    by: str
    rows: tuple[Mapping[str, Any], ...]
    total: Mapping[str, Any]
    notes: tuple[str, ...] = field(default=())
    has_details: bool = False

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a DataFrame; money as floats, so that it can be plotted.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise MissingExtraError("notebook", "pandas") from None
        return pandas.DataFrame(
            [{name: float(value) if isinstance(value, Decimal) else value for name, value in row.items()} for row in self.rows],
            columns=list(self.total),
        )

    def to_text(self, width: int = 0) -> str:
        """The rows as a table. With the cost of input and output by themselves, where lines of `width` characters have room for it."""
        if not self.rows:
            return "\n".join(["No calls are recorded in this period.", *self.notes])
        header, rows, total = self.table(more=True)
        table = plain_table(header, rows, total=total, fold=False)
        if max(map(len, table.splitlines())) > width:
            header, rows, total = self.table()
            table = plain_table(header, rows, total=total)
        return "\n".join([table, *self.notes])

    def _repr_html_(self) -> str:
        header, rows, total = self.table()
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return html_table(header, rows, total=total) + notes

    def table(self, *, more: bool = False) -> tuple[list[str], list[list[Any]], list[Any]]:
        """Header, rows and total as people see them; `more`: with columns for wide lines."""
        if self.has_details:
            return columns.detailed(self.by, self.rows, self.total)
        return columns.plain(self.by, self.rows, self.total, more=more)


def report(
    database: Database,
    *,
    by: str = "model",
    since: Moment | None = None,
    until: Moment | None = None,
    tz: str | None = None,
    most: int | None = None,
) -> Report:
    """Sum up what is committed. The time does not grow with the number of calls.

    Args:
        by: one of CHOICES, or the name of a tag ("tag:NAME" where the name is one of CHOICES).
        since, until: the half-open period [since, until).
        tz: the time zone of hours, days and months; None is UTC.
        most: only so many rows, those that cost most; None: all. The total is of all.

    Raises:
        ConfigurationError: an unknown `by` or time zone, or a time that is none.
        StorageError: the database cannot be read.
    """
    since_us = None if since is None else to_us(since)
    until_us = None if until is None else to_us(until)
    zone = zone_of(tz)
    pruned_us = pruned_until_us(database)
    with database.read() as connection:
        reader = SumsReader(connection, since_us=since_us, until_us=until_us, whole_before_us=pruned_us)
        name, dimension = _asked(connection, by)
        runs = _some_runs(connection, since_us, until_us) if by == "run" else None
        if most is not None and dimension is not None:
            count, shown, sums = _first(reader, dimension, most)
        elif runs is not None:
            some = list(reader.by_run(runs).items())
            count, shown, sums = len(some), some if most is None else nsmallest(most, some, key=_by_cost), reader.total()
        else:
            groups = _groups(reader, by, zone, dimension)
            count, shown = len(groups), list(groups) if most is None else nsmallest(most, groups, key=_by_cost)
            sums = [0] * len(MEASURES)
            for _, amounts in groups:
                sums = list(map(add, sums, amounts))
    rows = [row_of(name, value, amounts) for value, amounts in shown]
    if by not in TIMES or most is not None:
        rows.sort(key=lambda row: (-row["cost_usd"] - row["other_cost_usd"], -row["requests"], str(row[name])))
    total = row_of(name, "total", sums)
    escalated = [
        alert
        for row in (rows if by == "model" else [total])
        if (alert := escalation_alert(row[name], answers=row["routed"], rate=row["escalation_rate"])) is not None
    ]
    left_out = [] if runs is None else [_OTHER_RUNS]
    cut = [f"The first {len(rows):,} of {count:,}; the others are in the total."] if len(rows) < count else []
    return Report(name, tuple(rows), total, (*cut, *left_out, *_notes(since_us, until_us, pruned_us, by), *escalated))


def costs_of(database: Database, *, by: str, values: Collection[Any], since_us: int, until_us: int) -> tuple[dict[Any, Decimal], Decimal]:
    """The cost by value of an attribute, run or tag, as in the rows of a report, and that of all of them.

    Raises:
        ConfigurationError: an unknown `by`.
        StorageError: the database cannot be read.
    """
    pruned_us = pruned_until_us(database)
    with database.read() as connection:
        reader = SumsReader(connection, since_us=since_us, until_us=until_us, whole_before_us=pruned_us, measures=("cost_nano_usd",))
        _, dimension = _asked(connection, by)
        groups = reader.by_run(values) if dimension is None else reader.by_dimension(dimension, values)
        (whole,) = reader.total()
    return {value: to_usd(nano_usd) for value, (nano_usd,) in groups.items()}, to_usd(whole)


def known_tags(database: Database) -> list[str]:
    """Names of the tags that were recorded. Raises StorageError."""
    with database.read() as connection:
        return _known_tags(connection)


def row_of(by: str, value: Any, amounts: Amounts) -> dict[str, Any]:
    """A row of a report from the sums of MEASURES."""
    sums = dict(zip(MEASURES, amounts, strict=True))
    cost = to_usd(sums["cost_nano_usd"])
    requests, timed, attempts = sums["requests"], sums["timed"], sums["attempts"]
    answers = max(0, attempts - sums["errors"] - sums["escalated"])
    return {
        by: value,
        **dict(zip(_COUNTS, _counts_of(amounts), strict=True)),
        "cost_usd": cost,
        "input_cost_usd": to_usd(sums["input_cost_nano_usd"]),
        "output_cost_usd": to_usd(sums["output_cost_nano_usd"]),
        "fees_usd": to_usd(sums["cost_nano_usd"] - sums["input_cost_nano_usd"] - sums["output_cost_nano_usd"]),
        "cost_per_request_usd": _per(cost, requests),
        "cost_per_1000_requests_usd": _per(cost * 1_000, requests),
        "answers": answers,
        "cost_per_answer_usd": _per(cost, answers),
        "error_rate": sums["errors"] / attempts if attempts else None,
        "escalation_rate": rate_of(sums),
        "retry_cost_usd": to_usd(sums["retry_cost_nano_usd"]),
        "fallback_cost_usd": to_usd(sums["fallback_cost_nano_usd"]),
        "escalated_cost_usd": to_usd(sums["escalated_cost_nano_usd"]),
        "saved_usd": to_usd(sum(_savings_of(amounts))),
        "cache_saved_usd": to_usd(sums["cache_saved_nano_usd"]),
        "routing_saved_usd": to_usd(sums["routing_saved_nano_usd"]),
        "shortening_saved_usd": to_usd(sums["shortening_saved_nano_usd"]),
        "prefix_saved_usd": to_usd(sums["prefix_saved_nano_usd"]),
        "prefix_lost_usd": to_usd(sums["prefix_lost_nano_usd"]),
        "prefix_unread_usd": to_usd(sums["prefix_unread_nano_usd"]),
        "batch_saved_usd": to_usd(sums["batch_saved_nano_usd"]),
        "other_cost_usd": to_usd(sums["other_cost_nano_usd"]),
        "mean_latency_seconds": sums["latency_us"] / timed / 1e6 if timed else None,
    }


def _per(usd: Decimal, count: int) -> Decimal | None:
    return (usd / count).quantize(_NANO) if count else None


def _asked(connection: Connection, by: str) -> tuple[str, str | None]:
    """The name of the first column, and the dimension of the rollups that has the sums; None where it is none."""
    if by in DIMENSIONS:
        return by, by
    if by == "run" or by in TIMES:
        return by, None
    name = by.removeprefix("tag:") if isinstance(by, str) else by
    known = _known_tags(connection)
    if name in known or (name != by and not known):  # no tag is recorded yet: this one may come
        return name, f"tag:{name}"
    tags = f", or a tag that was recorded: {', '.join(known)}" if known else ", or, of a tag that is still to come, tag:NAME"
    raise ConfigurationError(f"cannot report by {by!r}; choose one of {', '.join(CHOICES)}{tags}")


def _groups(reader: SumsReader, by: str, zone: tzinfo, dimension: str | None) -> Sequence[tuple[Any, Amounts]]:
    """The sums per value."""
    if dimension is not None:
        return list(reader.by_dimension(dimension).items())
    if by == "run":
        return list(reader.by_run().items())
    return _by_time(reader, by, zone)


def _first(reader: SumsReader, dimension: str, most: int) -> tuple[int, list[tuple[Any, Amounts]], Amounts]:
    """How many values there are, the sums of the first by cost, and those of all: of the others only the cost is read."""
    found = reader.largest(dimension, most)
    if found is not None:
        count, spent_on = found
        rest = reader.only(("cost_nano_usd", "other_cost_nano_usd", "attempts")).by_dimension(dimension, [None]).get(None)
        is_shown = rest is not None and (len(spent_on) < most or sum(rest[:2]) >= min(spent_on.values()))
        groups = reader.by_dimension(dimension, [*spent_on, None] if is_shown else spent_on)
        return count + (rest is not None), nsmallest(most, groups.items(), key=_by_cost), reader.total()
    spent = reader.only(("cost_nano_usd", "other_cost_nano_usd", "attempts")).by_dimension(dimension)
    first = nsmallest(most, spent, key=lambda value: (-sum(spent[value][:2]), -spent[value][2], str(value)))
    return len(spent), list(reader.by_dimension(dimension, first).items()), reader.total()


def _some_runs(connection: Connection, since_us: int | None, until_us: int | None) -> set[str] | None:
    """The runs of the newest calls of a period and of those that cost most; None where the period has no more calls than are looked at."""
    within = [*([] if since_us is None else [calls.c.at_us >= since_us]), *([] if until_us is None else [calls.c.at_us < until_us])]
    newest = select(calls.c.at_us).where(*within).order_by(calls.c.at_us.desc()).offset(_NEWEST_CALLS).limit(1)
    edge_us = connection.execute(newest).scalar()
    if edge_us is None:
        return None
    named = select(run_of_calls).where(*within, run_of_calls.is_not(None))
    # The index has only those that cost a cent, which the term as it stands there tells.
    cost: Any = calls.c.cost_nano_usd
    many = connection.execute(newest.offset(_COSTLY_BY_TIME)).scalar() is not None
    if not many:
        cost = cost + literal_column("0")  # a short period is found by its time: the index would lead through all the others
    costly = named.where(cost >= text(str(COSTLY_NANO_USD))).order_by(cost.desc()).limit(_COSTLY_CALLS)
    newest_runs = named.where(calls.c.at_us > edge_us)
    return {*connection.execute(newest_runs).scalars().all(), *connection.execute(costly).scalars().all()}


def _by_cost(group: tuple[Any, Amounts]) -> tuple[int, int, str]:
    value, amounts = group
    return -amounts[_COST] - amounts[_OTHER_COST], -amounts[_ATTEMPTS], str(value)


def _by_time(reader: SumsReader, by: str, zone: tzinfo) -> list[tuple[str, Amounts]]:
    groups: dict[str, Amounts] = {}
    for begin, amounts in sorted(reader.by_time(HOUR if by == "hour" else DAY, zone).items()):
        label = _label(begin, by)
        groups[label] = list(map(add, groups[label], amounts)) if label in groups else amounts
    return list(groups.items())


def _label(begin: datetime, by: str) -> str:
    if by == "hour":
        return begin.isoformat(timespec="minutes")
    return begin.isoformat()[: 10 if by == "day" else 7]


def _known_tags(connection: Connection) -> list[str]:
    """Names of recorded tags. One step through the index per dimension: a DISTINCT would read the whole table."""
    names: list[str] = []
    last = "tag:"
    while True:
        found = connection.execute(select(func.min(rollups.c.dimension)).where(rollups.c.dimension > last)).scalar()
        if found is None or not found.startswith("tag:"):
            return names
        names.append(found.removeprefix("tag:"))
        last = found


def _notes(since_us: int | None, until_us: int | None, pruned_us: int | None, by: str) -> tuple[str, ...]:
    if pruned_us is None:
        return ()
    if by == "run" and (since_us is None or since_us < pruned_us):
        return ("Calls that were pruned are missing here: runs have no stored sums.",)
    if any(edge is not None and edge < pruned_us for edge in (since_us, until_us)):
        return ("The period begins or ends where single calls were pruned: it is widened there, to whole hours at most.",)
    return ()

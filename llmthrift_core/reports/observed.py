"""`ObservedReport`: what each lever would have saved, from traffic that nothing was changed of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from html import escape
from typing import Any, Final

from sqlalchemy import func, select

from llmthrift_core.display import Printed, counted, html_table, percent, plain_table, spent_on, usd
from llmthrift_core.ledger.retention import pruned_until_us
from llmthrift_core.ledger.statements import MEASURES
from llmthrift_core.moments import DAY_US, Moment, to_us
from llmthrift_core.money import to_usd
from llmthrift_core.reports.optimizations.opportunity import Estimate, sum_of_sample
from llmthrift_core.reports.report import report
from llmthrift_core.reports.sums import SumsReader
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.tables import adjustments, calls, semantic_counts

_MOST_CALLS: Final = 5_000
_COSTLIEST: Final = 10
_HEADER: Final = ("would have saved", "saved", "range", "of the cost", "calls")
_SUMMED: Final = (
    (
        "routing",
        "observed_routing_nano_usd",
        "the router's policy chose; its answers would have been as good as it expects",
        "ask through a ChatRouter or a RouterLLM in observe mode",
    ),
    (
        "prefix caching",
        "observed_prefix_nano_usd",
        "prefixes would have been read from the provider's prompt cache while it lives",
        "give the models prefix caching in observe mode",
    ),
    (
        "shortening",
        "observed_shortening_nano_usd",
        "the shortening that is set up would have been applied, and the answers would have been as good",
        "give the models a shortening policy in observe mode",
    ),
)


@dataclass(frozen=True, slots=True)
class Lever:
    """One way to save, as observe mode saw it.

    Attributes:
        name: "exact caching", "semantic caching", "routing", "prefix caching" or "shortening".
        saved_usd: what it would have saved; None: nothing is known of it.
        low_usd, high_usd: where that lies in 8 of 10 periods of the same traffic; None with `saved_usd`.
        calls: how many of the newest calls it would have changed.
        assumed: what the figure takes for granted, or what to do so that it is known.
    """

    name: str
    saved_usd: Decimal | None
    low_usd: Decimal | None
    high_usd: Decimal | None
    calls: int
    assumed: str


@dataclass(frozen=True, repr=False)
class ObservedReport(Printed):
    """What was spent, what each lever would have saved of it, and the ten costliest call sites.

    A hit is never routed, so that caching and routing may be added; prefix caching and shortening overlap with them.

    Attributes:
        spent_usd: the cost of all priced model calls.
        requests: how many there were.
        levers: exact caching, semantic caching, routing, prefix caching, shortening.
        costliest_call_sites: at most ten rows of `report(by="call_site")`.
        notes: what a reader should know about the numbers.
        unpriced: calls without a price, which no amount includes.
    """

    spent_usd: Decimal
    requests: int
    levers: tuple[Lever, ...]
    costliest_call_sites: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...] = ()
    unpriced: int = 0

    def lever(self, name: str) -> Lever:
        """The lever of a name.

        Raises:
            KeyError: there is none.
        """
        for each in self.levers:
            if each.name == name:
                return each
        raise KeyError(name)

    def to_dicts(self) -> list[dict[str, Any]]:
        """The levers as dicts."""
        return [{name: getattr(each, name) for name in Lever.__slots__} for each in self.levers]

    def to_text(self) -> str:
        """The levers, what each assumes, and the call sites."""
        if not self.requests:
            return "\n".join(["No calls are recorded in this period.", *self.notes])
        lines = [self._spent(), "", plain_table(_HEADER, self._cells()), ""]
        lines += [f"{each.name}: {each.assumed}" for each in self.levers]
        rows = [[row["call_site"], row["requests"], row["cost_usd"]] for row in self.costliest_call_sites]
        lines += ["", plain_table(["costliest call sites", "requests", "cost"], rows), *self.notes]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        if not self.requests:
            return f"<p>{escape(self.to_text())}</p>"
        rows = [[row["call_site"], row["requests"], row["cost_usd"]] for row in self.costliest_call_sites]
        assumed = "".join(f"<li>{escape(each.name)}: {escape(each.assumed)}</li>" for each in self.levers)
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        sites = html_table(["costliest call sites", "requests", "cost"], rows)
        return f"<p>{escape(self._spent())}</p>{html_table(_HEADER, self._cells())}<ul>{assumed}</ul>{sites}{notes}"

    def _spent(self) -> str:
        return spent_on(self.spent_usd, self.requests, self.unpriced)

    def _cells(self) -> list[list[Any]]:
        return [
            [
                each.name,
                "not known" if each.saved_usd is None else each.saved_usd,
                "" if each.low_usd is None or each.high_usd is None else f"{usd(each.low_usd)} to {usd(each.high_usd)}",
                "" if each.saved_usd is None or not self.spent_usd else percent(float(each.saved_usd / self.spent_usd)),
                "" if each.saved_usd is None else each.calls,
            ]
            for each in self.levers
        ]


def observed(database: Database, *, since: Moment | None, until: Moment | None) -> ObservedReport:
    """Sum up what observe mode found in [since, until), from what is committed.

    Raises:
        ConfigurationError: a time that is none.
        StorageError: the database cannot be read.
    """
    since_us, until_us = None if since is None else to_us(since), None if until is None else to_us(until)
    pruned_us = pruned_until_us(database)
    with database.read() as connection:
        reader = SumsReader(connection, since_us=since_us, until_us=until_us, whole_before_us=pruned_us)
        sums = dict(zip(MEASURES, reader.total(), strict=True))
        rows = connection.execute(_newest(since_us, until_us)).all()
        risk = _semantic_risk(connection, since_us)
    sites = report(database, by="call_site", since=since, until=until)
    notes = []
    if sums["unpriced"]:
        notes.append(f"{counted(sums['unpriced'], 'call has no price and is', 'calls have no price and are')} in no amount.")
    if sums["cache_hits"]:
        notes.append(
            f"{counted(sums['cache_hits'], 'request was', 'requests were')} answered from a cache: not all of this traffic was "
            "only observed."
        )
    levers = tuple(_levers(_Newest(rows), sums, risk))
    spent, costliest = to_usd(sums["cost_nano_usd"]), tuple(sites.rows[:_COSTLIEST])
    return ObservedReport(spent, sums["requests"], levers, costliest, tuple(notes), sums["unpriced"])


class _Newest:
    """The newest calls, newest first, as tuples of the query's columns."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self.rows = rows
        self.by_words: set[str] = set()
        seen: set[tuple[str, str]] = set()
        for row in reversed(rows):
            if row.prompt_hash is None or row.error is not None:
                continue
            if (key := (row.model, row.prompt_hash)) in seen:
                self.by_words.add(row.request_id)
            seen.add(key)
        self.are_asked_words_known = bool(seen)

    def estimate(self, values: Sequence[int], whole: int | None) -> Estimate:
        """The sum with its interval, brought up to what the whole period is known to add up to."""
        found = sum_of_sample([float(value) for value in values], sampled=len(self.rows), of=len(self.rows))
        total = sum(values)
        return found if whole is None or total <= 0 else found.times(whole / total)


def _levers(newest: _Newest, sums: Mapping[str, int], risk: float | None) -> Iterator[Lever]:
    hits = {row.request_id: int(row.observed_cache_nano_usd) for row in newest.rows if row.observed_cache_nano_usd is not None}
    whole = sums["observed_cache_nano_usd"]
    scale = whole / sum(hits.values()) if sum(hits.values()) else 1.0
    exact = [cost for request_id, cost in hits.items() if request_id in newest.by_words]
    similar = [cost for request_id, cost in hits.items() if request_id not in newest.by_words]
    if hits:
        found = newest.estimate(exact, None).times(scale)
        yield _lever("exact caching", found, len(exact), "the caches that are set up were asked, and had the same words")
    elif newest.are_asked_words_known:
        repeated = [int(row.cost) for row in newest.rows if row.request_id in newest.by_words and row.cost]
        found = sum_of_sample([float(cost) for cost in repeated], sampled=len(newest.rows), of=sums["attempts"])
        assumed = "no cache is set up: what the same model had been asked before, word for word, within the newest calls"
        yield _lever("exact caching", found, len(repeated), assumed)
    else:
        yield _unknown("exact caching", 'set up a cache in observe mode, or record what was asked: Thrift(capture="features")')
    if similar or risk is not None:
        at = "the risk that its policy is set to" if risk is None else f"a risk of at most {percent(risk)} that an answer is wrong"
        found = newest.estimate(similar, None).times(scale)
        yield _lever("semantic caching", found, len(similar), f"at {at}; word for word repetitions are not in it")
    else:
        how = "give the models a SemanticCache in observe mode, which keeps wrong answers at 1% unless it is told otherwise"
        yield _unknown("semantic caching", how)
    for name, column, known, how in _SUMMED:
        values = [int(getattr(row, column)) for row in newest.rows if getattr(row, column) is not None]
        if values or sums[column]:
            yield _lever(name, newest.estimate(values, sums[column]), sum(value != 0 for value in values), known)
        else:
            yield _unknown(name, how)


def _lever(name: str, found: Estimate, count: int, assumed: str) -> Lever:
    low, middle, high = (to_usd(round(amount)) for amount in (found.low, found.nano_usd, found.high))
    return Lever(name, middle, low, high, count, assumed)


def _unknown(name: str, how: str) -> Lever:
    return Lever(name, None, None, None, 0, f"not known; {how}")


def _newest(since_us: int | None, until_us: int | None) -> Any:
    observed_columns = [calls.c[name] for name in calls.c.keys() if name.startswith("observed_")]  # noqa: SIM118 - not a dict
    cost = func.coalesce(calls.c.cost_nano_usd, adjustments.c.cost_nano_usd).label("cost")
    columns = (calls.c.request_id, calls.c.model, calls.c.prompt_hash, calls.c.error, cost, *observed_columns)
    query = select(*columns).select_from(calls.outerjoin(adjustments, adjustments.c.request_id == calls.c.request_id))
    query = query.where(calls.c.cache.is_(None))
    if since_us is not None:
        query = query.where(calls.c.at_us >= since_us)
    if until_us is not None:
        query = query.where(calls.c.at_us < until_us)
    return query.order_by(calls.c.at_us.desc(), calls.c.id.desc()).limit(_MOST_CALLS)


def _semantic_risk(connection: Any, since_us: int | None) -> float | None:
    """The highest risk that a semantic cache took; None where none was asked."""
    query = select(func.max(semantic_counts.c.risk)).where(semantic_counts.c.requests > 0)
    if since_us is not None:
        query = query.where(semantic_counts.c.day >= since_us // DAY_US)
    found = connection.execute(query).scalar()
    return None if found is None else float(found)

"""Sums of calls by attribute and time, as they are added to the table `rollups`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import add, itemgetter
from typing import Any, Final

from llmthrift_core.attribution import Attribution
from llmthrift_core.ledger.record import CallRecord, Layout
from llmthrift_core.ledger.statements import MEASURES
from llmthrift_core.storage.backend import Row

QUARTER: Final = 900
HOUR: Final = 3_600
DAY: Final = 86_400
THIRTY_DAYS: Final = 30 * DAY

# The attributes that have sums of their own. Tags have the dimension "tag:<name>".
DIMENSIONS: Final = (
    "model",
    "provider",
    "feature",
    "request_type",
    "prompt_version",
    "config_version",
    "call_site",
    "cache",
    "user",
    "session",
)
_DIMENSIONS_OF_GROUPS: Final = DIMENSIONS[:-2]
# All calls together, also by quarter of an hour: days begin there in some time zones.
ALL: Final = "all"
_SPANS: Final = (HOUR, DAY)
_SPANS_OF_ALL: Final = (QUARTER, HOUR, DAY)
# Of attributes with many values: a report of a year reads a thirtieth of their days.
_SPANS_OF_PEOPLE: Final = (HOUR, DAY, THIRTY_DAYS)
_QUARTER_US: Final = QUARTER * 1_000_000

# Dimension, span, bucket, value.
Key = tuple[str, int, int, str]

# What rows have amounts of, and may leave unknown.
_AMOUNTS: Final = (
    "input_tokens",
    "output_tokens",
    "cost_nano_usd",
    "input_cost_nano_usd",
    "output_cost_nano_usd",
    "latency_us",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "saved_input_tokens",
    "saved_output_tokens",
    "cache_saved_nano_usd",
    "routing_saved_nano_usd",
    "observed_cache_nano_usd",
    "observed_routing_nano_usd",
    "prefix_saved_nano_usd",
    "prefix_lost_nano_usd",
    "prefix_unread_nano_usd",
    "batch_saved_nano_usd",
    "shortening_saved_nano_usd",
    "shortened_tokens",
    "observed_shortening_nano_usd",
    "observed_prefix_nano_usd",
)
# The measures that follow from what else a row says, with what a row says by default.
_FOLLOWING: Final[dict[str, tuple[Any, tuple[str, ...]]]] = {
    "attempt": (1, ()),
    "cache": ("", ("cache_hits",)),
    "attempt_reason": ("", ("retries", "fallbacks", "escalations", "retry_cost_nano_usd", "fallback_cost_nano_usd")),
    "error": ("", ("errors",)),
    "estimated": (0, ("estimated",)),
    "tier": ("", ("routed",)),
    "escalated": (0, ("escalated", "escalated_requests", "escalated_cost_nano_usd")),
}
_OTHER_COST: Final = "other_cost_nano_usd"


def spans_of(dimension: str) -> tuple[int, ...]:
    """The lengths of the buckets of a dimension, in seconds, each a divisor of the next."""
    if dimension == ALL:
        return _SPANS_OF_ALL
    return _SPANS_OF_PEOPLE if dimension in ("user", "session") or dimension.startswith("tag:") else _SPANS


class _Shape:
    """Which measures the rows of a layout add to, and where in a row they are.

    Rows of one kind, those that agree in all but their names and amounts, are counted and added up together.
    """

    def __init__(self, layout: Layout, *, with_other_costs: bool) -> None:
        places = {name: place for place, name in enumerate(layout.columns)}
        amounts = tuple(name for name in _AMOUNTS if name in places)
        self._said = tuple(name for name in _FOLLOWING if name in places)
        measures = {"requests", "attempts", "unpriced", "timed", *amounts}
        measures.update(*(_FOLLOWING[name][1] for name in self._said), (_OTHER_COST,) if with_other_costs else ())
        self.measures = tuple(name for name in MEASURES if name in measures)
        self.at_us, self.user, self.session, self.tags = (places[name] for name in ("at_us", "user", "session", "tags"))
        self.cost, self.latency = places["cost_nano_usd"], places.get("latency_us")
        self.amounts = _taker([places[name] for name in amounts])
        self.said = _taker([places[name] for name in self._said])
        self.group = _taker([places[name] for name in _DIMENSIONS_OF_GROUPS if name in places])
        self._sums = {name: place for place, name in enumerate(amounts, 2)}

    def measures_of(self, kind: _Kind) -> Callable[[tuple[int, ...]], tuple[int, ...]]:
        """Takes the measures out of (0, number of rows, sum of each amount), for rows of this kind."""
        priced, timed, said = kind
        row = {name: default for name, (default, _) in _FOLLOWING.items()} | dict(zip(self._said, said, strict=False))
        reason, is_routed = row["attempt_reason"], row["tier"] != ""
        is_first = is_routed and row["error"] == "" and reason != "escalation"
        was_rejected = is_routed and bool(row["escalated"])
        counted = {
            "requests": row["attempt"] == 1,
            "attempts": True,
            "errors": row["error"] != "",
            "retries": reason == "retry",
            "fallbacks": reason == "fallback",
            "escalations": reason == "escalation",
            "cache_hits": row["cache"] != "",
            "unpriced": not priced,
            "estimated": bool(row["estimated"]),
            "timed": timed,
            "routed": is_first,
            "escalated": was_rejected,
            "escalated_requests": is_first and was_rejected,
        }
        costs = {
            "escalated_cost_nano_usd": was_rejected,
            "retry_cost_nano_usd": reason == "retry",
            "fallback_cost_nano_usd": reason == "fallback",
        }
        places = self._sums | {name: int(counts) for name, counts in counted.items()}
        places |= {name: self._sums["cost_nano_usd"] if counts else 0 for name, counts in costs.items()}
        return itemgetter(*(places.get(name, 0) for name in self.measures))


_shape_of = lru_cache(maxsize=64)(_Shape)
_EVERYTHING: Final = Layout(frozenset((*_AMOUNTS, *_FOLLOWING)))
# Whether there is a price, and a latency, and what else the row says.
_Kind = tuple[bool, bool, tuple[Any, ...]]
# Amounts of rows, by what they are added up for.
_Lists = defaultdict[tuple[Any, ...], list[Sequence[int]]]


class Sums:
    """Sums of a batch of calls and other costs.

    Rows that agree in everything but user, session and tags are added up first, and that total is added to each of their
    dimensions: a batch has few models and features, but may have a user per row.

    Args:
        layout: of the rows; None is that of everything that has sums.
        with_other_costs: whether there are any.

    Attributes:
        measures: what is added to, in the order of the table.
    """

    def __init__(self, layout: Layout | None = None, *, with_other_costs: bool = True) -> None:
        self._layout = layout or _EVERYTHING
        self._shape = _shape_of(self._layout, with_other_costs=with_other_costs)
        self.measures = self._shape.measures
        self._listed: dict[_Kind, tuple[_Lists, _Lists]] = {}
        self._groups: dict[tuple[Any, ...], Sequence[int]] = {}
        self._people: dict[tuple[Any, ...], Sequence[int]] = {}

    def add_call(self, call: CallRecord) -> None:
        """Add one ledger row."""
        self.add_calls([self._layout.values(call)], [call])

    def add_calls(self, rows: Iterable[Row], calls: Iterable[CallRecord]) -> None:
        """Add ledger rows.

        Args:
            rows: of the layout.
            calls: what they are of.
        """
        shape, listed = self._shape, self._listed
        amounts_of, said_by, group_of = shape.amounts, shape.said, shape.group
        at_us, user, session, tags = shape.at_us, shape.user, shape.session, shape.tags
        cost, latency = shape.cost, shape.latency
        for row, call in zip(rows, calls, strict=True):
            amounts: Sequence[Any] = amounts_of(row)
            if "" in amounts:  # unknown
                amounts = [amount or 0 for amount in amounts]
                kind = (row[cost] != "", latency is not None and row[latency] != "", said_by(row))
            else:
                kind = (True, latency is not None, said_by(row))
            if (lists := listed.get(kind)) is None:
                lists = listed[kind] = (defaultdict(list), defaultdict(list))
            groups, people = lists
            quarter = row[at_us] // _QUARTER_US
            groups[quarter, group_of(row)].append(amounts)
            hour = quarter >> 2
            if row[user]:
                people["user", hour, row[user]].append(amounts)
            if row[session]:
                people["session", hour, row[session]].append(amounts)
            if row[tags]:
                for name, value in call.attribution.tags:
                    if value:
                        people[f"tag:{name}", hour, value].append(amounts)

    def add_backfill(self, call: CallRecord, cost: int, input_cost: int, output_cost: int) -> None:
        """Add the later price of a row that was unpriced."""
        amounts = {"unpriced": -1, "cost_nano_usd": cost, "input_cost_nano_usd": input_cost, "output_cost_nano_usd": output_cost}
        if call.escalated:
            amounts["escalated_cost_nano_usd"] = cost
        if (reason := call.attempt_reason) in ("retry", "fallback"):
            amounts[f"{reason}_cost_nano_usd"] = cost
        self._add(call.at_us, call.model, call.provider, call.cache, call.attribution, amounts)

    def add_other_cost(self, at_us: int, nano_usd: int, who: Attribution) -> None:
        """Add a cost that is not a model call."""
        self._add(at_us, None, None, None, who, {_OTHER_COST: nano_usd})

    def rows(self, *, sign: int = 1, dimensions: Iterable[str] | None = None) -> list[tuple[Any, ...]]:
        """Rows for `add_to_rollups(self.measures)`, sorted by key: two processes that lock them in one order cannot deadlock.

        Args:
            sign: -1 takes the sums away again.
            dimensions: only these; "tag" stands for every tag.
        """
        wanted = None if dimensions is None else frozenset(dimensions)
        totals: dict[Key, Sequence[int]] = {}
        for key, sums in self._keyed():
            if wanted is None or key[0].partition(":")[0] in wanted:
                _count(totals, key, sums)
        if sign == 1:
            return [(*key, *totals[key]) for key in sorted(totals)]
        return [(*key, *(sign * amount for amount in totals[key])) for key in sorted(totals)]

    def _add(
        self, at_us: int, model: str | None, provider: str | None, cache: str | None, who: Attribution, amounts: Mapping[str, int]
    ) -> None:
        quarter = at_us // _QUARTER_US
        sums = [amounts.get(name, 0) for name in self.measures]
        group = (model, provider, who.feature, who.request_type, who.prompt_version, who.config_version, who.call_site, cache)
        _count(self._groups, (quarter, group), sums)
        for dimension, value in (("user", who.user), ("session", who.session), *((f"tag:{name}", value) for name, value in who.tags)):
            if value:
                _count(self._people, (dimension, quarter >> 2, value), sums)

    def _keyed(self) -> Iterator[tuple[Key, Sequence[int]]]:
        self._add_up()
        for (quarter, values), sums in self._groups.items():
            seconds = quarter * QUARTER
            for span in _SPANS_OF_ALL:
                yield (ALL, span, seconds - seconds % span, ""), sums
            for dimension, value in zip(_DIMENSIONS_OF_GROUPS, values, strict=False):
                if value:
                    for span in _SPANS:
                        yield (dimension, span, seconds - seconds % span, value), sums
        people = sorted(self._people)  # nearly in the order of the rows already, which are sorted the quicker
        for span in _SPANS_OF_PEOPLE:
            for person in people:
                dimension, hour, value = person
                seconds = hour * HOUR
                yield (dimension, span, seconds - seconds % span, value), self._people[person]

    def _add_up(self) -> None:
        for kind, lists in self._listed.items():
            measures_of = self._shape.measures_of(kind)
            for listed, totals in zip(lists, (self._groups, self._people), strict=True):
                for key, amounts in listed.items():
                    _count(totals, key, measures_of((0, len(amounts), *map(sum, zip(*amounts, strict=True)))))
        self._listed.clear()


def _taker(places: Sequence[int]) -> Callable[[Row], tuple[Any, ...]]:
    """Takes these values out of a row, always as a tuple."""
    if not places:
        return lambda row: ()
    if len(places) == 1:
        return lambda row: (row[places[0]],)
    return itemgetter(*places)


def _count(totals: dict[Any, Sequence[int]], key: tuple[Any, ...], sums: Sequence[int]) -> None:
    found = totals.get(key)
    totals[key] = sums if found is None else list(map(add, found, sums))

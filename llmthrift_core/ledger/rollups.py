"""Sums of calls by attribute and time, as they are added to the table `rollups`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import add, attrgetter
from typing import Any, Final, Protocol

from llmthrift_core.attribution import Attribution
from llmthrift_core.ledger.record import CallRecord
from llmthrift_core.ledger.statements import MEASURES

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
# All calls together, also by quarter of an hour: days begin there in some time zones.
ALL: Final = "all"
_SPANS: Final = (HOUR, DAY)
_SPANS_OF_ALL: Final = (QUARTER, HOUR, DAY)
# Of attributes with many values: a report of a year reads a thirtieth of their days.
_SPANS_OF_PEOPLE: Final = (HOUR, DAY, THIRTY_DAYS)
_QUARTER_US: Final = QUARTER * 1_000_000

# Dimension, span, bucket, value.
Key = tuple[str, int, int, str]

_REQUESTS: Final = MEASURES.index("requests")
_ATTEMPTS: Final = MEASURES.index("attempts")
_ERRORS: Final = MEASURES.index("errors")
_CACHE_HITS: Final = MEASURES.index("cache_hits")
_UNPRICED: Final = MEASURES.index("unpriced")
_ESTIMATED: Final = MEASURES.index("estimated")
_INPUT: Final = MEASURES.index("input_tokens")
_OUTPUT: Final = MEASURES.index("output_tokens")
_TIMED: Final = MEASURES.index("timed")
_LATENCY: Final = MEASURES.index("latency_us")
_COST: Final = MEASURES.index("cost_nano_usd")
_INPUT_COST: Final = MEASURES.index("input_cost_nano_usd")
_OUTPUT_COST: Final = MEASURES.index("output_cost_nano_usd")
_OTHER_COST: Final = MEASURES.index("other_cost_nano_usd")
_ROUTED: Final = MEASURES.index("routed")
_ESCALATED: Final = MEASURES.index("escalated")
_ESCALATED_REQUESTS: Final = MEASURES.index("escalated_requests")
_ESCALATED_COST: Final = MEASURES.index("escalated_cost_nano_usd")
_REASONS: Final = {
    "retry": MEASURES.index("retries"),
    "fallback": MEASURES.index("fallbacks"),
    "escalation": MEASURES.index("escalations"),
}
_REASON_COSTS: Final = {
    "retry": MEASURES.index("retry_cost_nano_usd"),
    "fallback": MEASURES.index("fallback_cost_nano_usd"),
}
# Rarer amounts, which most rows leave at zero or unknown.
_RARE: Final = tuple(
    (name, MEASURES.index(name))
    for name in (
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
)


def spans_of(dimension: str) -> tuple[int, ...]:
    """The lengths of the buckets of a dimension, in seconds, each a divisor of the next."""
    if dimension == ALL:
        return _SPANS_OF_ALL
    return _SPANS_OF_PEOPLE if dimension in ("user", "session") or dimension.startswith("tag:") else _SPANS


class Summable(Protocol):
    """What of a ledger row enters the sums: a CallRecord, or a row read back."""

    @property
    def attribution(self) -> Attribution: ...

    at_us: int
    model: str
    provider: str | None
    cache: str | None
    attempt: int
    attempt_reason: str | None
    error: str | None
    estimated: Any
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int | None
    input_cost_nano_usd: int | None
    output_cost_nano_usd: int | None
    latency_us: int | None
    tier: str | None
    escalated: Any


class Sums:
    """Sums of a batch of calls and other costs.

    Rows that agree in everything but user, session and tags are added up first, and that total is added to each of their
    dimensions: a batch has few models and features, but may have a user per row.
    """

    def __init__(self) -> None:
        self._groups: dict[tuple[Any, ...], list[int]] = {}
        self._people: dict[tuple[str, int, str], list[int]] = {}
        self._plain_groups: dict[tuple[Any, ...], list[tuple[int, ...]]] = {}
        self._plain_people: dict[tuple[Any, ...], list[tuple[int, ...]]] = {}

    def add_plain_call(self, call: CallRecord) -> None:
        """Add a record that `is_plain`: a third of the time of `add_call`, which most records can spare."""
        amounts = _plain_amounts(call) if call.latency_us is None else _plain_timed_amounts(call)
        if None in amounts:  # unpriced
            self.add_call(call)
            return
        timed = len(amounts) > _PLAIN_UNTIMED
        quarter = call.at_us // _QUARTER_US
        who = call.attribution
        group = (timed, *_group(quarter, call.model, call.provider, who, None))
        _listed(self._plain_groups, group).append(amounts)
        for person in _people(quarter, who):
            _listed(self._plain_people, (timed, *person)).append(amounts)

    def add_call(self, call: Summable) -> None:
        """Add one ledger row."""
        amounts = [(_ATTEMPTS, 1), (_INPUT, call.input_tokens), (_OUTPUT, call.output_tokens)]
        if call.attempt == 1:
            amounts.append((_REQUESTS, 1))
        if (cost := call.cost_nano_usd) is None:
            amounts.append((_UNPRICED, 1))
        else:
            amounts.append((_COST, cost))
            amounts.append((_INPUT_COST, call.input_cost_nano_usd or 0))
            amounts.append((_OUTPUT_COST, call.output_cost_nano_usd or 0))
        if call.latency_us is not None:
            amounts.append((_TIMED, 1))
            amounts.append((_LATENCY, call.latency_us))
        if call.cache is not None:
            amounts.append((_CACHE_HITS, 1))
        if call.error is not None:
            amounts.append((_ERRORS, 1))
        if call.estimated:
            amounts.append((_ESTIMATED, 1))
        if (reason := call.attempt_reason) in _REASONS:
            amounts.append((_REASONS[reason], 1))
            if reason in _REASON_COSTS and cost:
                amounts.append((_REASON_COSTS[reason], cost))
        if call.tier is not None:
            is_first = call.error is None and call.attempt_reason != "escalation"
            amounts.append((_ROUTED, int(is_first)))
            if call.escalated:
                amounts += [(_ESCALATED, 1), (_ESCALATED_REQUESTS, int(is_first)), (_ESCALATED_COST, call.cost_nano_usd or 0)]
        for name, index in _RARE:
            if amount := getattr(call, name):
                amounts.append((index, amount))
        self._add(call.at_us, call.model, call.provider, call.cache, call.attribution, amounts)

    def add_backfill(self, call: Summable, cost: int, input_cost: int, output_cost: int) -> None:
        """Add the later price of a row that was unpriced."""
        amounts = [(_UNPRICED, -1), (_COST, cost), (_INPUT_COST, input_cost), (_OUTPUT_COST, output_cost)]
        if call.escalated:
            amounts.append((_ESCALATED_COST, cost))
        if (reason := call.attempt_reason) in _REASON_COSTS:
            amounts.append((_REASON_COSTS[reason], cost))
        self._add(call.at_us, call.model, call.provider, call.cache, call.attribution, amounts)

    def add_other_cost(self, at_us: int, nano_usd: int, who: Attribution) -> None:
        """Add a cost that is not a model call."""
        self._add(at_us, None, None, None, who, [(_OTHER_COST, nano_usd)])

    def rows(self, *, sign: int = 1, dimensions: Iterable[str] | None = None) -> list[tuple[Any, ...]]:
        """Rows for ADD_TO_ROLLUPS, sorted by key: two processes that lock them in one order cannot deadlock.

        Args:
            sign: -1 takes the sums away again.
            dimensions: only these; "tag" stands for every tag.
        """
        wanted = None if dimensions is None else frozenset(dimensions)
        totals: dict[Key, list[int]] = {}
        for key, sums in self._keyed():
            if wanted is not None and key[0].partition(":")[0] not in wanted:
                continue
            if (total := totals.get(key)) is None:
                totals[key] = sums
            else:
                totals[key] = list(map(add, total, sums))
        if sign == 1:
            return [(*key, *totals[key]) for key in sorted(totals)]
        return [(*key, *(sign * amount for amount in totals[key])) for key in sorted(totals)]

    def _add(
        self,
        at_us: int,
        model: str | None,
        provider: str | None,
        cache: str | None,
        who: Attribution,
        amounts: list[tuple[int, int]],
    ) -> None:
        quarter = at_us // _QUARTER_US
        targets = [_target(self._groups, _group(quarter, model, provider, who, cache))]
        targets += [_target(self._people, person) for person in _people(quarter, who)]
        for target in targets:
            for index, amount in amounts:
                target[index] += amount

    def _keyed(self) -> Iterator[tuple[Key, list[int]]]:
        self._add_up_plain_calls()
        for (quarter, *values), sums in self._groups.items():
            seconds = quarter * QUARTER
            for span in _SPANS_OF_ALL:
                yield (ALL, span, seconds - seconds % span, ""), sums
            for dimension, value in zip(DIMENSIONS, values, strict=False):
                if value:
                    for span in _SPANS:
                        yield (dimension, span, seconds - seconds % span, value), sums
        for (dimension, hour, value), sums in self._people.items():
            seconds = hour * HOUR
            for span in _SPANS_OF_PEOPLE:
                yield (dimension, span, seconds - seconds % span, value), sums

    def _add_up_plain_calls(self) -> None:
        for listed, totals in ((self._plain_groups, self._groups), (self._plain_people, self._people)):
            for (timed, *key), amounts in listed.items():
                target = _target(totals, tuple(key))
                for index, amount in zip(_PLAIN_INDEXES, map(sum, zip(*amounts, strict=True)), strict=False):
                    target[index] += amount
                for index in _PLAIN_COUNTS[: 3 if timed else 2]:
                    target[index] += len(amounts)
            listed.clear()


# What a plain, priced call adds; the latency comes last because it may be unknown.
_PLAIN: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cost_nano_usd",
    "input_cost_nano_usd",
    "output_cost_nano_usd",
    "latency_us",
)
_PLAIN_UNTIMED: Final = len(_PLAIN) - 1
_PLAIN_INDEXES: Final = tuple(MEASURES.index(name) for name in _PLAIN)
_PLAIN_COUNTS: Final = (_REQUESTS, _ATTEMPTS, _TIMED)
_plain_amounts = attrgetter(*_PLAIN[:_PLAIN_UNTIMED])
_plain_timed_amounts = attrgetter(*_PLAIN)
_ZEROS: Final = [0] * len(MEASURES)


def _group(quarter: int, model: str | None, provider: str | None, who: Attribution, cache: str | None) -> tuple[Any, ...]:
    """The quarter of an hour, and the values of DIMENSIONS without the people."""
    return (
        quarter,
        model,
        provider,
        who.feature,
        who.request_type,
        who.prompt_version,
        who.config_version,
        who.call_site,
        cache,
    )


def _people(quarter: int, who: Attribution) -> list[tuple[str, int, str]]:
    """Dimension, hour and value of the attributes that many calls differ in."""
    hour = quarter >> 2
    people = []
    if who.user:
        people.append(("user", hour, who.user))
    if who.session:
        people.append(("session", hour, who.session))
    if who.tags:
        people += [(f"tag:{name}", hour, value) for name, value in who.tags if value]
    return people


def _listed(lists: dict[tuple[Any, ...], list[tuple[int, ...]]], key: tuple[Any, ...]) -> list[tuple[int, ...]]:
    if (found := lists.get(key)) is None:
        found = lists[key] = []
    return found


def _target(totals: dict[Any, list[int]], key: tuple[Any, ...]) -> list[int]:
    if (target := totals.get(key)) is None:
        target = totals[key] = _ZEROS.copy()
    return target

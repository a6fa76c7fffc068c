"""The stored sums always equal the sums over the rows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmthrift_core.attribution import Attribution
from llmthrift_core.ledger.batch import commit
from llmthrift_core.ledger.ledger import Ledger
from llmthrift_core.ledger.record import CallRecord, Entry, OtherCost
from llmthrift_core.storage.database import Database
from tests.core.ledger.prices import FlatPrices
from tests.core.ledger.sums import stored_sums, sums_over_rows

_names = st.sampled_from([None, "a", "b"])
_amounts = st.integers(0, 10**6)
_maybe = st.none() | st.integers(-(10**6), 10**6)
_times = st.integers(0, 400_000).map(lambda second: 1_767_000_000_000_000 + second * 1_000_000)


@st.composite
def _attributions(draw: st.DrawFn) -> Attribution:
    values = [draw(_names) for _ in range(8)]
    tags = draw(st.dictionaries(st.sampled_from(["t", "user"]), st.sampled_from(["x", "y", ""])))
    return Attribution(*values, tags=tuple(sorted(tags.items())))


@st.composite
def _calls(draw: st.DrawFn) -> CallRecord:
    plain = draw(st.booleans())
    record = CallRecord(
        request_id=f"r{draw(st.integers(0, 40))}",
        call_id="c",
        at_us=draw(_times),
        model=draw(st.sampled_from(["m", "unknown"])),
        provider=draw(_names),
        attribution=draw(_attributions()),
    )
    record.input_tokens = draw(_amounts)
    record.output_tokens = draw(_amounts)
    if draw(st.booleans()):
        record.cost_nano_usd, record.input_cost_nano_usd, record.output_cost_nano_usd = (draw(_amounts) for _ in range(3))
    if draw(st.booleans()):
        record.latency_us = draw(_amounts)
    if not plain:
        record.attempt = draw(st.integers(1, 3))
        record.attempt_reason = draw(st.sampled_from([None, "retry", "fallback", "escalation"]))
        record.error = draw(st.sampled_from([None, "TimeoutError"]))
        record.estimated = draw(st.booleans())
        record.reasoning_tokens = draw(_amounts)
        record.cache = draw(st.sampled_from([None, "exact"]))
        record.cache_saved_nano_usd = draw(_maybe)
        record.routing_saved_nano_usd = draw(_maybe)
        record.saved_input_tokens = draw(_amounts)
        record.observed_cache_nano_usd = draw(_maybe)
        record.tier = draw(st.sampled_from([None, "weak", "strong"]))
        record.escalated = int(record.tier is not None and draw(st.booleans()))
    return record


@st.composite
def _costs(draw: st.DrawFn) -> OtherCost:
    return OtherCost(f"o{draw(st.integers(0, 20))}", draw(_times), "tool", draw(_maybe) or 0, draw(_attributions()))


_batches = st.lists(st.lists(_calls() | _costs(), max_size=12), max_size=4)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(_batches)
def test_sums_equal_rows_after_any_batches(batches: list[list[Entry]]) -> None:
    with Database.open(":memory:") as database:
        written = duplicates = 0
        for batch in batches:
            outcome = commit(database, batch)
            written += outcome.written
            duplicates += outcome.duplicates
        assert written + duplicates == sum(map(len, batches))
        distinct = {entry.request_id for batch in batches for entry in batch}
        assert written == len(distinct)
        assert _without_zeros(stored_sums(database)) == _without_zeros(sums_over_rows(database))


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(_batches)
def test_sums_equal_rows_after_a_backfill_and_after_an_erasure(batches: list[list[Entry]]) -> None:
    with Database.open(":memory:") as database:
        for batch in batches:
            commit(database, batch)
        ledger = Ledger(database, FlatPrices("unknown"))
        ledger.reprice_unpriced()
        assert _without_zeros(stored_sums(database)) == _without_zeros(sums_over_rows(database))
        before = _of_all(stored_sums(database))
        ledger.erase(user="a")
        after = stored_sums(database)
        assert _without_zeros(after) == _without_zeros(sums_over_rows(database))
        assert _of_all(after) == before
        assert not [key for key in after if key[0] == "user" and key[3] == "a"]


def test_postgresql_adds_up_alike(postgresql_url: str) -> None:
    records = []
    for number in range(300):
        record = CallRecord(
            request_id=f"r{number}",
            call_id="c",
            at_us=1_767_000_000_000_000 + number * 61_000_000,
            model="m",
            attribution=Attribution(user=f"u{number % 7}", tags=(("t", str(number % 3)),)),
        )
        record.input_tokens = number
        record.cost_nano_usd = number * 3
        records.append(record)
    with Database.open(postgresql_url) as database:
        assert commit(database, records)[:2] == (300, 0)
        assert commit(database, records[:10])[:2] == (0, 10)
        assert stored_sums(database) == sums_over_rows(database)


@pytest.mark.parametrize("span", [900, 3600, 86400])
def test_a_call_on_the_edge_of_a_bucket_belongs_to_the_later_one(span: int) -> None:
    start = 1_767_225_600  # 2026-01-01, a multiple of every span
    with Database.open(":memory:") as database:
        for name, at_us in (("before", start * 10**6 - 1), ("at", start * 10**6)):
            commit(database, [CallRecord(request_id=name, call_id=name, at_us=at_us, model="m")])
        assert [key[2] for key in sorted(stored_sums(database)) if key[:2] == ("all", span)] == [start - span, start]


def _without_zeros(sums: dict[Any, dict[str, int]]) -> dict[Any, dict[str, int]]:
    return {key: amounts for key, amounts in sums.items() if amounts}


def _of_all(sums: dict[Any, dict[str, int]]) -> dict[Any, dict[str, int]]:
    return {key: amounts for key, amounts in sums.items() if key[0] == "all"}

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from llmthrift_core.errors import UnknownModelError
from llmthrift_core.ledger import CallRecord, Ledger
from llmthrift_core.reports.savings import savings
from llmthrift_core.storage.database import Database
from llmthrift_core.usage import Usage
from tests.core.ledger.prices import FlatPrices


@pytest.fixture
def ledger(any_database: Database) -> Iterator[Ledger]:
    ledger = Ledger(any_database, FlatPrices("m", "big"))
    yield ledger
    ledger.close()


def _routed(request_id: str, cost: int, baseline: int) -> CallRecord:
    record = CallRecord(request_id=request_id, call_id=request_id, at_us=0, model="m")
    record.input_tokens = 1_000
    record.cost_nano_usd = record.input_cost_nano_usd = cost
    record.output_cost_nano_usd = 0
    record.routing_saved_nano_usd = baseline - cost
    return record


def test_what_was_spent_and_saved_adds_up(ledger: Ledger, any_database: Database) -> None:
    ledger.append(_routed("r1", 1_000_000, 5_000_000))  # $0.001 instead of $0.005
    hit = _routed("r2", 1_000_000, 5_000_000)
    hit.cache, hit.cache_saved_nano_usd = "exact", 1_000_000
    hit.cost_nano_usd = hit.input_cost_nano_usd = hit.input_tokens = 0
    hit.saved_input_tokens = 1_000
    ledger.append(hit)
    ledger.record("m", Usage(input_tokens=2_000), at="1970-01-01")
    ledger.record("unheard-of", Usage(input_tokens=2_000), at="1970-01-01")
    ledger.record_cost("tool", "0.05")
    ledger.flush()
    found = savings(any_database, FlatPrices("m", "big"))
    assert found.spent_usd == Decimal("0.003")
    assert found.cache_saved_usd == Decimal("0.001")
    assert found.routing_saved_usd == Decimal("0.008")
    assert found.saved_usd == Decimal("0.009")
    # Without llmthrift: two calls of the strong model at $0.005, and one of m at $0.002.
    assert found.without_usd == Decimal("0.012")
    assert found.saved_share == pytest.approx(0.75)
    assert (found.requests, found.cache_hits, found.unpriced) == (4, 1, 1)
    assert found.hit_rate == 0.25
    assert found.other_cost_usd == Decimal("0.05")
    assert found.baseline_usd is None
    assert found.to_dict()["saved_usd"] == Decimal("0.009")


def test_a_baseline_prices_all_tokens_and_those_of_the_hits(ledger: Ledger, any_database: Database) -> None:
    ledger.record("m", Usage(input_tokens=1_000, output_tokens=500, cache_read_tokens=300))
    ledger.record("m", Usage(input_tokens=2_000, output_tokens=100), cache="exact")
    ledger.flush()
    found = savings(any_database, FlatPrices("m", "big"), baseline="big")
    # (1,000 + 2,000) x $1/M + (500 + 100) x $2/M
    assert found.baseline_usd == Decimal("0.0042")
    assert "all on big (estimate)" in str(found)
    with pytest.raises(UnknownModelError, match="unheard-of"):
        savings(any_database, FlatPrices("m"), baseline="unheard-of")


def test_observed_savings_name_the_costliest_call_sites(ledger: Ledger, any_database: Database) -> None:
    for number in range(12):
        record = CallRecord(request_id=str(number), call_id="c", at_us=0, model="m")
        record.attribution = record.attribution.__class__(call_site=f"app.py:{number}")
        record.cost_nano_usd = number * 1_000_000_000
        record.observed_cache_nano_usd = 500_000_000 if number == 3 else None
        record.observed_routing_nano_usd = 250_000_000 if number == 4 else None
        ledger.append(record)
    ledger.flush()
    found = savings(any_database, FlatPrices())
    assert (found.observed_cache_usd, found.observed_routing_usd) == (Decimal("0.5"), Decimal("0.25"))
    assert (found.saved_usd, found.observed_usd) == (0, Decimal("0.75"))
    assert [row["call_site"] for row in found.costliest_call_sites] == [f"app.py:{number}" for number in range(11, 1, -1)]
    assert "app.py:11" in str(found)
    assert "observed" in found._repr_html_()


def test_a_period_is_respected(ledger: Ledger, any_database: Database) -> None:
    for at in ("2026-01-01", "2026-01-01T00:20:00", "2026-01-02"):
        ledger.record("m", Usage(input_tokens=1_000), at=at)
    ledger.flush()
    assert savings(any_database, FlatPrices(), since="2026-01-01T00:10:00", until="2026-01-02").spent_usd == Decimal("0.001")


def test_nothing_recorded_is_no_division_by_zero() -> None:
    with Database.open(":memory:") as database:
        found = savings(database, FlatPrices(), baseline="m")
    assert (found.spent_usd, found.saved_share, found.hit_rate, found.baseline_usd) == (0, None, None, 0)
    assert "unknown" in str(found)
    assert "<table>" in found._repr_html_()

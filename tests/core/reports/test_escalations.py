"""Escalations in reports, savings and alerts, from stored sums and from the rows at the edges of a period."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from llmthrift_core import Thrift
from llmthrift_core.ledger import CallRecord
from llmthrift_core.moments import from_us
from tests.core.clock import Clock

HOUR_US = 3_600_000_000
NOW_US = 1_767_225_600_000_000 + 20 * HOUR_US + 1_234_567  # a moment in no bucket's beginning


@pytest.fixture
def any_thrift(any_url: str) -> Iterator[Thrift]:
    with Thrift(any_url, clock=Clock(NOW_US / 1e6)) as opened:
        yield opened


def asked(thrift: Thrift, number: int, at_us: int, *, rejected: bool, cost: int | None = 1_000) -> None:
    """A routed call: the weak model answers and, where that is rejected, the strong one."""
    first = CallRecord(request_id=f"r{number}", call_id=f"r{number}", at_us=at_us, model="weak-1")
    first.tier, first.confidence, first.escalated = "weak", 0.2 if rejected else 0.9, int(rejected)
    first.cost_nano_usd = cost
    thrift.ledger.append(first)
    if rejected:
        second = CallRecord(request_id=f"r{number}:2", call_id=f"r{number}", at_us=at_us + 1, model="strong-1")
        second.tier, second.attempt, second.attempt_reason, second.cost_nano_usd = "strong", 2, "escalation", 9_000
        thrift.ledger.append(second)


def many(thrift: Thrift, count: int, rejected: int, *, hours_ago: float = 1.0) -> None:
    for number in range(count):
        asked(thrift, number, NOW_US - int(hours_ago * HOUR_US), rejected=number < rejected)
    thrift.flush()


def test_the_share_is_that_of_first_answers(any_thrift: Thrift) -> None:
    asked(any_thrift, 1, NOW_US, rejected=False)
    asked(any_thrift, 2, NOW_US, rejected=True)
    # A third model: the second answer was not good enough either.
    for attempt, model, rejected in ((1, "weak-1", 1), (2, "middle-1", 1), (3, "strong-1", 0)):
        record = CallRecord(request_id=f"c:{attempt}", call_id="c", at_us=NOW_US, model=model)
        record.tier, record.attempt, record.escalated, record.cost_nano_usd = model, attempt, rejected, 1_000
        record.attempt_reason = None if attempt == 1 else "escalation"
        any_thrift.ledger.append(record)
    # The weak model fails: the first answer is that of the strong one.
    for attempt, model, reason, error in ((1, "weak-1", None, "TimeoutError"), (2, "strong-1", "fallback", None)):
        record = CallRecord(request_id=f"f:{attempt}", call_id="f", at_us=NOW_US, model=model)
        record.tier, record.attempt, record.attempt_reason, record.error = model, attempt, reason, error
        record.cost_nano_usd = 0
        any_thrift.ledger.append(record)
    rows = {row["model"]: row for row in any_thrift.report()}
    found = {name: (row["routed"], row["escalated"], row["escalation_rate"], row["escalations"]) for name, row in rows.items()}
    assert found == {
        "weak-1": (3, 2, pytest.approx(2 / 3), 0),
        "middle-1": (0, 1, None, 1),
        "strong-1": (1, 0, 0.0, 2),
    }
    total = any_thrift.report().total
    assert (total["requests"], total["routed"], total["escalated"], total["escalation_rate"]) == (4, 4, 3, 0.5)
    assert total["escalated_cost_usd"] == Decimal("0.000003")
    text = str(any_thrift.report())
    assert "escalation rate" in text
    assert "66.7%" in text


def test_the_edges_of_a_period_count_as_the_sums(any_thrift: Thrift) -> None:
    for number in range(8):
        asked(any_thrift, number, NOW_US - number * HOUR_US, rejected=number % 2 == 0)
    for hours in (0.5, 1.5, 2.5, 7.5):  # the period begins within an hour, and within a quarter of one
        total = any_thrift.report(since=from_us(NOW_US - int(hours * HOUR_US))).total
        calls = int(hours) + 1
        rejected = (calls + 1) // 2
        assert (total["routed"], total["escalated"], total["escalation_rate"]) == (calls, rejected, rejected / calls)
        assert total["escalated_cost_usd"] == Decimal(rejected) / 1_000_000
    assert sum(row["escalated"] for row in any_thrift.report(by="hour")) == 4


def test_a_later_price_of_a_rejected_answer_is_what_it_cost(any_thrift: Thrift) -> None:
    asked(any_thrift, 1, NOW_US, rejected=True, cost=None)
    assert any_thrift.savings().escalated_cost_usd == 0
    record = CallRecord(request_id="late", call_id="late", at_us=NOW_US, model="gpt-4o-mini")
    record.tier, record.escalated, record.input_tokens = "weak", 1, 1_000_000
    any_thrift.ledger.append(record)
    any_thrift.prices.override("weak-1", input_usd_per_million=1, output_usd_per_million=1)
    assert any_thrift.ledger.reprice_unpriced() == 2
    found = any_thrift.savings()
    assert (found.escalated, found.escalated_cost_usd) == (2, Decimal("0.15"))  # gpt-4o-mini: $0.15 a million; weak-1: no tokens
    assert found.to_dict()["escalated_cost_usd"] == Decimal("0.15")


def alerts(thrift: Thrift) -> list[str]:
    return [alert for alert in thrift.health()["alerts"] if "escalated" in alert]


def test_more_than_three_in_ten_of_a_hundred_is_an_alert(any_thrift: Thrift) -> None:
    many(any_thrift, 120, 37)
    (alert,) = alerts(any_thrift)
    assert "weak-1, last 24 hours: 31% of 120 first answers were escalated" in alert
    for advice in ("begin with another model", "CascadePolicy(first=...)", "fit it"):
        assert advice in alert
    (note,) = any_thrift.report().notes
    assert "31% of 120 first answers" in note
    assert note in str(any_thrift.report(by="model"))
    assert any_thrift.report(by="day").notes[0].startswith("total: 31%")
    assert any_thrift.report(since="2100-01-01").notes == ()


@pytest.mark.parametrize(("count", "rejected", "hours_ago"), [(120, 36, 1.0), (99, 99, 1.0), (120, 120, 24.5)])
def test_thirty_percent_fewer_answers_or_yesterday_are_none(any_thrift: Thrift, count: int, rejected: int, hours_ago: float) -> None:
    many(any_thrift, count, rejected, hours_ago=hours_ago)
    assert alerts(any_thrift) == []
    assert any_thrift.report().total["escalated"] == rejected


def test_calls_of_a_strong_model_do_not_hide_a_weak_one(any_thrift: Thrift) -> None:
    many(any_thrift, 150, 75)
    for number in range(1_000):
        record = CallRecord(request_id=f"s{number}", call_id=f"s{number}", at_us=NOW_US, model="strong-1")
        record.tier, record.cost_nano_usd = "strong", 1
        any_thrift.ledger.append(record)
    any_thrift.flush()
    assert any_thrift.report().total["escalation_rate"] < 0.1
    (alert,) = alerts(any_thrift)
    assert alert.startswith("weak-1")


def test_a_ledger_that_cannot_be_read_is_an_alert_too(any_thrift: Thrift) -> None:
    any_thrift.flush()
    any_thrift.database.close()
    assert any(alert.startswith("the ledger cannot be read") for alert in any_thrift.health()["alerts"])


def test_pruned_calls_leave_their_escalations(any_thrift: Thrift) -> None:
    many(any_thrift, 120, 60)
    before = any_thrift.report().to_dicts()
    any_thrift.prune(older_than="2100-01-01")
    assert any_thrift.ledger.calls() == []
    assert any_thrift.report().to_dicts() == before
    assert len(alerts(any_thrift)) == 1

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from llmthrift_core import Thrift, Usage
from llmthrift_core.attribution import Attribution
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.ledger import CallRecord
from llmthrift_core.moments import to_us
from llmthrift_core.reports import report as report_module
from llmthrift_core.reports import top as top_module

NOW = "2026-03-11T12:00"
LONG_AGO = ("2026-03-04T11:59", 32)
PRICES = {
    "m": {"input_usd_per_million": 1, "output_usd_per_million": 2},
    "big": {"input_usd_per_million": 20, "output_usd_per_million": 60},
}


@pytest.fixture
def thrift(any_url: str) -> Iterator[Thrift]:
    with Thrift(any_url, prices=PRICES, clock=lambda: to_us(NOW) / 1e6) as thrift:
        yield thrift


def _append(thrift: Thrift, number: int, *, cost: int | None = 1_000_000, at: str = "2026-03-10", **more: Any) -> None:
    record = CallRecord(request_id=f"r{number}", call_id=f"r{number}", at_us=to_us(at), model="m")
    record.input_tokens, record.output_tokens = 1_000, 100
    if cost is not None:
        record.cost_nano_usd, record.input_cost_nano_usd, record.output_cost_nano_usd = cost, cost // 4, cost - cost // 4
    for name, value in more.items():
        setattr(record, name, value)
    thrift.ledger.append(record)


def test_the_first_n_by_anything_with_all_in_the_total(thrift: Thrift) -> None:
    for number in range(30):
        thrift.ledger.record("m", Usage(input_tokens=1_000 * (number + 1)), user=f"u{number}", tags={"team": f"t{number % 2}"}, at=NOW)
    found = thrift.top(3)
    assert [row["user"] for row in found] == ["u29", "u28", "u27"]  # type: ignore[index]
    assert found.total["cost_usd"] == Decimal("0.465")  # type: ignore[union-attr] # 1 + 2 + ... + 30 thousand tokens at $1 a million
    assert found.to_dicts()[0]["share"] == pytest.approx(30 / 465)
    assert found.notes[0] == "The first 3 of 30; the others are in the total."
    # Even numbers have odd amounts: 1 + 3 + ... + 29 = 225 thousand tokens; the others 240.
    assert [(row["team"], row["cost_usd"]) for row in thrift.top(by="team")] == [("t1", Decimal("0.24")), ("t0", Decimal("0.225"))]
    assert len(thrift.top()) == 20
    assert [row["day"] for row in thrift.top(1, by="day")] == ["2026-03-11"]


@pytest.mark.parametrize("n", [0, -1, True, 2.0, None, "3"])
def test_a_number_of_rows_that_is_none_is_refused(thrift: Thrift, n: Any) -> None:
    with pytest.raises(ConfigurationError, match="at least 1"):
        thrift.top(n)


def test_what_an_answer_costs_counts_what_failures_cost(thrift: Thrift) -> None:
    _append(thrift, 1)
    _append(thrift, 2, error="TimeoutError")
    _append(thrift, 3, attempt=2, attempt_reason="retry")
    _append(thrift, 4, escalated=1, tier="small")
    _append(thrift, 5, attempt=2, attempt_reason="escalation", tier="large")
    _append(thrift, 6, cache="exact", cost=0)
    (row,) = thrift.report(details=True).to_dicts()
    # Four requests; answers by r1, r3, r5 and the hit; five attempts at $0.001.
    assert (row["requests"], row["attempts"], row["errors"], row["answers"]) == (4, 6, 1, 4)
    assert (row["cost_per_request_usd"], row["cost_per_1000_requests_usd"]) == (Decimal("0.00125"), Decimal("1.25"))
    assert row["cost_per_answer_usd"] == Decimal("0.00125")
    assert row["error_rate"] == pytest.approx(1 / 6)
    assert (row["retry_cost_usd"], row["escalated_cost_usd"]) == (Decimal("0.001"), Decimal("0.001"))
    assert (row["input_cost_usd"], row["output_cost_usd"]) == (Decimal("0.00125"), Decimal("0.00375"))
    assert "on retries" in thrift.report(details=True).to_text()


def test_the_trend_is_against_the_period_before(thrift: Thrift) -> None:
    for number, (at, user, cost) in enumerate(
        [
            ("2026-03-01", "ada", 9_000_000),  # before both periods
            ("2026-03-05T12:00", "ada", 4_000_000),
            ("2026-03-08T12:00", "ada", 5_000_000),  # since this moment: the second period
            ("2026-03-08T11:59:59", "bob", 2_000_000),
            ("2026-03-10", "eve", 1_000_000),
        ]
    ):
        _append(
            thrift,
            number,
            at=at,
            cost=cost,
            attribution=Attribution(user=user),
        )
    found = thrift.report(by="user", since="2026-03-08T12:00", details=True)
    rows = {row["user"]: (row["cost_usd"], row["previous_cost_usd"], row["trend"]) for row in found}
    assert rows == {"ada": (Decimal("0.005"), Decimal("0.004"), 0.25), "eve": (Decimal("0.001"), Decimal(0), None)}
    assert (found.total["previous_cost_usd"], found.total["trend"]) == (Decimal("0.006"), 0.0)
    assert "+25%" in str(found)
    assert thrift.report(by="user", details=True).notes == ("The trend needs a period: give since.",)
    days = thrift.report(by="day", details=True).to_dicts()
    assert [(day["day"], day["trend"]) for day in days] == [
        ("2026-03-01", None),
        ("2026-03-05", pytest.approx(-5 / 9)),
        ("2026-03-08", pytest.approx(0.75)),
        ("2026-03-10", pytest.approx(-6 / 7)),
    ]


def test_slow_answers_are_those_of_models_and_need_some_rows(thrift: Thrift) -> None:
    for number in range(100):
        _append(thrift, number, latency_us=(number + 1) * 10_000)
    for number in range(100, 110):
        _append(thrift, number, model="n", latency_us=5_000_000)
    for number in range(110, 200):
        _append(thrift, number, latency_us=1, cache="exact", cost=0)
    rows = {row["model"]: row["p95_latency_seconds"] for row in thrift.report(details=True)}
    assert rows == {"m": 0.95, "n": None}
    assert thrift.report(details=True).total["p95_latency_seconds"] == 5.0
    # A tag and a run are read from the rows, too.
    assert thrift.report(by="run", details=True).to_dicts()[0]["p95_latency_seconds"] == 5.0


def test_single_calls_come_with_why(thrift: Thrift) -> None:
    for number in range(50):
        _append(thrift, number)
    _append(thrift, 50, cost=5_000_000, input_tokens=90_000, run_id="x", trace_id="trace")
    _append(thrift, 51, cost=None)
    _append(thrift, 52, cost=7_000_000, attempt_reason="retry", at="2026-01-01")
    found = thrift.top(2, by="call")
    assert [(row["request_id"], row["cost_usd"]) for row in found] == [("r52", Decimal("0.007")), ("r50", Decimal("0.005"))]
    assert found.to_dicts()[0]["why"][0] == "retry: an attempt before it had failed"
    assert found.to_dicts()[1]["why"][0].startswith("long input: 90,000 tokens, ")
    assert found.to_dicts()[1]["run"] == "trace"
    (row,) = thrift.top(1, by="call", since="2026-03-01", until="2026-03-11")
    assert (row["request_id"], row["share"]) == ("r50", pytest.approx(5 / 55))


def test_single_calls_of_a_large_ledger_are_found_by_the_index(thrift: Thrift, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top_module, "_MOST_READ", 10)
    for number in range(30):
        _append(thrift, number, cost=20_000_000 if number < 3 else 1_000_000)
    assert [row["request_id"] for row in thrift.top(3, by="call")] == ["r0", "r1", "r2"]
    found = thrift.top(5, by="call")
    assert [row["cost_usd"] for row in found] == [Decimal("0.02")] * 3 + [Decimal("0.001")] * 2
    assert found.notes == ("Of calls below $0.01 only the newest 10 of the period were looked at.",)


def test_a_price_that_came_later_counts(thrift: Thrift) -> None:
    _append(thrift, 1, cost=None, model="later")
    _append(thrift, 2)
    assert [row["request_id"] for row in thrift.top(by="call")] == ["r2"]
    thrift.prices.override("later", input_usd_per_million=1_000, output_usd_per_million=1_000)
    thrift.ledger.reprice_unpriced()
    assert [(row["request_id"], row["cost_usd"]) for row in thrift.top(by="call")] == [("r1", Decimal("1.1")), ("r2", Decimal("0.001"))]


def test_an_empty_ledger_and_one_without_prices(thrift: Thrift) -> None:
    for by in ("user", "call", "model", "run", "day", "tag:team"):
        assert len(thrift.top(by=by)) == 0
        assert "No" in str(thrift.top(by=by))
    assert thrift.spend_rate().usd_per_month == 0
    _append(thrift, 1, cost=None)
    assert thrift.top(by="call").to_dicts() == []
    (row,) = thrift.top(by="model", since="2026-03-01").to_dicts()
    assert (row["unpriced"], row["share"], row["trend"], row["cost_usd"]) == (1, None, None, 0)
    assert "unpriced" in str(thrift.top(by="model"))
    with pytest.raises(ConfigurationError, match="cannot report by 'nothing'"):
        thrift.top(by="nothing")


def test_the_rate_is_of_the_last_hour_day_and_week(thrift: Thrift) -> None:
    for number, (at, cost) in enumerate(
        [
            ("2026-03-11T11:30", 1),
            ("2026-03-11T11:00", 2),
            ("2026-03-11T10:59", 4),
            ("2026-03-10T11:59", 8),
            ("2026-03-04T12:00", 16),
            ("2026-03-04T11:59", 32),
        ]
    ):
        _append(thrift, number, at=at, cost=cost * 10**9)
    thrift.record_cost("gpu", 64, at="2026-03-11T11:45")
    rate = thrift.spend_rate()
    assert (rate.last_hour_usd, rate.last_day_usd, rate.last_week_usd) == (67, 71, 95)
    assert (rate.requests_last_hour, rate.requests_last_day) == (2, 3)
    assert rate.to_dict()["usd_per_month"] == Decimal("407.142857143")  # 95 / 7 x 30
    assert "$67.00 an hour, 2 requests" in str(rate)


def test_an_unknown_cost_is_never_shown_as_zero(thrift: Thrift) -> None:
    for number in range(3):
        thrift.ledger.record("unheard-of", Usage(input_tokens=100, output_tokens=number), feature="chat", at="2026-03-02")
    for found in (thrift.report(by="feature"), thrift.top(by="feature", since="2026-03-01")):
        (row,) = (line for line in str(found).splitlines() if line.startswith("chat"))
        assert "unpriced" in row
        assert row.count("$0") <= 1, row  # nothing was saved: that is known
    lines = (line.strip().rsplit("  ", 1) for line in str(thrift.savings()).splitlines())
    shown = {line[0].strip(): line[1].strip() for line in lines if len(line) == 2}
    assert {shown[name] for name in ("spent", "on input", "on output", "without llmthrift")} == {"unpriced"}
    assert "What 3 requests cost is not known" in str(thrift.optimizations())
    assert "$0 " not in str(thrift.optimizations())


def test_of_a_long_period_the_runs_of_the_newest_and_of_the_most_expensive_calls_are_read(
    thrift: Thrift, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_module, "_NEWEST_CALLS", 4)
    monkeypatch.setattr(report_module, "_COSTLY_CALLS", 1)
    for number in range(12):  # a run has a call on two days
        _append(
            thrift,
            number,
            at=f"2026-03-0{1 + number // 6}T0{number % 6}:00",
            attribution=Attribution(run=f"run {number % 6}"),
            cost=10**9 if number == 1 else 1_000_000,
        )
    thrift.record_cost("tool", "0.5", run="run 5", at="2026-03-01")
    found = thrift.report(by="run")
    assert {row["run"]: (row["requests"], row["cost_usd"], row["other_cost_usd"]) for row in found} == {
        "run 1": (2, Decimal("1.001"), 0),  # the most expensive call
        "run 2": (2, Decimal("0.002"), 0),  # the newest four, with what they cost the day before
        "run 3": (2, Decimal("0.002"), 0),
        "run 4": (2, Decimal("0.002"), 0),
        "run 5": (2, Decimal("0.002"), Decimal("0.5")),
    }
    assert (found.total["requests"], found.total["cost_usd"]) == (12, Decimal("1.011"))
    assert found.notes[0].startswith("Runs have no stored sums: these are the runs of the newest")
    assert [row["run"] for row in thrift.top(2, by="run")] == ["run 1", "run 5"]
    (row,) = thrift.top(1, by="run", since="2026-03-02T05:00")
    assert (row["run"], row["requests"], row["previous_cost_usd"]) == ("run 5", 1, Decimal("0.001"))
    assert (
        len(thrift.report(by="run", until="2026-03-01T04:00")) == 5
    )  # four, and one that only a tool was paid for: few enough: all, and nothing is to be said
    assert thrift.report(by="run", until="2026-03-01T04:00").notes == ()


def test_the_first_are_those_that_all_rows_say_at_any_edge_of_the_period(thrift: Thrift) -> None:
    for number in range(60):
        _append(
            thrift,
            number,
            at=f"2026-0{1 + number % 3}-{1 + number % 27:02}T{number % 24:02}:{number:02}",
            cost=(number * 7919 % 31) * 10**6,
            attribution=Attribution(user=f"u{number % 9}" if number % 5 else None),
        )
    for since, until in (
        (None, None),
        ("2026-01-15", None),
        ("2026-01-15T03:00", "2026-03-02T10:00"),
        ("2026-01-15T03:17", "2026-03-02T10:31"),
    ):
        every = [dict(row) for row in thrift.report(by="user", since=since, until=until)]
        first = thrift.top(4, by="user", since=since, until=until)
        assert [row["user"] for row in first] == [row["user"] for row in every[:4]]
        assert [row["cost_usd"] for row in first] == [row["cost_usd"] for row in every[:4]]
        assert first.notes[0] == f"The first 4 of {len(every)}; the others are in the total."  # type: ignore[union-attr]

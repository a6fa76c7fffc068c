"""What is told, to whom, and how often."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from llmthrift_core import Alert, Budget, Thrift
from llmthrift_core.alerts import Notice
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.ledger import CallRecord
from tests.core.clock import Clock
from tests.core.reports.ledgers import spend, spend_days

NOW = datetime(2026, 3, 12, 20, tzinfo=UTC)


@pytest.fixture
def any_thrift(any_url: str) -> Iterator[Thrift]:
    with Thrift(any_url, clock=Clock(NOW.timestamp())) as opened:
        yield opened


@pytest.fixture
def thrift() -> Iterator[Thrift]:
    with Thrift(":memory:", clock=Clock(NOW.timestamp())) as opened:
        yield opened


def settle(thrift: Thrift, usd: float, **scope: str) -> None:
    with thrift.budgets.reserve(estimate_usd=usd, scope=scope) as hold:
        hold.settle(cost_usd=usd)


def watched(thrift: Thrift, on: str, threshold: float | None = None) -> list[Notice]:
    found: list[Notice] = []
    thrift.alerts.add(Alert(on=on, threshold=threshold, to=[found.append]), watch=False)
    return found


def test_eighty_and_ninety_five_percent_are_told_once_per_window(any_thrift: Thrift) -> None:
    any_thrift.budgets.add(Budget(limit_usd=10, window="day", name="day"))
    found = watched(any_thrift, "budget")
    for usd, expected in ((7.99, []), (0.01, ["80%"]), (1, []), (0.49, []), (0.01, ["95%"]), (0.4, [])):
        settle(any_thrift, usd)
        told = any_thrift.alerts.check()
        assert [text for text in ("80%", "95%") for notice in told if text in notice.text] == expected
    assert len(found) == 2
    assert found[0].text == (
        "The budget 'day' has reached 80% of its limit for everybody: $8.00 of $10.00; it resets at 2026-03-13 00:00 UTC."
    )
    assert (found[0].on, found[0].value, found[0].threshold, found[0].scope) == ("budget", 8.0, 10.0, {"budget": "day"})
    any_thrift._clock.now += 86_400  # type: ignore[attr-defined]
    settle(any_thrift, 9)
    assert len(any_thrift.alerts.check()) == 1  # a new window


def test_of_two_shares_at_once_the_higher_is_told(thrift: Thrift) -> None:
    thrift.budgets.add(Budget(limit_usd=10, window="day", per="user", name="each"))
    found = watched(thrift, "budget")
    settle(thrift, 9.6, user="ada\n🚀")
    settle(thrift, 8.1, user="ben")
    thrift.alerts.check()
    thrift.alerts.check()
    assert sorted(notice.text.partition(":")[0] for notice in found) == [
        "The budget 'each' has reached 80% of its limit for user ben",
        "The budget 'each' has reached 95% of its limit for user ada 🚀",
    ]


def test_of_several_processes_one_tells(any_url: str) -> None:
    clock = Clock(NOW.timestamp())
    if ":memory:" in any_url:
        pytest.skip("nobody shares a database in memory")
    with Thrift(any_url, clock=clock) as one, Thrift(any_url, clock=clock) as other:
        one.budgets.add(Budget(limit_tokens=1_000, name="tokens"))
        both = [watched(one, "budget", 0.5), watched(other, "budget", 0.5)]
        with one.budgets.reserve(estimate_tokens=600) as hold:
            hold.settle(cost_usd=0, tokens=600)
        one.alerts.check()
        other.alerts.check()
        assert [len(found) for found in both] == [1, 0]
        assert "600 tokens of 1,000 tokens" in both[0][0].text


def test_a_crossed_budget_is_told_within_a_second(any_thrift: Thrift) -> None:
    any_thrift.budgets.add(Budget(limit_usd=10, window="day", name="day"))
    told = threading.Event()
    any_thrift.alerts.add(Alert(on="budget", to=[lambda _: told.set()]))
    time.sleep(0.4)  # the first look is over
    begun = time.monotonic()
    settle(any_thrift, 9)
    assert told.wait(5)
    assert time.monotonic() - begun < 1


def test_a_forecast_over_a_budget_is_told_and_one_below_is_not(any_thrift: Thrift) -> None:
    spend_days(any_thrift, [NOW - timedelta(days=number) for number in range(1, 60)], "10", feature="chat")
    any_thrift.budgets.add(Budget(limit_usd=500, window="month", match={"feature": "chat"}, name="roomy"))
    found = watched(any_thrift, "forecast")
    assert any_thrift.alerts.check() == []
    any_thrift.budgets.add(Budget(limit_usd=200, window="month", match={"feature": "chat"}, name="tight"))
    any_thrift.alerts.check()
    any_thrift.alerts.check()
    (notice,) = found
    assert notice.text.startswith("chat reaches its budget 'tight' of $200.00 on 2026-03-2")
    assert notice.scope == {"budget": "tight", "feature": "chat"}
    above, below = watched(any_thrift, "forecast", 250), watched(any_thrift, "forecast", 350)
    any_thrift.alerts.check()
    assert (len(above), len(below)) == (1, 0)


def test_an_anomaly_is_told_once_and_a_small_one_is_not(any_thrift: Thrift) -> None:
    spend_days(any_thrift, [NOW - timedelta(days=number) for number in range(1, 15)], "10", feature="chat")
    found = watched(any_thrift, "anomaly")
    begin = NOW - timedelta(minutes=30)
    for number in range(30):
        spend(any_thrift, begin + timedelta(seconds=number), "0.01", feature="small")
    spend(any_thrift, begin + timedelta(seconds=40), "0.5", feature="small")
    assert any_thrift.alerts.check() == []  # fifty times as much, and 49 cents
    spend(any_thrift, begin + timedelta(seconds=50), "1001.50", feature="chat")
    assert {notice.text.partition(",")[0] for notice in any_thrift.alerts.check()} == {"$1"}
    assert any_thrift.alerts.check() == []
    assert len(found) == 2
    assert all("where $10.00 is usual: feature chat" in notice.text or "$0" in notice.text for notice in found)


def test_low_hit_rates_are_told_where_a_cache_is_in_use(thrift: Thrift) -> None:
    found = watched(thrift, "cache_health")

    def calls(count: int, hits: int, prompts: int) -> None:
        for number in range(count):
            request_id = f"c{time.monotonic_ns()}-{number}"
            record = CallRecord(request_id=request_id, call_id=request_id, at_us=thrift.now_us() - 1_000, model="gpt-4o-mini")
            record.cache = "exact" if number < hits else None
            record.cost_nano_usd, record.prompt_hash = 0, f"{number % prompts}"
            thrift.ledger.append(record)

    calls(120, 0, 120)
    assert thrift.alerts.check() == []  # nobody uses one
    calls(80, 20, 80)
    (notice,) = thrift.alerts.check()
    assert notice.text.startswith("10% of 200 requests of the last 24 hours were answered from the cache, fewer than 20%")
    thrift._clock.now += 2 * 86_400
    calls(200, 60, 10)
    (notice,) = thrift.alerts.check()
    assert notice.text.startswith("30% of 200 requests")
    assert "fewer than 40%: 95% of the prompts were asked before" in notice.text
    assert len(found) == 2


def test_escalations_unpriced_calls_and_lost_rows(thrift: Thrift) -> None:
    found = {on: watched(thrift, on) for on in ("escalations", "unpriced", "lost_rows")}
    assert thrift.alerts.check() == []
    for number in range(120):
        record = CallRecord(request_id=f"r{number}", call_id=f"r{number}", at_us=thrift.now_us() - 1_000, model="weak-1")
        record.tier, record.escalated, record.cost_nano_usd = "weak", int(number < 37), 1_000
        thrift.ledger.append(record)
    spend(thrift, NOW - timedelta(minutes=1), None, model="new\nmodel")
    thrift.ledger._writer.lost = 3
    thrift.alerts.check()
    thrift.alerts.check()
    (escalated,), (unpriced,), (lost,) = found.values()
    assert "31% of 120 first answers were escalated" in escalated.text
    assert "1 call of the last 24 hours has no price" in unpriced.text
    assert "new model" in unpriced.text
    assert "3 calls were not recorded" in lost.text
    watched(thrift, "escalations", 0.5)
    assert thrift.alerts.check() == []


def test_quality_that_fell_is_told(any_thrift: Thrift) -> None:
    found = watched(any_thrift, "quality")
    for number in range(80):
        is_new = number % 2
        at = NOW - timedelta(days=1 if is_new else 20, minutes=number)
        request_id = spend(any_thrift, at, "0.01")
        any_thrift.flush()
        any_thrift.feedback(request_id, quality=0.4 + number % 3 / 100 if is_new else 0.9 + number % 3 / 100)
    any_thrift.alerts.check()
    any_thrift.alerts.check()
    (notice,) = found
    assert notice.text.startswith("gpt-4o-mini got worse in the last 7 days: -0.500")


def test_an_empty_ledger_and_one_call_tell_nothing(any_thrift: Thrift) -> None:
    for on in ("budget", "forecast", "anomaly", "cache_health", "escalations", "unpriced", "lost_rows", "quality", "batch"):
        watched(any_thrift, on)
    assert any_thrift.alerts.check() == []
    spend(any_thrift, NOW - timedelta(minutes=1), "1")
    assert any_thrift.alerts.check() == []
    assert any_thrift.alerts.health()["failures"] == 0


def test_a_function_that_fails_harms_nobody_and_is_counted(thrift: Thrift) -> None:
    def fails(_: Notice) -> None:
        raise RuntimeError("hook-secret")

    thrift.budgets.add(Budget(limit_usd=10, window="day", name="day"))
    told: list[Notice] = []
    thrift.alerts.add(Alert(on="budget", to=[fails, told.append]), watch=False)
    settle(thrift, 9)
    thrift.alerts.check()
    assert len(told) == 1
    (dead, fine) = thrift.health()["alerting"]["channels"]
    assert (dead["channel"], dead["lost"], dead["dead"], dead["last_error"]) == ("fails", 1, True, "RuntimeError")
    assert (fine["sent"], fine["dead"]) == (1, False)
    assert thrift.health()["alerting"]["dead"] == 1


def test_what_cannot_be_looked_at_hides_no_other(thrift: Thrift, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(thrift), "anomalies", lambda *_: 1 / 0)
    thrift.budgets.add(Budget(limit_usd=10, window="day", name="day"))
    watched(thrift, "anomaly")
    found = watched(thrift, "budget")
    settle(thrift, 9)
    thrift.alerts.check()
    assert len(found) == 1
    assert thrift.health()["alerting"]["failures"] == 1


def test_nothing_is_watched_unless_configured(thrift: Thrift) -> None:
    names = {thread.name for thread in threading.enumerate()}
    assert thrift.alerts.list() == ()
    assert thrift.alerts.check() == []
    assert {thread.name for thread in threading.enumerate()} == names


def test_alerts_are_replaced_and_removed_by_name(thrift: Thrift) -> None:
    thrift.alerts.add(Alert(on="budget", name="mine"), watch=False)
    second = thrift.alerts.add(Alert(on="unpriced", name="mine"), watch=False)
    assert thrift.alerts.list() == (second,)
    assert thrift.alerts.remove("mine")
    assert not thrift.alerts.remove("mine")


@pytest.mark.parametrize(
    "wrong",
    [
        {"on": "weather"},
        {"on": "budget", "threshold": -1},
        {"on": "budget", "threshold": float("nan")},
        {"on": "budget", "threshold": "80%"},
        {"on": "unpriced", "threshold": [1, 2]},
        {"on": "budget", "to": ["hunter2"]},
        {"on": "budget", "to": [7]},
        {"on": "budget", "name": "\0"},
    ],
)
def test_what_cannot_be_used_is_refused_without_showing_it(wrong: dict) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Alert(**wrong)
    assert "hunter2" not in str(raised.value)


def test_disabled_is_silent(thrift: Thrift, monkeypatch: pytest.MonkeyPatch) -> None:
    thrift.budgets.add(Budget(limit_usd=10, window="day", name="day"))
    found = watched(thrift, "budget")
    settle(thrift, 9)
    monkeypatch.setenv("LLMTHRIFT_DISABLED", "1")
    assert thrift.alerts.check() == []
    assert found == []

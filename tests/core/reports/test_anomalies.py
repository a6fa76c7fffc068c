"""`thrift.anomalies`: from a ledger to what was unusual, and why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner

from llmthrift_core import Thrift
from llmthrift_core.cli.app import app
from llmthrift_core.errors import ConfigurationError
from tests.core.clock import Clock
from tests.core.reports.ledgers import spend, spend_days

NOW = datetime(2026, 3, 12, 20, tzinfo=UTC)


def at_noon(days: int) -> list[datetime]:
    return [NOW.replace(hour=12) - timedelta(days=number) for number in range(1, days + 1)]


@pytest.fixture
def any_thrift(any_url: str) -> Iterator[Thrift]:
    with Thrift(any_url, clock=Clock(NOW.timestamp())) as opened:
        yield opened


@pytest.fixture
def thrift() -> Iterator[Thrift]:
    with Thrift(":memory:", clock=Clock(NOW.timestamp())) as opened:
        yield opened


def test_fourteen_days_of_ten_dollars_and_then_a_thousand(any_thrift: Thrift) -> None:
    spend_days(any_thrift, at_noon(14), "10", feature="chat", user="ada")
    assert any_thrift.anomalies() == []
    spend(any_thrift, "2026-03-12T12:30", "1001.50", feature="chat", user="bob", model="gpt-5", prompt_version="v2")
    hour, day = any_thrift.anomalies()
    assert (hour.kind, hour.at, hour.scope) == ("hour", datetime(2026, 3, 12, 12, tzinfo=UTC), {})
    assert (day.kind, day.at, day.scope, day.request_id) == ("day", datetime(2026, 3, 12, tzinfo=UTC), {}, None)
    for found in (hour, day):
        assert (found.value_usd, found.expected_usd) == (Decimal("1001.5"), 10)
        assert found.score > 100
        assert [(mover.attribute, mover.value, mover.more_usd) for mover in found.movers] == [
            ("feature", "chat", Decimal("991.5")),
            ("model", "gpt-5", Decimal("1001.5")),
            ("user", "bob", Decimal("1001.5")),
            ("prompt_version", "v2", Decimal("1001.5")),
        ]
    assert day.why == (
        "$1,001.50 on 2026-03-12 so far, where $10.00 is usual: feature chat +$991.50, model gpt-5 +$1,001.50, user bob +$1,001.50, "
        "prompt version v2 +$1,001.50"
    )


@pytest.mark.parametrize("tz", ["UTC", "America/New_York"])
def test_what_moved_on_a_day_so_far_is_compared_with_the_same_hours(any_url: str, tz: str) -> None:
    zone = ZoneInfo(tz)
    now = datetime(2026, 3, 12, 11, 30, tzinfo=zone)
    with Thrift(any_url, clock=Clock(now.timestamp())) as thrift:
        for days in range(1, 15):
            for hour in range(24):
                spend(thrift, datetime(2026, 3, 12, hour, 10, tzinfo=zone) - timedelta(days=days), "1", feature="steady", model="gpt-4o")
            spend(thrift, datetime(2026, 3, 12, 22, 10, tzinfo=zone) - timedelta(days=days), "6", feature="nightly", model="o3")
        for hour in range(11):
            spend(thrift, datetime(2026, 3, 12, hour, 10, tzinfo=zone), "1", feature="steady", model="gpt-4o")
            spend(thrift, datetime(2026, 3, 12, hour, 20, tzinfo=zone), "15", feature="new", model="gpt-5", user="ada")
        thrift.flush()
        day = next(each for each in thrift.anomalies(tz=tz) if each.kind == "day" and each.scope == {})
    assert (day.value_usd, day.expected_usd) == (176, 12)  # until now, where the whole days took 30
    moved = {(mover.attribute, mover.value): mover.more_usd for mover in day.movers}
    assert moved == {("feature", "new"): 165, ("model", "gpt-5"): 165, ("user", "ada"): 165}


def test_what_grew_on_a_day_so_far_is_compared_with_the_same_hours(any_thrift: Thrift) -> None:
    for days in range(1, 15):
        for hour in range(24):
            spend(any_thrift, NOW.replace(hour=hour, minute=10) - timedelta(days=days), "1", feature="chat")
    any_thrift._clock.now = NOW.replace(hour=2, minute=30).timestamp()  # type: ignore[attr-defined]
    for hour in range(3):
        spend(any_thrift, NOW.replace(hour=hour, minute=10), "21", feature="chat")
    any_thrift.flush()
    day = next(each for each in any_thrift.anomalies() if each.kind == "day")
    assert (day.value_usd, day.expected_usd) == (63, 3)
    assert [(mover.value, mover.more_usd) for mover in day.movers if mover.attribute == "feature"] == [("chat", 60)]


def test_it_is_found_later_too_and_not_before_since(any_thrift: Thrift) -> None:
    spend_days(any_thrift, at_noon(14), "10")
    spend(any_thrift, "2026-03-12T12:30", "1001.50")
    any_thrift._clock.now += 300 * 86_400  # type: ignore[attr-defined]
    assert [found.kind for found in any_thrift.anomalies()] == ["hour", "day"]
    assert any_thrift.anomalies(since="2026-03-13") == []
    assert [found.kind for found in any_thrift.anomalies(since="2026-03-12")] == ["hour", "day"]
    assert "so far" not in any_thrift.anomalies()[1].why


def test_a_request_of_ten_times_the_hundred_before(any_thrift: Thrift) -> None:
    begin = NOW - timedelta(hours=2)
    for number in range(100):
        spend(any_thrift, begin + timedelta(seconds=number), "0.01", feature="chat")
        spend(any_thrift, begin + timedelta(seconds=number), "5", feature="dear")
    spend(any_thrift, begin + timedelta(seconds=200), "0.0999", feature="chat")
    assert any_thrift.anomalies("2026-03-12") == []
    request_id = spend(any_thrift, begin + timedelta(seconds=300), "0.12", feature="chat", user="ada\n🚀")
    (found,) = any_thrift.anomalies("2026-03-12")
    assert (found.kind, found.request_id, found.scope, found.value_usd) == ("request", request_id, {"feature": "chat"}, Decimal("0.12"))
    # 99 of $0.01 and one of $0.0999.
    assert found.expected_usd == Decimal("0.010899")
    assert found.score == pytest.approx(0.12 / 0.010899, abs=0.01)
    assert "user ada 🚀" in found.why
    assert "\n" not in found.why
    # The hundred before lie before `since`, the request after it.
    since = begin + timedelta(seconds=250)
    assert [each.request_id for each in any_thrift.anomalies(since)] == [request_id]


def test_hits_and_unpriced_calls_are_no_requests_to_compare_with(thrift: Thrift) -> None:
    begin = NOW - timedelta(hours=2)
    for number in range(30):
        spend(thrift, begin + timedelta(seconds=number), "1", feature="chat")
        spend(thrift, begin + timedelta(seconds=number), "0", feature="chat")
        spend(thrift, begin + timedelta(seconds=number), None, model="unknown-1", feature="chat")
    spend(thrift, begin + timedelta(seconds=60), "9", feature="chat")
    assert [found.kind for found in thrift.anomalies()] == []


def test_a_feature_where_the_whole_is_calm_and_a_user_where_its_feature_is(any_thrift: Thrift) -> None:
    spend_days(any_thrift, at_noon(28), "200", feature="chat", user="ada")
    spend_days(any_thrift, at_noon(28), "5", feature="search", user="ben")
    spend_days(any_thrift, at_noon(28), "5", feature="chat", user="cid")
    spend(any_thrift, "2026-03-12T12:00", "200", feature="chat", user="ada")
    spend(any_thrift, "2026-03-12T12:00", "60", feature="search", user="ben")
    spend(any_thrift, "2026-03-11T12:00", "55", feature="chat", user="cid")
    today, yesterday = (found for found in any_thrift.anomalies() if found.kind == "day")
    assert (today.kind, today.scope, today.value_usd, today.expected_usd) == ("day", {"feature": "search"}, 60, 5)
    assert today.why.startswith("feature search: $60.00 on 2026-03-12")
    assert (yesterday.scope, yesterday.value_usd) == ({"user": "cid"}, 60)


@pytest.mark.parametrize("tz", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"])
def test_a_weekly_rhythm_over_a_change_of_the_clock_is_none(any_url: str, tz: str) -> None:
    zone = ZoneInfo(tz)
    now = datetime(2026, 4, 15, 12, tzinfo=zone)
    with Thrift(any_url, clock=Clock(now.timestamp())) as thrift:
        for number in range(60):
            day = now - timedelta(days=number)
            for hour in (9, 15):
                moment = day.replace(hour=hour)
                if moment < now:
                    spend(thrift, moment, "100" if day.weekday() < 5 else "20", feature="chat")
        assert thrift.anomalies(tz=tz) == []
        spend(thrift, now - timedelta(hours=2), "900", feature="chat")
        assert {found.kind for found in thrift.anomalies(tz=tz)} == {"hour", "request", "day"}


def test_nothing_one_call_and_gaps_are_none(thrift: Thrift) -> None:
    assert thrift.anomalies() == []
    spend(thrift, "2025-01-01T12:00", "1000")
    assert thrift.anomalies() == []
    spend_days(thrift, at_noon(3), "10")
    assert thrift.anomalies() == []
    spend(thrift, "2026-03-12T12:00", None, model="unknown-1")
    assert thrift.anomalies() == []
    with pytest.raises(ConfigurationError):
        thrift.anomalies("soon")


def test_the_command_prints_them(tmp_path) -> None:
    path = tmp_path / "ledger.db"
    runner = CliRunner()
    with Thrift(path) as thrift:
        noon = datetime.now(UTC).replace(hour=12) - timedelta(days=1)
        spend_days(thrift, [noon - timedelta(days=number) for number in range(1, 15)], "10", feature="chat")
    assert "Nothing unusual" in runner.invoke(app, ["anomalies", "--url", str(path)]).output
    with Thrift(path) as thrift:
        spend_days(thrift, [noon], "1001.50", feature="chat")
    text = runner.invoke(app, ["anomalies", "--url", str(path), "--limit", "1"]).output
    text = " ".join(text.split())  # a terminal's lines are broken between words
    assert "where $10.00 is usual: feature chat +$991.50" in text
    assert "1 older ones" in text
    told = json.loads(runner.invoke(app, ["anomalies", "--json", "--url", str(path)]).output)
    assert [row["kind"] for row in told] == ["hour", "day"]

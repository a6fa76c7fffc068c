"""`thrift.forecast`: from a ledger to a sentence, with budgets, parts, time zones and next to nothing recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner

from llmthrift_core import Budget, Thrift
from llmthrift_core.cli.app import app
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.reports.forecast_days import bounds, share_passed
from tests.core.clock import Clock
from tests.core.reports.ledgers import spend, spend_days

NOW = datetime(2026, 3, 12, tzinfo=UTC)  # a Thursday, at midnight


def at_noon(days: int, last: datetime = NOW) -> list[datetime]:
    """Noons of so many days before a midnight."""
    return [last - timedelta(days=number + 0.5) for number in range(days)]


@pytest.fixture
def any_thrift(any_url: str) -> Iterator[Thrift]:
    with Thrift(any_url, clock=Clock(NOW.timestamp())) as opened:
        yield opened


@pytest.fixture
def thrift() -> Iterator[Thrift]:
    with Thrift(":memory:", clock=Clock(NOW.timestamp())) as opened:
        yield opened


def test_ten_dollars_a_day_are_310_in_march(any_thrift: Thrift) -> None:
    spend_days(any_thrift, at_noon(60), "7", feature="chat")
    spend_days(any_thrift, at_noon(60), "3", feature="search")
    found = any_thrift.forecast()
    assert (found.period, found.first_day, found.last_day) == ("month", date(2026, 3, 1), date(2026, 3, 31))
    assert found.spent_usd == 110  # the 1st to the 11th
    assert float(found.projected_usd) == pytest.approx(310, rel=0.01)
    assert Decimal(280) < found.low_usd < found.projected_usd < found.high_usd < Decimal(340)
    assert len(found.daily) == 31
    assert [(day.spent_usd, day.expected_usd) for day in found.daily[:11]] == [(10, 10)] * 11
    assert found.daily[11].spent_usd == 0  # today has begun
    assert found.daily[12].spent_usd is None
    assert sum(day.expected_usd for day in found.daily) == pytest.approx(found.projected_usd, abs=Decimal("0.001"))
    assert found.history_days == 60
    assert not found.parts


def test_parts_add_up_and_have_names(any_thrift: Thrift) -> None:
    spend_days(any_thrift, at_noon(60), "7", feature="chat")
    spend_days(any_thrift, at_noon(60), "2", feature="line\nbreak 🚀")
    spend_days(any_thrift, at_noon(60), "1")
    found = any_thrift.forecast(by="feature")
    assert [part.value for part in found] == ["chat", "line\nbreak 🚀", None]
    assert [part.spent_usd for part in found] == [77, 22, 11]
    assert found["chat"].to_dict()["feature"] == "chat"
    assert float(sum(part.projected_usd for part in found)) == pytest.approx(float(found.projected_usd), rel=0.01)
    with pytest.raises(KeyError):
        found["none of these"]
    assert "line break" in str(found)
    assert "<table>" in found._repr_html_()


def test_beyond_twenty_values_there_is_a_rest(thrift: Thrift) -> None:
    for number in range(25):
        spend_days(thrift, at_noon(3), str(number + 1), user=f"u{number}")
    found = thrift.forecast(by="user")
    assert len(found) == 21
    assert found.parts[0].value == "u24"
    assert found["(others)"].spent_usd == 3 * (1 + 2 + 3 + 4 + 5)
    assert sum(part.spent_usd for part in found) == found.spent_usd


def test_a_tag_is_an_attribute_too(thrift: Thrift) -> None:
    for moment in at_noon(20):
        thrift.ledger.record_cost("vector store", 4, at=moment, tags={"team": "search"})
    found = thrift.forecast(by="team")
    assert (found.spent_usd, found["search"].spent_usd) == (44, 44)  # other costs are spend
    assert float(found["search"].projected_usd) == pytest.approx(124, rel=0.01)
    assert "team" in str(found)


def test_a_forecast_as_at_a_time_knows_nothing_of_later(any_thrift: Thrift) -> None:
    spend_days(any_thrift, at_noon(40, NOW - timedelta(days=20)), "10", feature="chat")
    before = any_thrift.forecast(at="2026-02-20", by="feature").to_dicts()
    spend_days(any_thrift, at_noon(20), "500", feature="chat")
    assert any_thrift.forecast(at="2026-02-20", by="feature").to_dicts() == before
    spend(any_thrift, "2026-02-20T10:30:00", "4", feature="chat")
    any_thrift.flush()
    at = any_thrift.forecast(at="2026-02-20T10:45:00", by="feature")
    assert at.spent_usd - before[0]["spent_usd"] == 4
    assert at["chat"].spent_usd == at.spent_usd
    assert any_thrift.forecast(at="2026-02-20T10:15:00", by="feature")["chat"].spent_usd == before[0]["spent_usd"]


def test_a_budget_is_reached_on_a_day_between_two(any_thrift: Thrift) -> None:
    spend_days(any_thrift, at_noon(60), "10", feature="chat")
    any_thrift.budgets.add(Budget(limit_usd=225, window="month", match={"feature": "chat"}, name="chat"))
    any_thrift.budgets.add(Budget(limit_usd=1_000, window="month", name="roomy"))
    any_thrift.budgets.add(Budget(limit_usd=100, window="month", per="feature", name="small"))
    any_thrift.budgets.add(Budget(limit_usd=9, window="month", per=["feature", "user"], name="of two"))
    any_thrift.budgets.add(Budget(limit_tokens=9, window="month", name="tokens"))
    chat, roomy, small = any_thrift.forecast().budgets
    assert (chat.budget, chat.spent_usd, chat.scope) == ("chat", 110, {"feature": "chat"})
    # $115 are left at $10 a day, from the 12th on: the 12th of these days is the 23rd.
    assert chat.reached_on == date(2026, 3, 23)
    assert chat.earliest is not None
    assert chat.latest is not None
    assert date(2026, 3, 20) <= chat.earliest < chat.reached_on < chat.latest <= date(2026, 3, 28)
    assert chat.sentence == (f"chat reaches its budget 'chat' of $225.00 on 2026-03-23, between {chat.earliest} and {chat.latest}.")
    assert not roomy.is_over
    assert "is not reached by 2026-03-31" in roomy.sentence
    assert small.sentence == "chat has reached its budget 'small' of $100.00: $110.00 spent."


def test_a_budget_of_a_day_speaks_of_this_day_once(any_thrift: Thrift) -> None:
    spend_days(any_thrift, at_noon(60), "10", feature="chat")
    any_thrift.budgets.add(Budget(limit_usd=Decimal("9.99"), window="day", name="daily"))
    (daily,) = any_thrift.forecast().budgets
    span = f"${daily.low_usd:.2f} to ${daily.high_usd:.2f}"
    assert daily.low_usd < daily.limit_usd < daily.projected_usd
    assert daily.sentence == f"The budget 'daily' of $9.99 is reached on 2026-03-12, if at all: {span} expected."


def test_the_past_is_asked_of_the_ledger(thrift: Thrift) -> None:
    spend_days(thrift, at_noon(60), "10", feature="chat")
    thrift.budgets.add(Budget(limit_usd=225, window="month", per="feature", name="chat"))
    (found,) = thrift.forecast(at="2026-02-11").budgets
    assert found.spent_usd == 100
    assert found.reached_on == date(2026, 2, 23)


@pytest.mark.parametrize(("days", "what"), [(1, "1 whole day:"), (3, "3 whole days:")])
def test_little_history_makes_a_wide_interval_and_a_sentence(thrift: Thrift, days: int, what: str) -> None:
    spend_days(thrift, at_noon(days), "10")
    found = thrift.forecast()
    assert found.spent_usd == 10 * days
    assert float(found.projected_usd) == pytest.approx(10 * days + 200, rel=0.02)
    assert float(found.high_usd - found.low_usd) > 100
    assert what in str(found)


def test_of_the_first_day_the_rest_is_guessed(thrift: Thrift) -> None:
    thrift._clock.now += 6 * 3600
    spend(thrift, "2026-03-12T03:00", "5")
    found = thrift.forecast("day")
    assert float(found.projected_usd) == pytest.approx(20, rel=0.05)  # $5 in a quarter of the day
    assert found.low_usd >= 5
    assert "Today is the first day with spend" in str(found)


def test_today_counts_as_far_as_it_has_come(thrift: Thrift) -> None:
    for number in range(1, 31):  # all of it in the morning
        spend(thrift, NOW - timedelta(days=number) + timedelta(hours=8), "10")
    spend(thrift, NOW + timedelta(hours=8), "10")
    thrift._clock.now += 18 * 3600
    found = thrift.forecast("day")
    assert found.spent_usd == 10
    assert float(found.projected_usd) == pytest.approx(10, rel=0.03)


def test_nothing_and_nothing_priced_are_said(thrift: Thrift) -> None:
    found = thrift.forecast(by="feature")
    assert (found.spent_usd, found.projected_usd, found.low_usd, found.high_usd, found.parts) == (0, 0, 0, 0, ())
    assert "there is nothing to project" in str(found)
    spend(thrift, "2026-03-11T12:00", None, model="unknown-1", feature="chat")
    found = thrift.forecast(by="feature")
    assert found.projected_usd == 0
    assert "1 call without a price" in str(found)
    assert "nan" not in str(found).lower()


def test_a_gap_of_months_is_told_and_expects_next_to_nothing(thrift: Thrift) -> None:
    spend_days(thrift, at_noon(20, NOW - timedelta(days=70)), "10")
    found = thrift.forecast()
    assert found.spent_usd == 0
    assert found.high_usd < 100
    assert "Nothing was spent since 2025-12-31." in str(found)
    later = thrift.forecast(at="2027-03-12")
    assert "there is nothing to project" in str(later)


@pytest.mark.parametrize("tz", ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Auckland", "America/St_Johns"])
def test_days_are_those_of_the_zone_also_where_the_clock_changes(any_url: str, tz: str) -> None:
    zone = ZoneInfo(tz)
    now = datetime(2026, 4, 15, tzinfo=zone)
    with Thrift(any_url, clock=Clock(now.timestamp())) as thrift:
        for number in range(1, 45):  # over a change in spring or autumn
            begin = datetime(2026, 4, 15, tzinfo=zone) - timedelta(days=number)
            spend(thrift, begin.replace(hour=0, minute=30), "4", feature="chat")
            spend(thrift, begin.replace(hour=23, minute=29), "6", feature="chat")
        found = thrift.forecast(tz=tz, by="feature")
        assert found.spent_usd == 140
        assert found["chat"].spent_usd == 140
        assert {day.spent_usd for day in found.daily[:14]} == {10}
        assert float(found.projected_usd) == pytest.approx(300, rel=0.02)


def test_bad_arguments_are_refused(thrift: Thrift) -> None:
    for arguments in ({"period": "fortnight"}, {"tz": "Mars/Olympus"}, {"at": "soon"}, {"at": "0001-01-01"}, {"at": "9999-12-31"}):
        with pytest.raises(ConfigurationError):
            thrift.forecast(**arguments)
    spend(thrift, "2026-03-11T12:00", "1")
    with pytest.raises(ConfigurationError, match="no sums are kept by 'colour'"):
        thrift.forecast(by="colour")


def test_periods() -> None:
    assert bounds("day", date(2026, 3, 12)) == (date(2026, 3, 12), date(2026, 3, 12))
    assert bounds("week", date(2026, 3, 12)) == (date(2026, 3, 9), date(2026, 3, 15))
    assert bounds("month", date(2028, 2, 29)) == (date(2028, 2, 1), date(2028, 2, 29))
    assert bounds("quarter", date(2026, 12, 31)) == (date(2026, 10, 1), date(2026, 12, 31))
    assert bounds("year", date(2026, 3, 12)) == (date(2026, 1, 1), date(2026, 12, 31))


def test_of_an_even_day_a_quarter_has_passed_at_six() -> None:
    six = round(datetime(2026, 3, 12, 6, tzinfo=UTC).timestamp() * 1e6)
    assert share_passed([0] * 24, six, UTC) == pytest.approx(0.25)
    assert share_passed([5] * 24, six, UTC) == pytest.approx(0.25)
    # 28 days in the seventh hour, and one that is even: by half past six half of that, and 6.5 / 24 of the other.
    assert share_passed([0] * 6 + [100] + [0] * 17, six + 1_800_000_000, UTC) == pytest.approx((28 * 0.5 + 6.5 / 24) / 29)


def test_the_command_prints_it(tmp_path) -> None:
    path = tmp_path / "ledger.db"
    with Thrift(path) as thrift:
        now = datetime.now(UTC)
        spend_days(thrift, [now - timedelta(days=number) for number in range(1, 20)], "10", feature="chat")
        thrift.budgets.add(Budget(limit_usd=100_000, window="month", name="all"))
    runner = CliRunner()
    text = runner.invoke(app, ["forecast", "--by", "feature", "--url", str(path)])
    assert text.exit_code == 0, text.output
    assert "in 8 of 10 cases" in text.output
    assert "chat" in text.output
    told = json.loads(runner.invoke(app, ["forecast", "--json", "--url", str(path)]).output)
    assert told["budgets"][0]["sentence"].startswith("The budget 'all' of $100,000.00 is not reached")
    assert len(told["daily"]) >= 28
    rows = runner.invoke(app, ["forecast", "--csv", "--by", "feature", "--url", str(path)]).output
    assert rows.startswith("feature,period,")


def test_an_unknown_name_is_refused_before_anything_is_recorded(any_thrift):
    with pytest.raises(ConfigurationError, match=r"no sums are kept by 'planet'.*tag:NAME"):
        any_thrift.forecast(by="planet")
    assert any_thrift.forecast(by="tag:planet").spent_usd == 0

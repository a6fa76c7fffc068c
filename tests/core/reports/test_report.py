from __future__ import annotations

import builtins
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmthrift_core.attribution import Attribution
from llmthrift_core.errors import ConfigurationError, MissingExtraError
from llmthrift_core.ledger import CallRecord, Ledger
from llmthrift_core.ledger.batch import commit
from llmthrift_core.moments import to_us
from llmthrift_core.reports.report import report
from llmthrift_core.reports.savings import savings
from llmthrift_core.storage.database import Database
from llmthrift_core.usage import Usage
from tests.core.ledger.prices import FlatPrices

THOUSAND = Usage(input_tokens=1_000)  # $0.001


@pytest.fixture
def ledger(any_database: Database) -> Iterator[Ledger]:
    ledger = Ledger(any_database, FlatPrices())
    yield ledger
    ledger.close()


def _amounts(database: Database, **options: Any) -> dict[Any, tuple[int, Decimal]]:
    answer = report(database, **options)
    return {row[answer.by]: (row["requests"], row["cost_usd"]) for row in answer}


def test_average_of_five_thousand_requests() -> None:
    with Database.open(":memory:") as database:
        records = []
        for number in range(5_000):
            record = CallRecord(request_id=f"r{number}", call_id="c", at_us=0, model="m")
            record.cost_nano_usd = 90_064_000  # 5,000 of them are $450.32
            records.append(record)
        commit(database, records)
        total = report(database).total
    assert total["cost_usd"] == Decimal("450.32")
    assert total["cost_per_request_usd"] == Decimal("0.090064")


def test_rows_by_attribute_with_the_rest_as_none(ledger: Ledger, any_database: Database) -> None:
    for user, feature in (("ada", "chat"), ("ada", "mail"), ("bob", "chat"), (None, None)):
        ledger.record("m", THOUSAND, user=user, feature=feature, tags={"team": "x"} if user == "ada" else None)
    ledger.flush()
    assert _amounts(any_database, by="user") == {
        "ada": (2, Decimal("0.002")),
        "bob": (1, Decimal("0.001")),
        None: (1, Decimal("0.001")),
    }
    assert _amounts(any_database, by="feature") == {
        "chat": (2, Decimal("0.002")),
        "mail": (1, Decimal("0.001")),
        None: (1, Decimal("0.001")),
    }
    assert _amounts(any_database, by="team") == {"x": (2, Decimal("0.002")), None: (2, Decimal("0.002"))}
    assert _amounts(any_database, by="tag:team") == _amounts(any_database, by="team")
    assert _amounts(any_database, by="session") == {None: (4, Decimal("0.004"))}


def test_requests_count_calls_and_attempts_count_rows(ledger: Ledger, any_database: Database) -> None:
    for attempt, reason, error in ((1, None, "TimeoutError"), (2, "retry", "RateLimit"), (3, "fallback", None)):
        record = CallRecord(request_id=f"c:{attempt}", call_id="c", at_us=0, model="m")
        record.attempt, record.attempt_reason, record.error = attempt, reason, error
        record.cost_nano_usd = record.output_cost_nano_usd = 10
        record.latency_us = attempt * 1_000_000
        ledger.append(record)
    ledger.record("m", THOUSAND, at=datetime(1970, 1, 1), cache="exact")
    ledger.flush()
    (row,) = report(any_database, by="model")
    counts = {name: row[name] for name in ("requests", "attempts", "errors", "retries", "fallbacks", "escalations", "cache_hits")}
    assert counts == {
        "requests": 2,
        "attempts": 4,
        "errors": 2,
        "retries": 1,
        "fallbacks": 1,
        "escalations": 0,
        "cache_hits": 1,
    }
    assert row["mean_latency_seconds"] == 2.0  # of the three whose latency is known
    assert row["saved_usd"] == row["cache_saved_usd"] == Decimal("0.001")
    assert row["cost_usd"] == row["output_cost_usd"] == Decimal("0.00000003")


def _attempt(number: int, reason: str | None, cost: tuple[int, int, int], **more: Any) -> CallRecord:
    record = CallRecord(request_id=f"c:{number}", call_id="c", at_us=number * 3_600_000_000, model="m", **more)
    record.attempt, record.attempt_reason = number, reason
    record.input_cost_nano_usd, record.output_cost_nano_usd = cost[:2]
    record.cost_nano_usd = sum(cost)
    return record


def test_cost_is_split_into_input_output_fees_retries_and_fallbacks_to_the_nano_dollar(any_database: Database) -> None:
    ledger = Ledger(any_database, FlatPrices("m"))
    attempts = [
        (None, (1, 2, 0)),
        ("retry", (10, 20, 5)),
        ("retry", (100, 200, 0)),
        ("fallback", (1_000, 2_001, 1)),
        ("escalation", (7, 7, 0)),
    ]
    for number, (reason, cost) in enumerate(attempts, 1):
        ledger.append(_attempt(number, reason, cost))
    unpriced = _attempt(6, "retry", (0, 0, 0))
    unpriced.model, unpriced.input_tokens = "later", 1
    unpriced.cost_nano_usd = unpriced.input_cost_nano_usd = unpriced.output_cost_nano_usd = None
    ledger.append(unpriced)
    ledger.close()
    assert Ledger(any_database, FlatPrices("later")).reprice_unpriced() == 1
    for options in ({}, {"since": "1970-01-01T00:30", "until": "1970-01-01T06:30"}):  # stored sums, and rows of the edges
        total = report(any_database, **options).total
        assert total["input_cost_usd"] == Decimal("0.000002118")
        assert total["output_cost_usd"] == Decimal("0.000002230")
        assert total["fees_usd"] == Decimal("0.000000006")
        assert total["cost_usd"] == total["input_cost_usd"] + total["output_cost_usd"] + total["fees_usd"]
        assert total["retry_cost_usd"] == Decimal("0.000001335")
        assert total["fallback_cost_usd"] == Decimal("0.000003002")
        assert sum(row["retry_cost_usd"] for row in report(any_database, by="hour", **options)) == total["retry_cost_usd"]
    assert "retry cost" in report(any_database).to_text()
    assert "input cost" not in report(any_database).to_text(80)
    assert "input cost" in report(any_database).to_text(250)
    found = savings(any_database, FlatPrices("m"))
    assert found.spent_usd == found.input_cost_usd + found.output_cost_usd + found.fees_usd
    assert (found.retries, found.retry_cost_usd, found.fallbacks, found.fallback_cost_usd) == (
        3,
        Decimal("0.000001335"),
        1,
        Decimal("0.000003002"),
    )
    assert "spent on 3 retries" in str(found)


def test_a_trace_stands_for_the_run_that_nobody_named(any_database: Database) -> None:
    ledger = Ledger(any_database, FlatPrices("m"))
    for number, (run, trace) in enumerate([("named", "t1"), (None, "t1"), (None, "t1"), (None, None)], 1):
        record = _attempt(number, None, (1, 1, 0), attribution=Attribution(run=run))
        record.trace_id = trace
        ledger.append(record)
    ledger.record_cost("tool", 1, run="named")
    ledger.close()
    assert {row["run"]: (row["attempts"], row["other_cost_usd"]) for row in report(any_database, by="run")} == {
        "named": (1, 1),
        "t1": (2, 0),
        None: (1, 0),
    }


def test_unpriced_calls_are_counted_and_in_no_cost(ledger: Ledger, any_database: Database) -> None:
    ledger.record("m", THOUSAND)
    ledger.record("unheard-of", THOUSAND)
    ledger.flush()
    rows = {row["model"]: row for row in report(any_database)}
    assert (rows["unheard-of"]["unpriced"], rows["unheard-of"]["cost_usd"]) == (1, 0)
    assert "unpriced" in str(report(any_database))
    assert any(line.startswith("unheard-of") and " unpriced " in line for line in str(report(any_database)).splitlines())


def test_the_most_expensive_comes_first_and_time_in_its_order(ledger: Ledger, any_database: Database) -> None:
    for day, tokens in ((3, 5), (1, 9), (2, 7)):
        ledger.record("m", Usage(input_tokens=tokens), user=f"u{tokens}", at=f"2026-01-0{day}")
    ledger.record_cost("tool", 1, user="u5", at="2026-01-03")
    ledger.flush()
    assert [row["user"] for row in report(any_database, by="user")] == ["u5", "u9", "u7"]
    assert [row["day"] for row in report(any_database, by="day")] == ["2026-01-01", "2026-01-02", "2026-01-03"]


def test_the_period_is_half_open_and_takes_every_kind_of_time(ledger: Ledger, any_database: Database) -> None:
    for at in ("2026-01-01", "2026-01-01T12:34:56", "2026-01-02"):
        ledger.record("m", THOUSAND, at=at)
    ledger.flush()
    for since, until in (
        ("2026-01-01", "2026-01-02"),
        (date(2026, 1, 1), date(2026, 1, 2)),
        (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, 1, tzinfo=ZoneInfo("Europe/Berlin"))),
    ):
        assert report(any_database, since=since, until=until).total["requests"] == 2
    assert report(any_database, since="2026-01-01T12:34:56", until="2026-01-01T12:34:56.000001").total["requests"] == 1
    assert report(any_database, since="2026-01-01T12:34:56.000001", until="2026-01-02").total["requests"] == 0
    assert report(any_database, since="2026-01-03").rows == ()
    assert report(any_database, since="2026-01-02", until="2026-01-01").rows == ()


def test_days_of_a_time_zone_with_a_change_of_the_clocks(ledger: Ledger, any_database: Database) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    for at in (
        datetime(2026, 3, 28, 23, 30, tzinfo=berlin),
        datetime(2026, 3, 29, 0, 30, tzinfo=berlin),
        datetime(2026, 3, 29, 23, 30, tzinfo=berlin),  # 22 hours later: the clocks went forward
        datetime(2026, 3, 30, 0, 30, tzinfo=berlin),
    ):
        ledger.record("m", THOUSAND, at=at)
    ledger.flush()
    days = {row["day"]: row["requests"] for row in report(any_database, by="day", tz="Europe/Berlin")}
    assert days == {"2026-03-28": 1, "2026-03-29": 2, "2026-03-30": 1}
    hours = [row["hour"] for row in report(any_database, by="hour", tz="Asia/Kolkata", since="2026-03-29T22:00:00")]
    assert hours == ["2026-03-30T04:00+05:30"]
    assert [row["month"] for row in report(any_database, by="month")] == ["2026-03"]


_zones = st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns", "Australia/Lord_Howe"])
_moments = st.datetimes(datetime(2026, 3, 25), datetime(2026, 4, 10))


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(_moments, st.sampled_from([None, "a", "b"])), max_size=25),
    st.none() | _moments,
    st.none() | _moments,
    _zones,
    st.sampled_from(["day", "hour", "month"]),
)
def test_reports_equal_a_count_over_the_calls(
    made: list[tuple[datetime, str | None]], since: datetime | None, until: datetime | None, tz: str, by: str
) -> None:
    zone = ZoneInfo(tz)
    times: dict[str, int] = defaultdict(int)
    users: dict[str | None, int] = defaultdict(int)
    records = []
    for number, (at, user) in enumerate(made):
        record = CallRecord(request_id=str(number), call_id="c", at_us=to_us(at), model="m")
        record.attribution = record.attribution.__class__(user=user)
        records.append(record)
        if (since is None or at >= since) and (until is None or at < until):
            local = at.replace(tzinfo=UTC).astimezone(zone)
            if by == "hour":
                now_in_force = at.replace(tzinfo=UTC).astimezone(timezone(local.utcoffset() or timedelta()))
                label = now_in_force.replace(minute=0, second=0, microsecond=0).isoformat(timespec="minutes")
            else:
                label = local.strftime("%Y-%m-%d" if by == "day" else "%Y-%m")
            times[label] += 1
            users[user] += 1
    with Database.open(":memory:") as database:
        commit(database, records)
        assert {row[by]: row["requests"] for row in report(database, by=by, since=since, until=until, tz=tz)} == times
        assert {row["user"]: row["requests"] for row in report(database, by="user", since=since, until=until)} == users
        assert report(database, by="run", since=since, until=until).total["requests"] == sum(times.values())


def test_runs_are_read_from_the_rows(ledger: Ledger, any_database: Database) -> None:
    for run in ("r1", "r1", "r2", None):
        ledger.record("m", THOUSAND, run=run)
    ledger.record_cost("tool", "0.5", run="r2")
    ledger.flush()
    rows = {row["run"]: (row["requests"], row["cost_usd"], row["other_cost_usd"]) for row in report(any_database, by="run")}
    assert rows == {
        "r1": (2, Decimal("0.002"), 0),
        "r2": (1, Decimal("0.001"), Decimal("0.5")),
        None: (1, Decimal("0.001"), 0),
    }


def test_a_mistyped_by_names_the_choices_and_the_known_tags(ledger: Ledger, any_database: Database) -> None:
    assert report(any_database, by="tag:team").rows == ()  # nothing is recorded yet
    for unknown in ("modell", "team", ""):
        with pytest.raises(ConfigurationError, match=r"choose one of model, .*, or, of a tag that is still to come, tag:NAME"):
            report(any_database, by=unknown)
    ledger.record("m", THOUSAND, tags={"team": "x", "tier": "gold"})
    ledger.flush()
    with pytest.raises(ConfigurationError, match=r"'modell'; choose one of model, .*, or a tag that was recorded: team, tier"):
        report(any_database, by="modell")
    with pytest.raises(ConfigurationError, match="choose one of"):
        report(any_database, by=5)  # type: ignore[arg-type]


@pytest.mark.parametrize("tz", ["Europe/Atlantis", "", "../../etc/passwd", "UTC\0", 5])
def test_an_unknown_time_zone_is_refused(tz: Any) -> None:
    with Database.open(":memory:") as database, pytest.raises(ConfigurationError, match="unknown time zone"):
        report(database, by="day", tz=tz)


def test_a_tag_with_the_name_of_an_attribute_can_be_reached(ledger: Ledger, any_database: Database) -> None:
    ledger.record("m", THOUSAND, user="ada", tags={"user": "someone else"})
    ledger.flush()
    assert list(_amounts(any_database, by="user")) == ["ada"]
    assert list(_amounts(any_database, by="tag:user")) == ["someone else"]


def test_shown_as_text_html_dicts_and_a_data_frame(ledger: Ledger, any_database: Database) -> None:
    ledger.record("m", THOUSAND, user="<script>alert(1)</script>")
    ledger.record("m", Usage(input_tokens=2_500_000), user="line\nbreak \x1b[31m")
    ledger.flush()
    answer = report(any_database, by="user")
    shown = repr(answer)
    assert str(answer) == f"\n{shown}"
    assert len(shown.splitlines()) == 6
    assert "$2.50" in shown
    assert "\x1b" not in shown
    assert "<script>" not in answer._repr_html_()
    assert "&lt;script&gt;" in answer._repr_html_()
    dicts = answer.to_dicts()
    dicts[0]["cost_usd"] = None
    assert answer.rows[0]["cost_usd"] == Decimal("2.5")
    frame = answer.to_pandas()
    assert list(frame["cost_usd"]) == [2.5, 0.001]
    assert list(report(any_database, by="user", since="2999-01-01").to_pandas().columns) == list(answer.total)
    assert "No calls" in str(report(any_database, by="user", since="2999-01-01"))


def test_pandas_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_pandas(name: str, *rest: Any, **more: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return real(name, *rest, **more)

    with Database.open(":memory:") as database:
        answer = report(database)
    monkeypatch.setattr(builtins, "__import__", without_pandas)
    with pytest.raises(MissingExtraError, match=r"llmthrift\[notebook\]"):
        answer.to_pandas()


def test_a_report_of_ten_years_reads_days_and_not_hours() -> None:
    with Database.open(":memory:") as database:
        start = datetime(2016, 1, 1)
        commit(
            database,
            [
                CallRecord(request_id=str(day), call_id="c", at_us=to_us(start + timedelta(days=day)), model="m")
                for day in range(0, 3650, 50)
            ],
        )
        assert len(report(database, by="day", tz="America/New_York")) == 73
        assert len(report(database, by="month")) == 73

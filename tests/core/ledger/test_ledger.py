"""The ledger on every kind of database."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from llmthrift_core.attribution import Attribution, attribute
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.ledger import CallRecord, Ledger
from llmthrift_core.reports.report import report
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.tables import adjustments, captures, feedback, other_costs
from llmthrift_core.usage import Usage
from tests.core.ledger.prices import FlatPrices
from tests.core.ledger.sums import stored_sums, sums_over_rows
from tests.core.storage.backends import shared_databases

USAGE = Usage(input_tokens=1_000, output_tokens=100)  # $0.001 + $0.0002 on FlatPrices


@pytest.fixture
def ledger(any_database: Database) -> Iterator[Ledger]:
    ledger = Ledger(any_database, FlatPrices(), clock=lambda: 1_767_225_600.25)
    yield ledger
    ledger.close()


@pytest.fixture
def file_ledger(file_database: Database) -> Iterator[Ledger]:
    ledger = Ledger(file_database, FlatPrices())
    yield ledger
    ledger.close()


def test_a_recorded_call_comes_back_whole(ledger: Ledger) -> None:
    with attribute(user="ada", feature="chat", tags={"team": "search"}):
        request_id = ledger.record(
            "m",
            Usage(input_tokens=1_000, output_tokens=100, cache_read_tokens=200, estimated=True),
            provider="openai",
            feature="mail",
            session="s1",
            run="r1",
            request_type="summary",
            prompt_version="p2",
            config_version="c3",
            call_site="app.py:3",
            tags={"tier": "gold"},
            latency_seconds=1.5,
            error=TimeoutError("not stored"),
        )
    (call,) = ledger.calls()
    assert call.request_id == request_id == call["request_id"]
    assert call.at == datetime(2026, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC)
    assert (call.user, call.feature, call.session, call.run) == ("ada", "mail", "s1", "r1")
    assert (call.request_type, call.prompt_version, call.config_version, call.call_site) == ("summary", "p2", "c3", "app.py:3")
    assert call.tags == {"team": "search", "tier": "gold"}
    assert call.cost_usd == Decimal("0.0012")
    assert (call.input_cost_usd, call.output_cost_usd) == (Decimal("0.001"), Decimal("0.0002"))
    assert (call.price_version, call.provider, call.model) == ("flat 1", "openai", "m")
    assert (call.input_tokens, call.output_tokens, call.cache_read_tokens) == (1_000, 100, 200)
    assert (call.estimated, call.stream, call.attempt, call.adjusted) == (True, False, 1, False)
    assert (call.latency_seconds, call.error, call.cache) == (1.5, "TimeoutError", None)
    assert "not stored" not in str(dict(call))
    with pytest.raises(AttributeError, match="no_such"):
        _ = call.no_such


def test_a_hit_costs_nothing_and_says_what_it_saved(ledger: Ledger) -> None:
    ledger.record("m", USAGE, cache="exact")
    (call,) = ledger.calls()
    assert (call.cost_usd, call.input_tokens, call.output_tokens) == (Decimal(0), 0, 0)
    assert (call.saved_input_tokens, call.saved_output_tokens) == (1_000, 100)
    assert call.cache_saved_usd == Decimal("0.0012")


def test_an_unknown_model_has_no_cost_and_is_warned_about_once(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        ledger.record("unheard-of", USAGE)
    assert [call.cost_usd for call in ledger.calls()] == [None, None, None]
    assert [message.levelno for message in caplog.records] == [logging.WARNING]
    assert "unheard-of" in caplog.text
    assert ledger.health()["unpriced_models"] == ["unheard-of"]


def test_a_repeated_request_id_changes_nothing(ledger: Ledger, any_database: Database) -> None:
    ledger.record("m", USAGE, request_id="same", user="ada")
    ledger.flush()
    before = stored_sums(any_database)
    for _ in range(3):
        assert ledger.record("n", Usage(input_tokens=5), request_id="same", user="bob") == "same"
    ledger.record("m", USAGE, request_id="other", user="ada")
    ledger.record_cost("tool", 1, request_id="cost")
    ledger.record_cost("tool", 2, request_id="cost")
    ledger.flush()
    assert [call.model for call in ledger.calls()] == ["m", "m"]
    assert ledger.health()["duplicates"] == 4
    after = stored_sums(any_database)
    assert after == sums_over_rows(any_database)
    assert before != after
    assert report(any_database, by="user").total["other_cost_usd"] == 1


@pytest.mark.parametrize("latency", [-1.0, float("nan"), float("inf")])
def test_an_impossible_latency_is_unknown(ledger: Ledger, latency: float) -> None:
    ledger.record("m", USAGE, latency_seconds=latency)
    assert ledger.calls()[0].latency_seconds is None


@pytest.mark.parametrize(
    ("model", "usage", "options", "error"),
    [
        ("", USAGE, {}, TypeError),
        (None, USAGE, {}, TypeError),
        ("m", None, {}, TypeError),
        ("m", {"input_tokens": 5}, {}, TypeError),
        ("m", USAGE, {"at": "tomorrow"}, ConfigurationError),
        ("m", USAGE, {"cache": "fuzzy"}, ConfigurationError),
        ("m", USAGE, {"users": "ada"}, TypeError),
    ],
)
def test_what_the_caller_can_correct_is_refused(
    file_ledger: Ledger, model: object, usage: object, options: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        file_ledger.record(model, usage, **options)  # type: ignore[arg-type]
    assert file_ledger.calls() == []


@pytest.mark.parametrize(
    "text", ["nul \0 inside", "lone \ud800 surrogate", "☃ and 𝄞", "'; DROP TABLE x; --", "".join(map(str, range(100_000)))]
)
def test_odd_text_loses_no_row(ledger: Ledger, any_database: Database, text: str) -> None:
    ledger.record("m", USAGE, user=text, session=text, tags={text: text}, call_site=text)
    record = CallRecord(request_id="odd", call_id=text, at_us=1_767_225_600_000_000, model=text)
    record.route_reason = text
    ledger.append(record)
    ledger.capture("odd", 0, text, text, text)
    ledger.record("m", USAGE)
    assert ledger.flush()
    assert len(ledger.calls()) == 3
    assert ledger.health()["lost"] == 0
    assert len({call.user for call in ledger.calls()}) == 2
    assert stored_sums(any_database) == sums_over_rows(any_database)


def test_numbers_beyond_64_bits_lose_no_row_and_do_not_spoil_the_sums(ledger: Ledger, any_database: Database) -> None:
    for number in range(3):
        record = CallRecord(request_id=f"r{number}", call_id="c", at_us=1_767_225_600_000_000, model="m")
        record.input_tokens = 10 ** (17 + number)
        record.cost_nano_usd = record.input_cost_nano_usd = record.output_cost_nano_usd = 10**30
        record.latency_us = 10**40
        ledger.append(record)
    ledger.record("m", USAGE)
    assert ledger.flush()
    assert len(ledger.calls()) == 4
    assert ledger.health()["repaired"] == 3
    assert stored_sums(any_database) == sums_over_rows(any_database)


def test_every_form_of_a_call_keeps_all_it_was_given(ledger: Ledger) -> None:
    ledger.record("m", Usage(input_tokens=9, cache_read_tokens=4), request_id="plain")
    ledger.record("m", Usage(input_tokens=9, cache_write_tokens=4), request_id="written")
    ledger.record("m", Usage(input_tokens=9, service_tier="flex"), request_id="flex", latency_seconds=2)
    ledger.record("m", Usage(input_tokens=9, other=(("audio_seconds", 1.5),)), request_id="other")
    ledger.record("m", Usage(input_tokens=9), request_id="failed", error="TimeoutError")
    found = {call.request_id: call for call in ledger.calls()}
    assert {call.input_tokens for call in found.values()} == {9}
    assert found["plain"].cache_read_tokens == found["written"].cache_write_tokens == 4
    assert (found["flex"].service_tier, found["flex"].latency_seconds) == ("flex", 2.0)
    assert found["other"].other_usage == '{"audio_seconds": 1.5}'
    assert found["failed"].error == "TimeoutError"
    assert [found["plain"][name] for name in ("provider", "user", "tags", "cache", "latency_us")] == [None, None, {}, None, None]


def test_append_takes_what_it_gets(ledger: Ledger) -> None:
    record = CallRecord(request_id="bad", call_id="c", at_us=float("nan"), model=5)  # type: ignore[arg-type]
    record.input_tokens = "many"  # type: ignore[assignment]
    record.attempt = 10**6
    ledger.append(record)
    ledger.record("m", USAGE, request_id="good")
    ledger.flush()
    assert sorted(call.request_id for call in ledger.calls()) == ["bad", "good"]
    assert next(call.model for call in ledger.calls() if call.request_id == "bad") == "5"


def test_calls_can_be_filtered_and_ordered(ledger: Ledger) -> None:
    for number in range(6):
        ledger.record(
            "m" if number % 2 else "n",
            Usage(input_tokens=1_000 * (6 - number)),
            at=f"2026-01-0{number + 1}",
            user=f"u{number % 3}",
            request_id=f"r{number}",
            run="run" if number < 2 else None,
        )
    ids = [call.request_id for call in ledger.calls("2026-01-02", "2026-01-04")]
    assert ids == ["r2", "r1"]
    assert [call.request_id for call in ledger.calls(limit=2)] == ["r5", "r4"]
    assert [call.request_id for call in ledger.calls(order="oldest", limit=1)] == ["r0"]
    assert [call.request_id for call in ledger.calls(order="cost", limit=2)] == ["r0", "r1"]
    assert [call.request_id for call in ledger.calls(user="u1", model="m")] == ["r1"]
    assert [call.request_id for call in ledger.calls(run="run", order="cost")] == ["r0", "r1"]
    assert ledger.calls(limit=0) == []
    with pytest.raises(ConfigurationError):
        ledger.calls(order="random")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        ledger.calls(limit=-1)


def test_unpriced_calls_are_priced_later_and_only_once(ledger: Ledger, any_database: Database) -> None:
    prices = FlatPrices("m")
    ledger = Ledger(any_database, prices, clock=lambda: 1_767_225_600.0)
    usage = Usage(input_tokens=1_000, output_tokens=100, other=(("audio_seconds", 2.5),))
    for _ in range(3):
        ledger.record("late", usage, user="ada")
    ledger.record("never", usage)
    ledger.record("m", usage)
    assert ledger.reprice_unpriced() == 0
    prices.known.add("late")
    assert ledger.reprice_unpriced() == 3
    assert ledger.reprice_unpriced() == 0
    calls = ledger.calls(model="late")
    assert [(call.cost_usd, call.price_version, call.adjusted) for call in calls] == [(Decimal("0.0012"), "flat 1", True)] * 3
    total = report(any_database, by="model").total
    assert (total["cost_usd"], total["unpriced"]) == (Decimal("0.0048"), 1)
    assert stored_sums(any_database) == sums_over_rows(any_database)
    with any_database.read() as connection:
        assert len(connection.execute(select(adjustments)).all()) == 3
        assert connection.execute(text("SELECT count(*) FROM llmthrift_calls WHERE cost_nano_usd IS NULL")).scalar() == 4
    ledger.close()


def test_other_costs_are_kept_apart(ledger: Ledger, any_database: Database) -> None:
    ledger.record("m", USAGE, user="ada")
    with attribute(user="ada"):
        ledger.record_cost("tool", "0.05", feature="search", at="2026-01-01")
    ledger.record_cost("gpu", Decimal("1.25"))
    ledger.flush()
    rows = {row["user"]: row for row in report(any_database, by="user")}
    assert rows["ada"]["other_cost_usd"] == Decimal("0.05")
    assert rows["ada"]["cost_usd"] == Decimal("0.0012")
    assert rows[None]["other_cost_usd"] == Decimal("1.25")
    for kind, usd in (("", 1), ("tool", "much"), ("tool", float("nan"))):
        with pytest.raises((TypeError, ConfigurationError)):
            ledger.record_cost(kind, usd)


def test_feedback_is_stored_in_millionths(ledger: Ledger, any_database: Database) -> None:
    ledger.feedback("r1", quality=0.85, source="judge", comment="fine")
    ledger.flush()
    with any_database.read() as connection:
        row = connection.execute(select(feedback)).mappings().one()
    assert (row["request_id"], row["quality"], row["source"], row["comment"]) == ("r1", 850_000, "judge", "fine")
    for quality in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigurationError):
            ledger.feedback("r1", quality=quality)


@pytest.mark.parametrize("durability", ["batched", "sync"])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {}),
        ({"error": "RateLimitError"}, {}),  # rows of several forms, which are written by statements of their own
        ({}, {"error": "RateLimitError"}),
        ({"usage": Usage(input_tokens=1_000_000, cache_write_tokens=10)}, {"cache": "exact"}),
    ],
)
def test_the_first_record_of_a_request_id_stands_in_one_batch_too(
    file_database: Database, durability: Any, first: dict[str, Any], second: dict[str, Any]
) -> None:
    ledger = Ledger(file_database, FlatPrices(), durability=durability)
    ledger.record("m", **{"usage": USAGE, **first}, request_id="same", user="ada")
    ledger.record("n", **{"usage": Usage(input_tokens=1), **second}, request_id="same", user="bob")
    ledger.record_cost("tool", 1, request_id="cost", user="ada")
    ledger.record_cost("tool", 2, request_id="cost", user="bob")
    ledger.record("m", USAGE, user="eve")
    (eve, call) = sorted(ledger.calls(), key=lambda call: call.user != "eve")
    assert (call.user, call.model, call.error, call.cache) == ("ada", "m", first.get("error"), None)
    assert {row["user"]: (row["attempts"], row["other_cost_usd"]) for row in report(file_database, by="user")} == {
        "ada": (1, 1),
        "eve": (1, 0),
    }
    assert stored_sums(file_database) == sums_over_rows(file_database)
    assert (ledger.health()["written"], ledger.health()["duplicates"], eve.user) == (3, 2, "eve")
    ledger.close()


def test_the_first_and_the_last_year_are_recorded_and_read(ledger: Ledger, any_database: Database) -> None:
    for at in ("0001-01-01", "2026-01-01", "9999-12-31", datetime.max):
        ledger.record("m", USAGE, at=at)
        ledger.record_cost("tool", 1, at=at)
    assert [call.at.year for call in ledger.calls()] == [9999, 9999, 2026, 1]
    assert len(ledger.calls(since="0001-01-01", until="9999-12-31")) == 2
    for zone in (None, "Pacific/Kiritimati", "Pacific/Pago_Pago"):
        for by in ("day", "month", "hour"):
            assert report(any_database, by=by, tz=zone).total["attempts"] == 4
    assert [row["day"] for row in report(any_database, by="day")] == ["0001-01-01", "2026-01-01", "9999-12-31"]
    assert report(any_database, by="model", since="0001-01-01T05:00", until="9999-12-31T10:00").total["attempts"] == 2


@pytest.mark.parametrize("at", [12345, 1.5, object(), ["2026-01-01"], "tomorrow", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00"])
def test_what_is_no_time_is_refused_by_its_value_with_the_remedy(ledger: Ledger, at: Any) -> None:
    for record in (lambda: ledger.record("m", USAGE, at=at), lambda: ledger.record_cost("tool", 1, at=at), lambda: ledger.calls(since=at)):
        with pytest.raises(ConfigurationError, match="write it like 2026-01-31") as caught:
            record()
        assert (at if isinstance(at, str) else repr(at)) in str(caught.value)
    assert (ledger.calls(), ledger.health()["lost"]) == ([], 0)


@pytest.mark.parametrize("usd", [float("nan"), float("inf"), "free", None, "1e30", 10_000_000])
def test_what_is_no_amount_is_refused_by_its_value(ledger: Ledger, usd: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"US dollars") as caught:
        ledger.record_cost("tool", usd)
    assert str(usd) in str(caught.value)
    with pytest.raises(ConfigurationError, match="quality"):
        ledger.feedback("r", quality="good")  # type: ignore[arg-type]


def test_a_row_of_a_year_beyond_the_calendar_does_not_hide_the_others(ledger: Ledger) -> None:
    for number, at_us in enumerate((2**62, -(2**62), 0)):
        ledger.append(CallRecord(request_id=f"r{number}", call_id="c", at_us=at_us, model="m\0"))
    assert [call.at.year for call in ledger.calls()] == [9999, 1970, 1]


@pytest.mark.parametrize("user", ["a\0b", "\ud800", "x" * 1000])
def test_a_name_that_is_stored_in_another_form_is_found_and_erased(ledger: Ledger, user: str) -> None:
    ledger.record("m", USAGE, user=user)
    ledger.capture("r", 0, user, "asked \0 \ud800", "told")
    assert len(ledger.calls(user=user)) == 1
    assert ledger.erase(user=user) == {"calls": 1, "other_costs": 0, "captures": 1, "feedback": 0}
    assert (ledger.calls(user=user), ledger.health()["lost"]) == ([], 0)


def test_names_that_only_one_user_has_are_found(ledger: Ledger) -> None:
    def record(user: str | None, session: str, run: str, tag: str, trace: str | None = None) -> None:
        row = CallRecord(request_id=f"{user}{session}{run}{tag}{trace}", call_id="c", at_us=1_767_225_600_000_000, model="m")
        row.attribution, row.trace_id = Attribution(user=user, session=session, run=run, tags=(("team", tag),)), trace
        ledger.append(row)

    record("ada", "own", "own-run", "own-team", "own-trace")
    record("ada", "own", "own-run", "team", "trace")
    record("ada", "bobs", "bobs-run", "team", "bobs-trace")
    record("ada", "nobodys", "own-run", "pruned")
    record("bob", "bobs", "bobs-run", "team", "bobs-trace")
    record(None, "nobodys", "trace", "team")  # a run of somebody else under the name of her trace
    ledger.record_cost("tool", 1, user="ada", session="of-cost", run="run-of-cost", tags={"team": "of-cost"})
    ledger.record_cost("tool", 1, user="ada", session="bobs-cost", run="bobs-run-of-cost")
    ledger.record_cost("tool", 1, user="bob", session="bobs-cost", run="bobs-run-of-cost")
    found = ledger.names_only_of(user="ada")
    assert found == {
        "session": {"own", "of-cost"},
        "run": {"own-run", "own-trace", "run-of-cost"},
        "team": {"own-team", "pruned", "of-cost"},
    }
    assert ledger.names_only_of(user="nobody") == {}


def test_a_name_that_somebody_had_whose_rows_are_deleted_is_not_hers_alone(ledger: Ledger) -> None:
    for user, at in (("bob", "2026-01-01"), ("ada", "2026-03-01")):
        ledger.record("m", USAGE, user=user, at=at, session="s", tags={"team": "t"})
    ledger.prune(older_than="2026-02-01")
    assert ledger.names_only_of(user="ada") == {}


def test_erasing_a_user_keeps_the_amounts_and_forgets_the_rest(any_database: Database) -> None:
    ledger = Ledger(any_database, FlatPrices(), clock=lambda: 1_767_225_600.0)
    for user in ("ada", "bob"):
        for number in range(3):
            record = CallRecord(request_id=f"{user}{number}", call_id="c", at_us=1_767_225_600_000_000, model="m")
            with attribute(user=user, session=f"{user}-session", run=f"{user}-run", tags={"mail": f"{user}@x"}) as who:
                record.attribution = who
            record.run_id = record.trace_id = record.parent_id = record.prompt_hash = f"{user}-secret"
            record.cost_nano_usd = 5
            ledger.append(record)
        ledger.capture(f"{user}0", 0, user, f"{user} asks", f"{user} is told")
        ledger.feedback(f"{user}0", quality=1, comment=f"{user} says")
        ledger.record_cost("tool", "0.05", user=user, session=f"{user}-session")
    total = None
    for erased in (
        {"calls": 3, "other_costs": 1, "captures": 1, "feedback": 1},
        {"calls": 0, "other_costs": 0, "captures": 0, "feedback": 0},
    ):
        before = report(any_database, by="user").total if total is None else total
        assert ledger.erase(user="ada") == erased
        total = report(any_database, by="user").total
        assert before == total or erased["calls"]
    assert {row["user"]: row["attempts"] for row in report(any_database, by="user")} == {"bob": 3, None: 3}
    assert {row["session"]: row["attempts"] for row in report(any_database, by="session")} == {"bob-session": 3, None: 3}
    assert {row["mail"]: row["attempts"] for row in report(any_database, by="mail")} == {"bob@x": 3, None: 3}
    assert stored_sums(any_database) == sums_over_rows(any_database)
    with any_database.read() as connection:
        for table in ("calls", "captures", "other_costs", "feedback", "rollups"):
            rows = str(connection.execute(text(f"SELECT * FROM llmthrift_{table}")).all())
            rows = rows.replace("'ada0'", "").replace("'ada1'", "").replace("'ada2'", "")  # request ids stay
            assert "ada" not in rows, table
            assert "bob" in rows
    ledger.feedback("bob0", quality=0, source="ada", comment="ada thinks so")
    assert ledger.erase(user="ada")["feedback"] == 1
    with any_database.read() as connection:
        assert "ada thinks" not in str(connection.execute(select(feedback)).all())
    with pytest.raises(ConfigurationError):
        ledger.erase(user="")
    ledger.close()


def test_rows_still_queued_are_erased_too(file_database: Database) -> None:
    ledger = Ledger(file_database, FlatPrices())
    ledger.record("m", USAGE, user="ada")
    assert ledger.erase(user="ada")["calls"] == 1
    assert ledger.calls()[0].user is None
    ledger.close()


def test_pruning_keeps_the_totals(any_database: Database) -> None:
    ledger = Ledger(any_database, FlatPrices("m"), clock=lambda: 1_767_225_600.0)
    for day in range(1, 11):
        ledger.record("m", USAGE, user="ada", at=f"2026-01-{day:02}T10:20:00", request_id=f"r{day}")
        ledger.capture(f"r{day}", 1_767_225_600_000_000, "ada", "prompt", None)
    ledger.record("late", USAGE, at="2026-01-02")
    ledger.record_cost("tool", 1, at="2026-01-03")
    ledger.flush()
    Ledger(any_database, FlatPrices("late")).reprice_unpriced()
    before = {by: report(any_database, by=by) for by in ("user", "day", "model")}
    assert ledger.prune(older_than="2026-01-06") == {"calls": 6, "captures": 10, "other_costs": 1, "feedback": 0}
    assert len(ledger.calls()) == 5
    assert {by: report(any_database, by=by) for by in before} == before
    with any_database.read() as connection:
        assert connection.execute(select(adjustments)).all() == []
    inside = report(any_database, by="user", since="2026-01-02T10:30:00")
    assert inside.total["requests"] == 9  # the pruned hour that holds r2 is taken whole
    assert inside.notes
    after = report(any_database, by="user", since="2026-01-07T10:30:00")
    assert after.total["requests"] == 3
    assert after.notes == ()
    assert ledger.prune(older_than="2026-01-06")["calls"] == 0
    ledger.close()


def test_captured_text_passes_the_redaction_hook(file_database: Database) -> None:
    def redact(text: str) -> str:
        if "boom" in text:
            raise ValueError(text)
        return text.replace("4242", "****")

    ledger = Ledger(file_database, FlatPrices(), redact=redact)
    ledger.capture("r1", 0, "ada", "card 4242", "boom 4242")
    ledger.capture("r2", 0, "ada", "boom", None)
    ledger.feedback("r1", quality=1, comment="about 4242")
    ledger.close()
    with file_database.read() as connection:
        rows = connection.execute(select(captures.c.request_id, captures.c.prompt, captures.c.answer)).all()
        assert rows == [("r1", "card ****", None)]
        assert connection.execute(select(feedback.c.comment)).scalar() == "about ****"
    assert ledger.health()["redaction_failures"] == 2


def test_sync_rows_are_seen_by_others_at_once(tmp_path: Path) -> None:
    with Database.open(tmp_path / "a.db") as database, Database.open(tmp_path / "a.db") as other:
        ledger = Ledger(database, FlatPrices(), durability="sync")
        request_id = ledger.record("m", USAGE)
        with other.read() as connection:
            assert connection.execute(text("SELECT request_id FROM llmthrift_calls")).scalars().all() == [request_id]
        ledger.close()


def test_batched_rows_arrive_without_a_flush(tmp_path: Path) -> None:
    with Database.open(tmp_path / "a.db") as database:
        ledger = Ledger(database, FlatPrices())
        ledger.record("m", USAGE)
        arrived = threading.Event()
        for _ in range(1000):
            with database.read() as connection:
                if connection.execute(text("SELECT count(*) FROM llmthrift_calls")).scalar() == 1:
                    arrived.set()
                    break
            arrived.wait(0.005)
        assert arrived.is_set()
        ledger.close()


def test_a_locked_database_breaks_no_call_and_loses_no_row(tmp_path: Path) -> None:
    with Database.open(tmp_path / "a.db", busy_timeout_seconds=0.05) as database:
        ledger = Ledger(database, FlatPrices(), durability="sync")
        other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for _ in range(5):
            ledger.record("m", USAGE)
        assert ledger.health()["pending"] == 5
        assert "locked" in ledger.health()["last_error"]
        assert not ledger.flush(0.1)
        other.execute("ROLLBACK")
        other.close()
        assert ledger.flush()
        assert len(ledger.calls()) == 5
        assert ledger.health()["lost"] == 0
        assert ledger.health()["last_error"] is None
        ledger.close()


def test_a_full_disk_breaks_no_call(tmp_path: Path) -> None:
    with Database.open(tmp_path / "a.db") as database:
        ledger = Ledger(database, FlatPrices(), give_up_seconds=0)
        with database.write() as connection:
            pages = connection.execute(text("PRAGMA page_count")).scalar()
            connection.execute(text(f"PRAGMA max_page_count = {pages}"))
        for number in range(200):
            ledger.record("m", USAGE, session=f"s{number}" * 50)
        ledger.flush(0.5)
        assert "full" in ledger.health()["last_error"]
        ledger.close(0.5)
        assert ledger.health()["lost"] + ledger.health()["written"] == 200
        assert ledger.health()["lost"] > 0
        assert database.check().ok
        assert stored_sums(database) == sums_over_rows(database)


def test_a_read_only_database_breaks_no_call(tmp_path: Path) -> None:
    Database.open(tmp_path / "a.db").close()
    with Database.open(f"sqlite:///file:{tmp_path}/a.db?mode=ro&uri=true") as database:
        ledger = Ledger(database, FlatPrices())
        ledger.record("m", USAGE)
        assert not ledger.flush(0.1)
        assert "read-only" in ledger.health()["last_error"]
        ledger.close(0.1)


@shared_databases
def test_parent_and_child_write_to_the_same_ledger(any_database: Database) -> None:
    ledger = Ledger(any_database, FlatPrices())
    ledger.record("m", USAGE, request_id="parent before")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            ledger.record("m", USAGE, request_id="child")
            code = 0 if ledger.flush() and ledger.health()["written"] == 1 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    ledger.record("m", USAGE, request_id="parent after")
    assert sorted(call.request_id for call in ledger.calls()) == ["child", "parent after", "parent before"]
    assert stored_sums(any_database) == sums_over_rows(any_database)
    ledger.close()


_EXITS_WITHOUT_CLOSING = """
import sys
from llmthrift_core.ledger import Ledger
from llmthrift_core.storage import Database
from llmthrift_core.usage import Usage
from tests.core.ledger.prices import FlatPrices

ledger = Ledger(Database.open(sys.argv[1]), FlatPrices())
for number in range(5000):
    ledger.record("m", Usage(input_tokens=1), request_id=str(number))
{ending}
"""


@pytest.mark.parametrize("ending", ["", "raise SystemExit(0)", "import atexit; atexit.register(ledger.record, 'm', Usage())"])
def test_the_end_of_the_interpreter_loses_nothing(tmp_path: Path, ending: str) -> None:
    program = _EXITS_WITHOUT_CLOSING.format(ending=ending)
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.db")], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    with Database.open(tmp_path / "a.db") as database, database.read() as connection:
        count = connection.execute(text("SELECT count(*) FROM llmthrift_calls")).scalar()
    assert count == 5000 + ("atexit" in ending)


def test_options_are_checked(file_database: Database) -> None:
    with pytest.raises(ConfigurationError, match="durability"):
        Ledger(file_database, FlatPrices(), durability="eventually")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="queue_rows"):
        Ledger(file_database, FlatPrices(), queue_rows=0)


def test_other_costs_with_odd_attributes_survive(ledger: Ledger, any_database: Database) -> None:
    ledger.record_cost("to\0ol", "0.5", user="a\0b")
    ledger.flush()
    with any_database.read() as connection:
        row = connection.execute(select(other_costs)).mappings().one()
    assert row["cost_nano_usd"] == 500_000_000
    assert "\0" not in row["user"]

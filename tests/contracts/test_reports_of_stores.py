"""Reports and exports say the same of the same calls, whether SQLite or PostgreSQL keeps them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import astuple
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from llmthrift_core import Alert, Budget, Thrift, Usage
from llmthrift_core.attribution import attribution_of
from llmthrift_core.decisions import what_if
from llmthrift_core.exporters import PrometheusExporter, export_calls, export_focus
from llmthrift_core.ledger import CallRecord
from tests.core.storage.emptied import EmptiedDatabase

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
DAYS = 75
LONG_AGO = NOW - timedelta(days=DAYS)
MONTH = NOW - timedelta(days=30)


def fill(thrift: Thrift) -> None:
    """Weeks of several users, features and models in runs; a dear request, a dear day, retries, hits, what has no price."""
    number = 0
    for day in range(DAYS):
        for hour in (1, 9, 15, 23):
            number += 1
            at = LONG_AGO + timedelta(days=day, hours=hour - 12, minutes=number % 60)
            _call(thrift, number, at, 400.0 if day == DAYS - 3 and hour == 9 else 0.5 + number % 7 / 10)
    _call(thrift, number + 1, NOW - timedelta(hours=2), 30.0)
    thrift.ledger.record("nobody-knows", Usage(input_tokens=5), request_id="unknown", at=NOW - timedelta(hours=1))
    thrift.ledger.record("whisper-1", Usage(other=(("audio_seconds", 30.0),)), request_id="speech", at=NOW - timedelta(hours=1))
    thrift.record_cost("search", 1.25, feature="chat", at=NOW - timedelta(days=1))
    thrift.budgets.add(Budget(name="all", limit_usd=100_000, window="month"))
    thrift.flush()


def _call(thrift: Thrift, number: int, at: datetime, usd: float) -> None:
    model, provider = ("gpt-4o", "openai") if number % 3 else ("claude-sonnet-4-5", "anthropic")
    record = CallRecord(request_id=f"r{number}", call_id=f"r{number}", at_us=round(at.timestamp() * 1e6), model=model, provider=provider)
    record.attribution = attribution_of(
        {"team": "søk" if number % 2 else "x"},
        user=f"user {number % 5}" if number % 4 else None,
        feature="mail" if number % 2 else "chat",
        session=f"s{number % 9}",
        run=f"run {number // 5}",
        call_site="app.py:1",
    )
    record.input_tokens, record.output_tokens, record.latency_us = 1_000 * number % 9_000, 100, 1_000 * number
    record.cost_nano_usd, record.input_cost_nano_usd = round(usd * 1e9), round(usd * 3e8)
    record.output_cost_nano_usd = record.cost_nano_usd - record.input_cost_nano_usd
    if number % 10 == 0:
        record.attempt, record.attempt_reason = 2, "retry"
    if number % 11 == 0:
        record.cache, record.cost_nano_usd, record.input_cost_nano_usd, record.output_cost_nano_usd = "exact", 0, 0, 0
        record.cache_saved_nano_usd = 10**9
    record.prompt_hash, record.prompt_chars, record.system_chars = f"h{number % 20}", 4_000, 3_000
    thrift.ledger.append(record)


@pytest.fixture(scope="module")
def both(postgresql_database: EmptiedDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Thrift, Thrift]]:
    with psycopg.connect(postgresql_database.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE stores")
    of_postgresql_url = urlsplit(postgresql_database.url)._replace(path="/stores").geturl()
    urls = (tmp_path_factory.mktemp("stores") / "ledger.db", of_postgresql_url)
    with ExitStack() as opened:
        of_sqlite, of_postgresql = (opened.enter_context(Thrift(url, clock=NOW.timestamp)) for url in urls)
        fill(of_sqlite)
        fill(of_postgresql)
        yield of_sqlite, of_postgresql


def _top(by: str, since: datetime | None) -> Callable[[Thrift], Any]:
    return lambda thrift: (list(found := thrift.top(3, by, since)), found.notes)


def _report(by: str) -> Callable[[Thrift], Any]:
    return lambda thrift: (list(found := thrift.report(by, since=MONTH, details=by != "hour")), found.total)


def _forecast(by: str | None) -> Callable[[Thrift], Any]:
    return lambda thrift: [*(found := thrift.forecast(by=by)).to_dicts(), found.to_text()]


ALERTS = (Alert(on="anomaly"), Alert(on="unpriced"), Alert(on="forecast", threshold=1))
REPORTS: dict[str, Callable[[Thrift], Any]] = {
    **{f"top by {by}": _top(by, None) for by in ("user", "session", "model", "run", "call", "team")},
    **{f"top by {by} of a month": _top(by, MONTH) for by in ("user", "session", "model", "run", "call", "team")},
    **{f"report by {by}": _report(by) for by in ("user", "feature", "team", "day", "hour", "month", "cache")},
    "report in a zone": lambda thrift: list(thrift.report("day", tz="Asia/Kathmandu")),
    "optimizations": lambda thrift: thrift.optimizations().to_dicts(),
    "observed": lambda thrift: thrift.observed().to_dicts(),
    "savings": lambda thrift: thrift.savings(baseline="gpt-4o").to_dict(),
    "spend rate": lambda thrift: thrift.spend_rate().to_text(),
    "review": lambda thrift: thrift.review(MONTH).to_markdown(),
    **{f"forecast by {by}": _forecast(by) for by in (None, "user", "tag:team")},
    "forecast of then": lambda thrift: thrift.forecast("week", at="2026-06-17T10:30", by="feature", tz="Europe/Berlin").to_dicts(),
    "anomalies": lambda thrift: [astuple(each) for each in thrift.anomalies()],
    "anomalies of a month": lambda thrift: [astuple(each) for each in thrift.anomalies(MONTH, tz="Asia/Kathmandu")],
    "alerts": lambda thrift: [(each.text, each.scope) for each in thrift.alerts.look(ALERTS)],
    "run costs": lambda thrift: thrift.run_costs("run 7").to_text(),
    "what if": lambda thrift: what_if(thrift, model={"gpt-4o": "gpt-4o-mini"}, by="user").to_dicts(),
    "Prometheus": lambda thrift: [line for line in PrometheusExporter(thrift).to_text().splitlines() if "cost_usd" in line],
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_is_the_same(both: tuple[Thrift, Thrift], name: str) -> None:
    of_sqlite, of_postgresql = map(REPORTS[name], both)
    assert of_sqlite
    assert of_postgresql == of_sqlite


@pytest.mark.parametrize("export", [export_calls, export_focus])
def test_an_export_is_the_same(both: tuple[Thrift, Thrift], export: Callable[..., Any], tmp_path: Path) -> None:
    texts = []
    for number, thrift in enumerate(both):
        assert export(thrift, tmp_path / f"{number}.csv").rows > 0
        texts.append((tmp_path / f"{number}.csv").read_text())
    assert texts[0] == texts[1]


def test_anomalies_are_there_to_compare(both: tuple[Thrift, Thrift]) -> None:
    for thrift in both:
        assert {each.kind for each in thrift.anomalies()} == {"request", "day", "hour"}

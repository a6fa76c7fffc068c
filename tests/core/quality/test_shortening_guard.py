"""Shorter prompts that lose money or quality are named in the report, and switched off by a guard."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from llmthrift_core import Thrift
from llmthrift_core.attribution import Attribution
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.ledger.record import CallRecord
from llmthrift_core.prompts import Shorten, steps
from llmthrift_core.quality import ShorteningGuard

LOSSY = Shorten([steps.Whitespace(), steps.History(max_turns=1)])
TURNS = [{"role": "user", "content": "One   question."}, {"role": "user", "content": "Another   question."}]
DAY_US = 86_400_000_000


@pytest.fixture
def thrift() -> Iterator[Thrift]:
    with Thrift(":memory:") as made:
        yield made


def record(thrift: Thrift, name: str, saved: int | None, *, quality: float | None = None, days_ago: float = 0.0) -> None:
    row = CallRecord(request_id=name, call_id=name, at_us=thrift.now_us() - round(days_ago * DAY_US) - 1_000, model="gpt-4o")
    row.attribution, row.input_tokens, row.cost_nano_usd, row.input_cost_nano_usd = Attribution(call_site="desk"), 100, 250_000, 250_000
    if saved is not None:
        row.shorten_version, row.shortened_tokens, row.shortening_saved_nano_usd = LOSSY.identity(), 90, saved
        row.shorten_steps = json.dumps([["History", 85], ["Whitespace", 5]])
    thrift.ledger.append(row)
    if quality is not None:
        thrift.feedback(name, quality=quality, source="user")


def test_a_loss_of_money_is_named_with_its_steps_and_switched_off(thrift: Thrift) -> None:
    guard = ShorteningGuard(LOSSY, thrift)
    assert len(guard(TURNS).messages) == 1
    for number in range(60):
        record(thrift, f"r{number}", 500 if number % 2 else -2_500)
    found = {each.kind: each for each in thrift.optimizations()}["shortening_losses"]
    assert "desk: History (5,100 tokens), Whitespace (300 tokens) in 60 calls lost $0.00006" in found.description
    assert int(found.potential_savings_usd * 10**9) == 60_000
    assert set(found.evidence) <= {f"r{number}" for number in range(0, 60, 2)}
    report = guard.refresh()
    assert (report.is_on, report.calls, int(report.saved_usd * 10**9)) == (False, 60, -60_000)
    assert "History" in report.reason
    off = guard(TURNS)
    assert [each["content"] for each in off.messages] == ["One question.", "Another question."]  # the lossless step stays
    assert guard.identity() != LOSSY.identity()
    assert any("lossy steps are off" in alert for alert in thrift.health()["alerts"])


def test_a_loss_of_quality_is_too(thrift: Thrift) -> None:
    guard = ShorteningGuard(LOSSY, thrift)
    for number in range(40):
        record(thrift, f"s{number}", 500, quality=0.4 + number % 2 * 0.2)
        record(thrift, f"w{number}", None, quality=0.8 + number % 2 * 0.2)
    assert "worse by 0.4" in {each.kind: each for each in thrift.optimizations()}["shortening_losses"].description
    assert "worse by 0.4" in guard.refresh().reason


def test_what_pays_stays_on_and_what_grew_old_is_forgotten(thrift: Thrift) -> None:
    guard = ShorteningGuard(LOSSY, thrift)
    for number in range(60):
        record(thrift, f"r{number}", -2_500, days_ago=8)
    assert guard.refresh().is_on
    for number in range(60):
        record(thrift, f"n{number}", 500, quality=0.9)
        record(thrift, f"w{number}", None, quality=0.9)
    assert guard.refresh().is_on
    assert guard.report().calls == 60
    assert guard.identity() == LOSSY.identity()


def test_options_are_checked(thrift: Thrift) -> None:
    with pytest.raises(ConfigurationError, match="a Shorten"):
        ShorteningGuard(None, thrift)  # type: ignore[arg-type]
    for wrong in ({"window_days": 0}, {"fewest_calls": 0}, {"fewest_judged": 1}, {"confidence": 2}, {"refresh_seconds": -1}):
        with pytest.raises(ConfigurationError):
            ShorteningGuard(LOSSY, thrift, **wrong)  # type: ignore[arg-type]

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from llmthrift_core import Thrift, UnknownModelError, Usage
from llmthrift_core.decisions import AdviceReport, advise
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.ledger import CallRecord


def _asked(**given: Any) -> AdviceReport:
    return advise(**{"kind": "support", "requests_per_day": 1_000, "input_tokens": 2_000, "output_tokens": 500, "model": "gpt-4o", **given})


def test_six_answers() -> None:
    found = _asked()
    # $2.50 and $10 a million: $0.005 + $0.005 a request, 30,000 requests a month.
    assert found.spent_usd == Decimal(300)
    levers = {each.lever: each for each in found.advice}
    semantic = levers["semantic caching"]
    assert (semantic.low_share, semantic.high_share, semantic.low_usd, semantic.high_usd) == (0.6, 0.7, Decimal(180), Decimal(210))
    # Read at half the price of input: 1,024 to 1,800 tokens save $0.00128 to $0.00225 of a cent each.
    prefix = levers["prefix caching"]
    assert (prefix.low_usd, prefix.high_usd) == (Decimal("38.4"), Decimal("67.5"))
    assert (levers["shortening"].low_usd, levers["shortening"].high_usd) == (Decimal("7.5"), Decimal(30))
    assert levers["limit output"].high_usd == Decimal(30)
    assert "batches" not in levers
    assert found.advice[0].lever == "exact caching"  # $180 at most, for half an hour of work
    assert "thrifty(model, thrift)" in found.to_text()
    assert "<table>" in found._repr_html_()


def test_what_is_expected_goes_by_the_kind() -> None:
    rates = {
        kind: [(each.low_share, each.high_share) for each in _asked(kind=kind).advice if each.lever == "semantic caching"]
        for kind in ("analytics", "code", "other")
    }
    assert rates == {"analytics": [(0.4, 0.5)], "code": [(0.2, 0.3)], "other": []}
    known = {each.lever: each for each in _asked(kind="code", repeats=0.1).advice}
    assert known["exact caching"].high_share == 0.1
    assert (known["semantic caching"].low_share, known["semantic caching"].high_share) == (0.1, 0.3)


def test_what_does_not_fit_is_not_advised() -> None:
    short = {each.lever for each in _asked(input_tokens=1_023, output_tokens=20, model="gpt-4o-mini", repeats=0, kind="other").advice}
    assert short == set()
    assert "Nothing stands out" in str(_asked(input_tokens=100, output_tokens=20, model="gpt-4o-mini", repeats=0, kind="other"))
    assert {each.lever: each.high_share for each in _asked(latency_seconds=86_400).advice}["batches"] == 0.5
    assert "without a cascade" in str(_asked(latency_seconds=1))


def test_the_ledger_knows_better(thrift: Thrift) -> None:
    for number in range(20):
        record = CallRecord(request_id=f"r{number}", call_id=f"r{number}", at_us=number, model="gpt-4o")
        record.set_usage(Usage(input_tokens=1_000, output_tokens=100))
        record.cost_nano_usd, record.input_cost_nano_usd, record.output_cost_nano_usd = 3_500_000, 2_500_000, 1_000_000
        record.prompt_hash = f"h{number % 5}"
        thrift.ledger.append(record)
    thrift.flush()
    found = advise(thrift)
    assert found.spent_usd == Decimal("0.07")
    exact = next(each for each in found.advice if each.lever == "exact caching")
    # 15 of 20 were asked before: $0.0525, within its range.
    assert exact.basis == "ledger"
    assert exact.low_usd < Decimal("0.0525") < exact.high_usd <= found.spent_usd
    assert any("semantic caching: not known" in note for note in found.notes)
    assert [each.lever for each in found.advice].count("exact caching") == 1
    assert advise(thrift, since="2030-01-01").advice == ()


def test_what_cannot_be_answered(thrift: Thrift) -> None:
    for arguments, sentence in (
        ({"kind": None, "model": None}, "kind=, model= is missing"),
        ({"kind": "chat"}, "kind must be one of support, analytics, code, other"),
        ({"repeats": 60}, "repeats must be a share"),
        ({"requests_per_day": -1}, "requests_per_day must be at least 0"),
        ({"thrift": thrift}, "either a Thrift or answers"),
    ):
        with pytest.raises(ConfigurationError, match=sentence):
            _asked(**arguments)
    with pytest.raises(UnknownModelError):
        _asked(model="nobody-knows")

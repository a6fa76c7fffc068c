from __future__ import annotations

from decimal import Decimal

import pytest

from llmthrift_core import Thrift, UnknownModelError, Usage
from llmthrift_core.decisions import replay as replay_module
from llmthrift_core.decisions import what_if
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.ledger import CallRecord


def _record(thrift: Thrift) -> None:
    # $2.50 and $10 a million: $0.0025 and $0.001 each.
    thrift.ledger.record("gpt-4o", Usage(input_tokens=1_000, output_tokens=100), feature="chat", at="2026-01-01")
    thrift.ledger.record("gpt-4o", Usage(input_tokens=1_000, output_tokens=100), feature="mail", at="2026-01-02")
    thrift.ledger.record("gpt-4o", Usage(input_tokens=1_000, output_tokens=100), cache="exact", feature="mail", at="2026-01-02")
    thrift.ledger.record("nobody-knows", Usage(input_tokens=1_000), at="2026-01-03")


def test_longer_answers(thrift: Thrift) -> None:
    _record(thrift)
    found = what_if(thrift, output=1.2, by="feature")
    assert (found.before_usd, found.after_usd, found.change_usd) == (Decimal("0.007"), Decimal("0.0074"), Decimal("0.0004"))
    assert [(row["feature"], row["after_usd"]) for row in found.rows] == [("chat", Decimal("0.0037")), ("mail", Decimal("0.0037"))]
    assert (found.attempts, found.unpriced) == (4, 1)
    assert "Output times 1.2: 4 attempts (+5.7%)." in str(found)
    assert what_if(thrift, since="2026-01-02", output="0.5").before_usd == Decimal("0.0035")


def test_another_model_at_the_time_of_each_call(thrift: Thrift, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_module, "_ROWS_AT_ONCE", 2)
    _record(thrift)
    # $0.15 and $0.60 a million: $0.00015 and $0.00006 each.
    found = what_if(thrift, model={"gpt-4o": "gpt-4o-mini"})
    assert (found.before_usd, found.after_usd) == (Decimal("0.007"), Decimal("0.00042"))
    assert "<table>" in found._repr_html_()
    thrift.ledger.record("gpt-4o", Usage(input_tokens=100_000), at="2024-07-01")  # $5 a million then
    assert what_if(thrift, until="2025-01-01", prices={}).after_usd == Decimal("0.5")
    with pytest.raises(UnknownModelError):
        what_if(thrift, model={"gpt-4o": "nobody-knows"})


def test_other_prices_price_what_had_none(thrift: Thrift) -> None:
    _record(thrift)
    found = what_if(thrift, prices={"gpt-4o": {"input_usd_per_million": 1, "output_usd_per_million": 1}})
    assert (found.before_usd, found.after_usd) == (Decimal("0.007"), Decimal("0.0022"))


def test_what_has_no_column_of_its_own_is_priced_again(thrift: Thrift) -> None:
    # A second of speech costs $0.0001, and there are no tokens.
    thrift.ledger.record("whisper-1", Usage(other=(("audio_seconds", 30.0),)), at="2026-01-01")
    found = what_if(thrift, prices={})
    assert (found.before_usd, found.after_usd, found.unpriced) == (Decimal("0.003"), Decimal("0.003"), 0)


def test_another_life_of_cached_answers(thrift: Thrift) -> None:
    def call(seconds: int, prompt: str | None, *, hit: bool = False) -> None:
        record = CallRecord(request_id=f"{seconds}{prompt}", call_id="c", at_us=seconds * 1_000_000, model="m")
        record.prompt_hash = prompt
        record.cost_nano_usd = record.input_cost_nano_usd = 0 if hit else 1_000
        record.output_cost_nano_usd = 0
        if hit:
            record.cache, record.cache_saved_nano_usd = "exact", 1_000
        thrift.ledger.append(record)

    for seconds, hit in ((0, False), (50, True), (100, True), (150, False), (400, False)):
        call(seconds, "a", hit=hit)
    call(10, "b")
    call(20, None)
    call(30, None)
    thrift.flush()
    usd = {ttl: what_if(thrift, cache_ttl_seconds=ttl).after_usd * 1_000_000 for ttl in (0, 60, 100, 1_000)}
    # Without a cache all five are paid; kept 60 s those at 0, 100 and 400, kept 100 s those at 0, 150 and 400; for long, the first.
    assert usd == {0: 5 + 3, 60: 3 + 3, 100: 3 + 3, 1_000: 1 + 3}
    assert what_if(thrift, cache_ttl_seconds=60).before_usd * 1_000_000 == 6


def test_one_thing_at_a_time(thrift: Thrift) -> None:
    assert what_if(thrift, output=2).rows == ()
    for arguments, sentence in (
        ({}, "change one thing: output=, model=, prices=, cache_ttl_seconds=; none is given"),
        ({"output": 2, "cache_ttl_seconds": 5}, "output= and cache_ttl_seconds= is given"),
        ({"output": -1}, "output must be at least 0"),
        ({"output": 1, "by": "day"}, "by must be one of model, provider"),
        ({"model": {}}, "model must name at least one model"),
        ({"model": "gpt-4o"}, "model must be a mapping"),
    ):
        with pytest.raises(ConfigurationError, match=sentence):
            what_if(thrift, **arguments)  # type: ignore[arg-type]

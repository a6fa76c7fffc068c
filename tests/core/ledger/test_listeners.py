from __future__ import annotations

import logging

import pytest

from llmthrift_core.ledger import CallRecord, Ledger
from llmthrift_core.ledger.record import Entry, OtherCost
from llmthrift_core.storage.database import Database
from llmthrift_core.usage import Usage
from tests.core.ledger.prices import FlatPrices


def test_hears_of_each_entry_once_with_its_amounts(any_database: Database) -> None:
    ledger, heard = Ledger(any_database, FlatPrices()), list[Entry]()
    ledger.listen(heard.extend)
    ledger.listen(heard.extend)  # a new method object each time, and yet the same listener
    first = ledger.record("m", Usage(input_tokens=1_000), feature="chat")
    ledger.record_cost("tool", "0.25")
    assert ledger.flush()
    ledger.record("m", Usage(input_tokens=1_000), request_id=first)  # recorded before
    second = ledger.record("m", Usage(input_tokens=2_000))
    assert ledger.flush()
    calls = [entry for entry in heard if isinstance(entry, CallRecord)]
    assert [(call.request_id, call.cost_nano_usd, call.attribution.feature) for call in calls] == [
        (first, 1_000_000, "chat"),
        (second, 2_000_000, None),
    ]
    assert [entry.cost_nano_usd for entry in heard if isinstance(entry, OtherCost)] == [250_000_000]
    ledger.stop_listening(heard.extend)
    ledger.stop_listening(heard.extend)
    ledger.record("m", Usage(input_tokens=1))
    ledger.close()
    assert len(heard) == 3


def test_a_listener_that_fails_stops_neither_the_ledger_nor_the_others(any_database: Database, caplog: pytest.LogCaptureFixture) -> None:
    def fail(entries: object) -> None:
        raise ValueError("a secret prompt")

    ledger, heard = Ledger(any_database, FlatPrices(), durability="sync"), list[Entry]()
    ledger.listen(fail)
    ledger.listen(heard.extend)
    with caplog.at_level(logging.ERROR):
        ledger.record("m", Usage(input_tokens=1))
        ledger.record("m", Usage(input_tokens=1))
    assert len(heard) == len(ledger.calls()) == 2
    assert ledger.health()["listener_failures"] == 2
    assert [record.message for record in caplog.records] == [
        f"a listener of the ledger failed: ValueError at {__file__}:{fail.__code__.co_firstlineno + 1}"
    ]
    ledger.close()

"""Units without a price: said in the ledger's warning, by name."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from llmthrift_core import Thrift, Usage


@pytest.fixture
def opened() -> Iterator[Thrift]:
    with Thrift(":memory:") as thrift:
        yield thrift


def test_the_warning_names_the_units_and_not_the_whole_model(opened: Thrift, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "llmthrift.ledger"):
        for _ in range(2):
            opened.ledger.record("gpt-4o", Usage(1_000, 10, input_audio_tokens=500), provider="openai")
        opened.ledger.record("gpt-4o", Usage(1_000, 10), provider="openai")
        opened.ledger.record("gpt-4o", Usage(1_000, 10, output_audio_tokens=5), provider="openai")
    said = [record.getMessage() for record in caplog.records]
    assert [text.split(" (")[0] for text in said] == [
        "no price is known for the input_audio_tokens of model 'gpt-4o'",
        "no price is known for the output_audio_tokens of model 'gpt-4o'",
    ]
    total = opened.report(by="model").total
    assert (total["requests"], total["unpriced"]) == (4, 3)
    assert opened.health()["ledger"]["unpriced_models"] == ["gpt-4o"]

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmthrift_core.attribution import Attribution
from llmthrift_core.ledger.record import COLUMNS, PLAIN_COLUMNS, CallRecord, LateRecord, PlainRecord
from llmthrift_core.ledger.repair import MOST, clean_integer, clean_text, repair
from llmthrift_core.ledger.statements import INSERT_CALLS, INSERT_PLAIN_CALLS
from llmthrift_core.usage import Usage


def _record() -> CallRecord:
    return CallRecord(request_id="r", call_id="c", at_us=5, model="m", attribution=Attribution(user="ada", tags=(("b", "2"),)))


def test_the_values_are_in_the_order_of_the_statements() -> None:
    assert INSERT_CALLS.columns == COLUMNS
    assert INSERT_PLAIN_CALLS.columns == PLAIN_COLUMNS


def test_the_plain_row_says_the_same_as_the_whole_one() -> None:
    record = PlainRecord(request_id="r", call_id="c", at_us=5, model="m", attribution=Attribution(user="ada", tags=(("b", "2"),)))
    record.set_usage(Usage(input_tokens=10, output_tokens=2, cache_read_tokens=4))
    record.cost_nano_usd = 7
    full = dict(zip(COLUMNS, record.values(), strict=True))
    plain = dict(zip(PLAIN_COLUMNS, record.plain_values(), strict=True))
    assert plain.items() <= full.items()
    assert (full["tags"], full["cache_read_tokens"], full["latency_us"]) == ('{"b":"2"}', 4, "")
    assert {name: value for name, value in full.items() if name not in plain and value} == {"attempt": 1}


@pytest.mark.parametrize(
    "part", [name for name in Usage.__dataclass_fields__ if name not in ("input_tokens", "output_tokens", "cache_read_tokens")]
)
def test_a_usage_with_a_rare_count_is_not_plain(part: str) -> None:
    totals = {"input_tokens": 9, "output_tokens": 9, "cache_read_tokens": 2, "cache_write_tokens": 2, "input_audio_tokens": 2}
    value = {"service_tier": "flex", "estimated": True, "other": (("audio_seconds", 1.5),)}.get(part, 1)
    assert not CallRecord.is_plain_usage(Usage(**{**totals, part: value}))  # type: ignore[arg-type]
    assert CallRecord.is_plain_usage(Usage(input_tokens=9, output_tokens=9, cache_read_tokens=2))


def test_every_count_of_a_usage_is_taken_over() -> None:
    usage = Usage(
        input_tokens=100,
        output_tokens=50,
        cache_read_tokens=10,
        cache_write_tokens=9,
        cache_write_1h_tokens=8,
        reasoning_tokens=7,
        input_audio_tokens=6,
        output_audio_tokens=5,
        web_searches=4,
        cache_read_audio_tokens=3,
        input_image_tokens=2,
        output_image_tokens=1,
        service_tier="flex",
        estimated=True,
        other=(("audio_seconds", 1.5),),
    )
    record = _record()
    record.set_usage(usage)
    row = dict(zip(COLUMNS, record.values(), strict=True))
    for name in usage.__dataclass_fields__:
        if name != "other":
            assert row[name] == getattr(usage, name)
    assert row["other_usage"] == '{"audio_seconds": 1.5}'


@given(st.text(st.characters(), max_size=20) | st.integers() | st.binary(max_size=5))
def test_cleaned_text_can_be_stored_anywhere(value: object) -> None:
    text = clean_text(value)
    text.encode("utf-8")
    assert "\0" not in text


@given(st.integers() | st.floats() | st.text(max_size=3) | st.none())
def test_cleaned_integers_fit_and_keep_what_fits(value: object) -> None:
    cleaned = clean_integer(value)
    assert -MOST <= cleaned <= MOST
    if isinstance(value, int) and abs(value) <= MOST:
        assert cleaned == value


def test_a_repair_keeps_everything_that_was_sound() -> None:
    record = _record()
    record.model = "m\0\ud800"
    record.input_tokens = 10**30
    record.output_tokens = 3
    record.latency_us = None
    record.stream = True
    repaired = repair(record)
    assert isinstance(repaired, CallRecord)
    assert repaired.model == "m?"
    assert repaired.input_tokens == MOST
    assert (repaired.output_tokens, repaired.latency_us, repaired.stream) == (3, None, True)
    assert repaired.attribution == record.attribution
    assert record.model == "m\0\ud800"


def test_a_late_record_is_filled_once_and_survives_a_repair() -> None:
    def fill(record: CallRecord) -> None:
        record.saved_input_tokens += 5

    record = LateRecord(request_id="r", call_id="c", at_us=5, model="m\0")
    record.fill = fill
    for _ in range(2):
        record.complete()
    assert record.saved_input_tokens == 5
    repaired = repair(record)
    assert isinstance(repaired, LateRecord)
    repaired.complete()
    assert (repaired.saved_input_tokens, repaired.model, repaired.fill) == (5, "m", None)


def test_a_late_record_that_cannot_be_filled_is_written_without_its_amounts() -> None:
    def fill(record: CallRecord) -> None:
        raise ZeroDivisionError

    record = LateRecord(request_id="r", call_id="c", at_us=5, model="m")
    record.fill = fill
    record.complete()
    assert record.cost_nano_usd is None

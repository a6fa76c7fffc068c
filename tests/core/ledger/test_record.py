from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmthrift_core.attribution import Attribution
from llmthrift_core.ledger.record import COLUMNS, PLAIN_COLUMNS, CallRecord
from llmthrift_core.ledger.repair import MOST, clean_integer, clean_text, repair
from llmthrift_core.storage.ledger_statements import INSERT_CALLS, INSERT_PLAIN_CALLS
from llmthrift_core.usage import Usage


def _record() -> CallRecord:
    return CallRecord(request_id="r", call_id="c", at_us=5, model="m", attribution=Attribution(user="ada", tags=(("b", "2"),)))


def test_the_values_are_in_the_order_of_the_statements() -> None:
    assert INSERT_CALLS.columns == COLUMNS
    assert INSERT_PLAIN_CALLS.columns == PLAIN_COLUMNS


def test_a_record_with_defaults_is_plain_and_both_forms_agree() -> None:
    record = _record()
    record.set_usage(Usage(input_tokens=10, output_tokens=2, cache_read_tokens=4))
    record.cost_nano_usd = 7
    assert record.is_plain
    full = dict(zip(COLUMNS, record.values(), strict=True))
    plain = dict(zip(PLAIN_COLUMNS, record.plain_values(), strict=True))
    assert plain.items() <= full.items()
    assert full["tags"] == '{"b":"2"}'
    assert {name: value for name, value in full.items() if name not in plain and value} == {"attempt": 1}


def test_anything_else_makes_it_not_plain() -> None:
    for name, value in {"stream": True, "error": "E", "cache": "exact", "attempt": 2, "reasoning_tokens": 1}.items():
        record = _record()
        setattr(record, name, value)
        assert not record.is_plain
        assert dict(zip(COLUMNS, record.values(), strict=True))[name] == value


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

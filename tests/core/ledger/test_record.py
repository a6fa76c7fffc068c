from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmthrift_core.attribution import Attribution
from llmthrift_core.ledger.record import OPTIONAL, CallRecord, LateRecord, Layout, layout_of
from llmthrift_core.ledger.repair import MOST, clean_integer, clean_text, repair
from llmthrift_core.storage.tables import calls
from llmthrift_core.usage import Usage


def _record() -> CallRecord:
    return CallRecord(request_id="r", call_id="c", at_us=5, model="m", attribution=Attribution(user="ada", tags=(("b", "2"),)))


def test_the_values_are_in_the_order_of_the_table() -> None:
    assert Layout(OPTIONAL).columns == tuple(calls.c.keys())[1:]
    some = Layout(frozenset({"latency_us", "stream", "cache_read_tokens"})).columns
    assert some == tuple(name for name in Layout(OPTIONAL).columns if name in some)
    assert {"latency_us", "stream", "cache_read_tokens", "user", "cost_nano_usd"} <= set(some)


def test_a_short_row_says_the_same_as_the_whole_one() -> None:
    record = _record()
    record.set_usage(Usage(input_tokens=10, output_tokens=2, cache_read_tokens=4, estimated=True))
    record.cost_nano_usd = 7
    whole, short = Layout(OPTIONAL), Layout(OPTIONAL.intersection(vars(record)))
    full = dict(zip(whole.columns, whole.values(record), strict=True))
    found = dict(zip(short.columns, short.values(record), strict=True))
    assert found.items() <= full.items()
    assert (full["tags"], full["cache_read_tokens"], full["estimated"], full["stream"]) == ('{"b":"2"}', 4, 1, 0)
    assert {name: value for name, value in full.items() if name not in found and value} == {"attempt": 1}
    assert len(found) < 25


def test_a_layout_has_room_for_everything_that_any_row_sets() -> None:
    one, other = _record(), LateRecord(request_id="s", call_id="s", at_us=5, model="m")
    one.tier, other.shortened_tokens = "strong", 12
    other.fill = lambda record: None
    layout = layout_of([one, other])
    assert {"tier", "shortened_tokens"} <= layout.names <= OPTIONAL
    assert layout_of([]).names >= layout.names, "so that statements are compiled once"
    assert layout_of([one]) is layout_of([other])


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
    layout = layout_of([record])
    row = dict(zip(layout.columns, layout.values(record), strict=True))
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

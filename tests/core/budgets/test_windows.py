"""Windows begin and end where people of a time zone expect, also on days on which the clock changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmthrift_core.budgets.windows import window_at
from llmthrift_core.moments import from_us, to_us

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Santiago", "Pacific/Apia"]


def window(kind: str, tz: str, at: str) -> tuple[str, str]:
    start_us, end_us = window_at(kind, tz, to_us(at))  # type: ignore[arg-type]
    assert end_us is not None
    return from_us(start_us).isoformat()[:16], from_us(end_us).isoformat()[:16]


@pytest.mark.parametrize(
    ("kind", "tz", "at", "expected"),
    [
        ("minute", "UTC", "2026-03-11T15:30:42", ("2026-03-11T15:30", "2026-03-11T15:31")),
        ("hour", "UTC", "2026-03-11T15:30", ("2026-03-11T15:00", "2026-03-11T16:00")),
        ("hour", "Asia/Kolkata", "2026-03-11T15:10", ("2026-03-11T14:30", "2026-03-11T15:30")),
        ("day", "UTC", "2026-03-11T15:30", ("2026-03-11T00:00", "2026-03-12T00:00")),
        ("day", "America/New_York", "2026-03-11T03:30", ("2026-03-10T04:00", "2026-03-11T04:00")),
        ("week", "UTC", "2026-03-11T15:30", ("2026-03-09T00:00", "2026-03-16T00:00")),
        ("week", "UTC", "2026-03-15T23:59", ("2026-03-09T00:00", "2026-03-16T00:00")),
        ("month", "UTC", "2024-02-29T12:00", ("2024-02-01T00:00", "2024-03-01T00:00")),
        ("month", "Europe/Berlin", "2026-12-31T23:30", ("2026-12-31T23:00", "2027-01-31T23:00")),
        # 23 and 25 hours: the clock goes forward on 29 March and back on 25 October.
        ("day", "Europe/Berlin", "2026-03-29T12:00", ("2026-03-28T23:00", "2026-03-29T22:00")),
        ("day", "Europe/Berlin", "2026-10-25T12:00", ("2026-10-24T22:00", "2026-10-25T23:00")),
        # In Santiago midnight itself is skipped: the day begins at one o'clock.
        ("day", "America/Santiago", "2025-09-07T12:00", ("2025-09-07T04:00", "2025-09-08T03:00")),
    ],
)
def test_where_windows_begin_and_end(kind, tz, at, expected):
    assert window(kind, tz, at) == expected


def test_some_windows_never_end():
    assert window_at("total", "UTC", 5) == window_at("request", "UTC", 5) == (0, None)


@given(
    st.sampled_from(["minute", "hour", "day", "week", "month"]),
    st.sampled_from(
        ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Santiago", "Pacific/Apia"]
    ),
    st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1)),
)
def test_windows_follow_each_other_without_gap_or_overlap(kind, tz, at):
    now_us = to_us(at.replace(tzinfo=UTC))
    start_us, end_us = window_at(kind, tz, now_us)
    assert end_us is not None
    assert start_us <= now_us < end_us
    assert window_at(kind, tz, start_us) == (start_us, end_us)
    assert window_at(kind, tz, end_us - 1) == (start_us, end_us)
    assert window_at(kind, tz, end_us)[0] == end_us
    if kind in ("day", "week", "month"):
        local = from_us(start_us).astimezone(ZoneInfo(tz))
        assert local.time() <= (datetime.min + timedelta(hours=1)).time()

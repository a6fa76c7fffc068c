from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.moments import from_us, to_us


@pytest.mark.parametrize(
    "moment",
    [
        "2026-01-02T03:04:05",
        "2026-01-02T03:04:05Z",
        "2026-01-02T04:04:05+01:00",
        datetime(2026, 1, 2, 3, 4, 5),
        datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        datetime(2026, 1, 1, 22, 4, 5, tzinfo=timezone(timedelta(hours=-5))),
    ],
)
def test_ways_to_say_the_same_time(moment: datetime | str) -> None:
    assert to_us(moment) == 1_767_323_045_000_000  # date -u -d '2026-01-02 03:04:05' +%s


def test_a_date_is_its_midnight() -> None:
    assert to_us(date(2026, 1, 2)) == to_us("2026-01-02") == 1_767_312_000_000_000


@given(st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC)))
def test_microseconds_are_exact(moment: datetime) -> None:
    assert from_us(to_us(moment)) == moment


@pytest.mark.parametrize("moment", ["yesterday", "", "2026-13-01", "12:30"])
def test_text_that_is_no_time_is_refused(moment: str) -> None:
    with pytest.raises(ConfigurationError, match="not a date or time"):
        to_us(moment)


@pytest.mark.parametrize("moment", [5, 1.5, None, timedelta(hours=1)])
def test_other_types_are_refused(moment: object) -> None:
    with pytest.raises(TypeError):
        to_us(moment)  # type: ignore[arg-type]

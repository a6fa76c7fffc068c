"""Quality by model, feature, call site and time."""

from __future__ import annotations

import json
import math
import random

import pytest

from llmthrift_core import Thrift, Usage
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.ledger import CallRecord
from llmthrift_core.model_calls.models import OWN_REQUEST_TYPES
from llmthrift_core.moments import from_us
from tests.core.clock import Clock

ONE = Usage(input_tokens=1_000)
DAY = 86_400.0


def judged(
    thrift: Thrift, quality: float, *, model: str = "gpt-4o", source: str | None = "judge:j", days_ago: float = 0, **who: object
) -> str:
    at = from_us(thrift.now_us() - round(days_ago * DAY * 1e6))
    request_id = thrift.ledger.record(model, ONE, at=at, **who)  # type: ignore[arg-type]
    thrift.ledger.feedback(request_id, quality=quality, source=source)
    return request_id


def test_rows_by_attribute_tag_and_day(any_thrift: Thrift) -> None:
    for quality, model, feature, team in ((1.0, "a", "chat", "x"), (0.5, "a", "mail", "x"), (0.0, "b", "chat", None)):
        judged(
            any_thrift, quality, model=model, feature=feature, call_site=feature, prompt_version="v1", tags={"team": team} if team else None
        )
    by_model = {row["model"]: (row["judged"], row["quality"]) for row in any_thrift.quality(by="model").to_dicts()}
    assert by_model == {"a": (2, 0.75), "b": (1, 0.0)}
    for by in ("feature", "call_site"):
        assert {row.value: row.quality.estimate for row in any_thrift.quality(by=by)} == {"chat": 0.5, "mail": 0.5}
    assert {row["team"]: row["judged"] for row in any_thrift.quality(by="tag:team").to_dicts()} == {"x": 2, None: 1}
    assert [row.value for row in any_thrift.quality(by="prompt_version")] == ["v1"]
    assert [(row.value, row.judged) for row in any_thrift.quality(by="day")] == [("2026-03-11", 3)]
    assert [row.quality.estimate for row in any_thrift.quality(by="user")] == [0.5]


def test_what_judges_and_routers_asked_themselves_is_not_judged(any_thrift: Thrift) -> None:
    for request_type in (None, "chat", *OWN_REQUEST_TYPES):
        judged(any_thrift, 1.0, request_type=request_type)
    assert {row.value: row.judged for row in any_thrift.quality(by="request_type")} == {None: 1, "chat": 1}


def test_the_period_is_that_of_the_calls(any_thrift: Thrift) -> None:
    judged(any_thrift, 1.0, days_ago=3)
    judged(any_thrift, 0.0, days_ago=1)
    assert any_thrift.quality(since="2026-03-10").rows[0].quality.estimate == 0.0
    assert any_thrift.quality(until="2026-03-10").rows[0].quality.estimate == 1.0
    assert any_thrift.quality(since="2026-03-11").rows == ()


def test_a_later_judgement_by_the_same_source_replaces_the_earlier_one_and_sources_are_averaged(any_thrift: Thrift) -> None:
    request_id = judged(any_thrift, 0.0, source="judge:a")
    any_thrift.ledger.feedback(request_id, quality=0.8, source="judge:a")
    any_thrift.ledger.feedback(request_id, quality=0.4, source="user")
    (row,) = any_thrift.quality()
    assert (row.judged, row.quality.estimate) == (1, pytest.approx(0.6))
    assert any_thrift.quality(source="judge:").rows[0].quality.estimate == pytest.approx(0.8)
    assert any_thrift.quality(source="judge:%").rows == ()


def test_feedback_on_a_call_that_was_retried_is_about_the_answer(any_thrift: Thrift) -> None:
    for attempt, model, error in ((1, "small", "RateLimitError"), (2, "large", None)):
        record = CallRecord(request_id="c" if attempt == 1 else "c:2", call_id="c", at_us=any_thrift.now_us(), model=model)
        record.attempt, record.error = attempt, error
        any_thrift.ledger.append(record)
    lost = CallRecord(request_id="d", call_id="d", at_us=any_thrift.now_us(), model="small")
    lost.error = "TimeoutError"
    any_thrift.ledger.append(lost)
    any_thrift.ledger.feedback("c", quality=1.0)
    any_thrift.ledger.feedback("d", quality=1.0)  # nobody answered
    assert [(row.value, row.judged) for row in any_thrift.quality()] == [("large", 1)]


def test_feedback_for_unknown_calls_is_counted_and_in_no_mean(any_thrift: Thrift) -> None:
    judged(any_thrift, 1.0)
    any_thrift.ledger.feedback("mistyped", quality=0.0)
    report = any_thrift.quality()
    assert [(row.judged, row.quality.estimate) for row in report] == [(1, 1.0)]
    assert report.notes == ("1 judgement is of calls that the ledger does not hold.",)


@pytest.mark.parametrize("quality", [math.nan, -0.1, 1.1, math.inf])
def test_a_quality_that_is_none_is_refused(any_thrift: Thrift, quality: float) -> None:
    with pytest.raises(ConfigurationError, match="quality must be from 0 to 1"):
        judged(any_thrift, quality)
    assert any_thrift.quality().rows == ()


def test_what_judges_were_paid_for_is_not_judged(any_thrift: Thrift) -> None:
    judged(any_thrift, 1.0, request_type="evaluation")
    assert any_thrift.quality().rows == ()


def test_a_model_that_got_worse_is_noticed_and_a_steady_one_is_not(any_thrift: Thrift) -> None:
    random.seed(3)
    for number in range(600):
        days_ago = number / 20
        judged(any_thrift, float(random.random() < (0.7 if days_ago < 7 else 0.95)), model="worse", days_ago=days_ago)
        judged(any_thrift, float(random.random() < 0.9), model="steady", days_ago=days_ago)
        judged(any_thrift, float(random.random() < (0.97 if days_ago < 7 else 0.7)), model="better", days_ago=days_ago)
    report = any_thrift.quality()
    assert {row.value: row.drift for row in report} == {"worse": "worse", "steady": None, "better": "better"}
    assert sorted(note.split(" in the last")[0] for note in report.notes) == ["better got better", "worse got worse"]
    worse = next(row for row in report if row.value == "worse")
    assert worse.change is not None
    assert -0.4 < worse.change.low < worse.change.estimate < worse.change.high < 0
    assert worse.recent_quality < worse.quality.estimate
    # Twenty answers a day whose weight halves every seven days: sum and sum of squares of a geometric series give about 400.
    assert worse.effective_judged == pytest.approx(20 * 2 * 7 / math.log(2) * (1 - 2 ** (-30 / 7)) / (1 + 2 ** (-30 / 7)), rel=0.02)


def test_an_hour_of_bad_luck_is_no_drift(any_thrift: Thrift, clock: Clock) -> None:
    for number in range(100):
        judged(any_thrift, 1.0, days_ago=10 + number / 100)
    for _ in range(3):
        judged(any_thrift, 0.0)
    assert [row.drift for row in any_thrift.quality()] == [None]
    for _ in range(30):
        judged(any_thrift, 0.0)
    assert [row.drift for row in any_thrift.quality()] == ["worse"]


def test_shown_as_text_html_and_dicts(any_thrift: Thrift) -> None:
    assert "No answer was judged" in str(any_thrift.quality())
    judged(any_thrift, 1.0, model="<b>model")
    report = any_thrift.quality()
    assert "1.000" in str(report)
    assert "&lt;b&gt;model" in report._repr_html_()
    assert json.loads(json.dumps(report.to_dicts()))[0]["model"] == "<b>model"


@pytest.mark.parametrize(
    "options",
    [{"by": "colour"}, {"by": "tag:"}, {"by": 5}, {"confidence": 1}, {"confidence": math.nan}, {"recent_days": 0}, {"half_life_days": -1}],
)
def test_options_that_cannot_be_used(any_thrift: Thrift, options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        any_thrift.quality(**options)  # type: ignore[arg-type]

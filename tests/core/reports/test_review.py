"""A period as a page: complete, escaped, and without anything that is fetched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmthrift_core import Thrift, Usage
from llmthrift_core.ledger import CallRecord
from llmthrift_core.moments import to_us
from llmthrift_core.reports.page.charts import nice_ceiling, stacked_columns

NASTY = '"><script>alert(1)</script>\n| <img src=x onerror=y> `*_ \N{PARTY POPPER}'
VOID = {"meta", "rect", "line", "br"}


@pytest.fixture
def thrift() -> Iterator[Thrift]:
    prices: Any = {"m": {"input_usd_per_million": 1, "output_usd_per_million": 2}}
    with Thrift(":memory:", prices=prices, clock=lambda: to_us("2026-03-11T12:00") / 1e6) as thrift:
        yield thrift


class _Page(HTMLParser):
    """Checks that elements close in their order; collects names, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def _fill(thrift: Thrift) -> None:
    for number in range(60):
        at = f"2026-03-{1 + number % 10:02}T10:00"
        usage = Usage(input_tokens=1_000_000, output_tokens=500_000)
        thrift.ledger.record("m", usage, at=at, user=f"u{number % 3}", feature=NASTY if number % 2 else "chat", latency_seconds=1)
    thrift.record_cost("gpu", "7.5", at="2026-03-05")


def test_the_page_has_the_figures(thrift: Thrift) -> None:
    _fill(thrift)
    page = _Page(thrift.review("2026-03-01", title="March").to_html())
    # 60 calls at $1 for input and $1 for output.
    for figure in (
        "March",
        "$120.00",
        "$60.00 input, $60.00 output",
        "$7.50",
        "60",
        "$2,000.00 for 1,000",
        "days of UTC",
        "Features",
        "Users",
    ):
        assert figure in page.text
    assert "2026-03-11 12:00 UTC" in page.text
    assert "low hit rate" in page.text
    assert page.tags >= {"svg", "table", "figure", "title"}


def test_nothing_is_fetched_or_run(thrift: Thrift) -> None:
    _fill(thrift)
    html = thrift.review().to_html()
    page = _Page(html)
    assert page.tags.isdisjoint({"script", "img", "link", "iframe", "object", "a"})
    assert not [name for name, _ in page.attributes if name in ("src", "href") or name.startswith("on")]
    assert not re.search(r"url\(|@import|https?://", html)
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'; img-src data:") in page.attributes
    assert "prefers-color-scheme:dark" in html
    assert "size:A4" in html


def test_names_are_text_and_nothing_else(thrift: Thrift) -> None:
    _fill(thrift)
    review = thrift.review(title=NASTY)
    page = _Page(review.to_html())
    assert NASTY.replace("\n", " ") in page.text
    markdown = review.to_markdown()
    assert "<script>" not in markdown.replace("\\<script\\>", "")
    tables = [line for line in markdown.splitlines() if line.startswith("| ")]
    header = next(line for line in tables if line.startswith("| feature"))
    cells = len(re.findall(r"(?<!\\)\|", header))
    assert all(len(re.findall(r"(?<!\\)\|", line)) == cells for line in tables if "alert" in line and "why" not in line)


@pytest.mark.parametrize("name", ["to_html", "to_markdown"])
def test_an_empty_ledger_one_call_and_unpriced_calls(thrift: Thrift, name: str) -> None:
    made = getattr(thrift.review(), name)()
    assert "No calls are recorded in this period." in made
    assert "NaN" not in made
    thrift.ledger.record("unheard-of", Usage(input_tokens=5))
    made = getattr(thrift.review(), name)()
    assert "1 call has no price" in made.replace("\\", "")
    assert "nan" not in made.lower().replace("finance", "")
    thrift.record_cost("gpu", 1)
    assert "$1.00" in getattr(thrift.review(), name)()


def test_days_without_calls_are_in_the_chart_and_long_times_are_months(thrift: Thrift) -> None:
    for at in ("2026-02-26", "2026-03-02"):
        thrift.ledger.record("m", Usage(input_tokens=1_000_000), at=at)
    chart = thrift.review().chart
    assert chart.labels == ("2026-02-26", "2026-02-27", "2026-02-28", "2026-03-01", "2026-03-02")
    assert chart.series["input"] == (1, 0, 0, 0, 1)
    thrift.ledger.record("m", Usage(input_tokens=2_000_000), at="2025-11-30")
    chart = thrift.review().chart
    assert (chart.title, chart.labels) == ("Cost by month", ("2025-11", "2025-12", "2026-01", "2026-02", "2026-03"))
    assert chart.series["input"] == (2, 0, 0, 1, 1)
    thrift.ledger.record("m", Usage(input_tokens=4_000_000), at="1970-01-01")
    assert thrift.review().chart.labels == ("1970-01", "2025-11", "2026-02", "2026-03")


def test_days_are_those_of_the_zone(thrift: Thrift) -> None:
    thrift.ledger.record("m", Usage(input_tokens=1_000_000), at="2026-03-29T00:30")  # the clocks change at 01:00
    thrift.ledger.record("m", Usage(input_tokens=1_000_000), at="2026-03-29T22:30")
    review = thrift.review(tz="Europe/Berlin")
    assert review.chart.labels == ("2026-03-29", "2026-03-30")
    assert "days of Europe/Berlin" in review.period


def test_what_observe_mode_found_has_a_table(thrift: Thrift) -> None:
    assert thrift.review().observed is None
    for number in range(12):
        record = CallRecord(request_id=f"r{number}", call_id="c", at_us=to_us("2026-03-01"), model="m")
        record.cost_nano_usd, record.observed_routing_nano_usd = 10**9, 5 * 10**8
        thrift.ledger.append(record)
    page = _Page(thrift.review().to_html())
    assert "What observe mode found" in page.text
    assert "$6.00" in page.text


@given(st.floats(1e-9, 1e12))
def test_the_top_of_an_axis_is_just_above(amount: float) -> None:
    top = nice_ceiling(amount)
    assert amount <= top * (1 + 1e-12)
    assert top <= 1.5 * amount * (1 + 1e-12)


@given(st.lists(st.decimals(-10, 10**6, places=4), max_size=40))
def test_columns_stay_inside_the_chart(amounts: list[Decimal]) -> None:
    svg = stacked_columns("cost", [str(place) for place in range(len(amounts))], {"input": amounts, "output": amounts})
    assert svg.count("<g>") == len(amounts)
    for x, y, width, height in re.findall(r'<rect class="s\d" x="(.+?)" y="(.+?)" width="(.+?)" height="(.+?)"/>', svg):
        assert float(x) >= 64
        assert float(x) + float(width) <= 712.01
        assert float(y) >= 11.98
        assert float(y) + float(height) <= 212.02


@pytest.mark.parametrize(("amount", "is_narrow"), [("0.000055", True), ("12345678.90", False), ("0.50", False)])
def test_amounts_beside_the_chart_have_room(amount: str, is_narrow: bool) -> None:
    svg = stacked_columns("cost", ["2026-12-01"], {"input": [Decimal(amount)]})
    beside = re.findall(r'<text x="56"[^>]*text-anchor="end"([^>]*)>([^<]*)<', svg)
    assert len(beside) == 5
    assert any("textLength" in narrow for narrow, _ in beside) == is_narrow
    assert all("textLength" in narrow or len(shown) <= 8 for narrow, shown in beside)


@pytest.mark.parametrize("days", [1, 2, 7, 9, 10, 30, 61, 400])
def test_labels_of_days_have_room(days: int) -> None:
    svg = stacked_columns("cost", [f"2026-{number:06}" for number in range(days)], {"input": [Decimal(1)] * days})
    found = re.findall(r'<text class="(label.*?)" x="(.+?)"', svg)
    # Ten signs of 11 units' letters are 60 wide; of a phone's 17, 96.
    for wide, shown in ((60, found), (96, [each for each in found if each[0] == "label"])):
        places = [float(x) for _, x in shown]
        assert places or days == 1
        assert all(later - earlier > wide for earlier, later in pairwise(places))
        assert all(place + wide / 2 <= 720 for place in places)


def test_what_has_no_price_is_nowhere_shown_as_nothing(thrift: Thrift) -> None:
    thrift.ledger.record("unheard-of", Usage(input_tokens=5), user="ada")
    shown = {
        "report": thrift.report(by="model").to_text(),
        "details": thrift.report(by="user", details=True).to_text(),
        "top": thrift.top(by="user").to_text(),
        "savings": thrift.savings().to_text(),
        "rate": thrift.spend_rate().to_text(),
        "forecast": thrift.forecast().to_text(),
        "optimizations": thrift.optimizations().to_text(),
        "markdown": thrift.review().to_markdown(),
    }
    for name, text in shown.items():
        lines = [line for line in text.splitlines() if re.search(r"\$0(?![.\d])", line) and "saved" not in line]
        # The table's column "saved" says what was saved, and nothing was.
        assert [line for line in lines if "unpriced" not in line] == [], name

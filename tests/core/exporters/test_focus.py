from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmthrift_core import Thrift, Usage
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.exporters import check_focus, export_focus
from llmthrift_core.exporters.focus_columns import FOCUS_COLUMNS
from llmthrift_core.exporters.token_kinds import CostDivider, apportion
from llmthrift_core.ledger import CallRecord
from tests.core.exporters.ledgers import EMOJI, fill


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _export(thrift: Thrift, tmp_path: Path, **options: Any) -> list[dict[str, str]]:
    export_focus(thrift, tmp_path / "focus.csv", **options)
    assert check_focus(tmp_path / "focus.csv") == []
    return _rows(tmp_path / "focus.csv")


def _billed(rows: list[dict[str, str]]) -> Decimal:
    return sum((Decimal(row["BilledCost"]) for row in rows), Decimal(0))


@pytest.mark.parametrize(
    "period", [{}, {"since": "2026-01-02"}, {"until": "2026-02-01"}, {"since": "2026-01-01T12:00", "until": "2026-01-31T13:00"}]
)
def test_the_sum_is_that_of_the_report_to_the_nano_dollar(thrift: Thrift, tmp_path: Path, period: dict[str, str]) -> None:
    fill(thrift)
    rows = _export(thrift, tmp_path, **period)
    total = thrift.report(**period).total
    assert _billed(rows) == total["cost_usd"] + total["other_cost_usd"]
    assert sum(Decimal(row["x_SavedCost"] or 0) for row in rows) == total["saved_usd"]
    assert sum(Decimal(row["ListCost"]) - Decimal(row["EffectiveCost"]) for row in rows) == total["saved_usd"]
    by_feature = {row["feature"]: row["cost_usd"] + row["other_cost_usd"] for row in thrift.report(by="feature", **period)}
    for feature, cost in by_feature.items():
        assert _billed([row for row in rows if row["x_Feature"] == (feature or "")]) == cost, feature


def test_each_kind_of_token_has_its_price(thrift: Thrift, tmp_path: Path) -> None:
    fill(thrift)
    rows = _export(thrift, tmp_path, since="2026-01-31", until="2026-02-01")
    # Claude Sonnet 4.5 by its list: $3 and $15 a million, written 1.25 and 2 times the input price, read a tenth; $10 for 1,000 searches.
    found = {
        row["x_TokenKind"]: (row["PricingQuantity"], row["PricingUnit"], Decimal(row["BilledCost"]), Decimal(row["ListUnitPrice"]))
        for row in rows
        if row["ChargeCategory"] == "Usage"
    }
    assert found == {
        "input": ("2000", "tokens", Decimal("0.006"), Decimal("0.000003")),
        "cache read": ("4000", "tokens", Decimal("0.0012"), Decimal("0.0000003")),
        "cache write": ("2000", "tokens", Decimal("0.0075"), Decimal("0.00000375")),
        "cache write, 1 hour": ("1000", "tokens", Decimal("0.006"), Decimal("0.000006")),
        "output": ("367", "tokens", Decimal("0.005505"), Decimal("0.000015")),
        "reasoning": ("333", "tokens", Decimal("0.004995"), Decimal("0.000015")),
        "web search": ("3", "searches", Decimal("0.03"), Decimal("0.01")),
    }
    assert {
        (row["ServiceProviderName"], row["ChargePeriodStart"], row["ChargePeriodEnd"], row["BillingPeriodStart"], row["BillingPeriodEnd"])
        for row in rows
    } == {("Anthropic", "2026-01-31T00:00:00Z", "2026-02-01T00:00:00Z", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z")}


def test_savings_are_credits_that_bill_nothing_and_refunds_adjustments(thrift: Thrift, tmp_path: Path) -> None:
    fill(thrift)
    rows = _export(thrift, tmp_path)
    credits = {row["ChargeDescription"]: row for row in rows if row["ChargeCategory"] == "Credit"}
    # 11 tokens at $2.50 and one at $10 a million
    # By batches: half of 1,000 tokens at $2.50 and of ten at $10 a million.
    found = {name: (Decimal(row["BilledCost"]), Decimal(row["ListCost"]), row["PricingQuantity"]) for name, row in credits.items()}
    assert {name: amounts for name, amounts in found.items() if "prompt cache" not in name} == {
        "gpt-4o: saved by batch rates": (0, Decimal("0.0013"), ""),
        "gpt-4o: saved from the exact cache": (0, Decimal("0.0000375"), ""),
        "gpt-4o-mini: saved by routing": (0, Decimal("-0.001234567"), ""),
    }
    tools = {row["ChargeCategory"]: Decimal(row["BilledCost"]) for row in rows if row["ServiceName"] == "tool"}
    assert tools == {"Adjustment": Decimal("-0.5"), "Usage": Decimal("0.25")}
    later = [row for row in rows if row["x_Model"] == "model-of-mine"]
    assert [(row["x_TokenKind"], Decimal(row["BilledCost"])) for row in later] == [
        ("input", Decimal("0.002")),
        ("output", Decimal("0.001")),
    ]


def test_an_unknown_price_is_left_out_and_told(thrift: Thrift, tmp_path: Path) -> None:
    fill(thrift)
    found = export_focus(thrift, tmp_path / "focus.csv")
    assert "nobody-knows" not in (tmp_path / "focus.csv").read_text(encoding="utf-8")
    assert found.notes[0].startswith("1 call has no price and is left out")


def test_rows_are_told_apart_by_the_tags_that_are_asked_for(thrift: Thrift, tmp_path: Path) -> None:
    for team, trace in (("a", "1"), ("a", "2"), ("b", "3")):
        thrift.ledger.record("gpt-4o", Usage(input_tokens=1_000), tags={"team": team, "trace": trace}, feature=EMOJI, at="2026-01-01")
    assert len(_export(thrift, tmp_path)) == 3
    rows = _export(thrift, tmp_path, tags=["team"])
    assert [(json.loads(row["Tags"]), row["PricingQuantity"]) for row in rows] == [
        ({"feature": EMOJI, "team": "a"}, "2000"),
        ({"feature": EMOJI, "team": "b"}, "1000"),
    ]
    (row,) = _export(thrift, tmp_path, tags=[], billing_account="acme")
    assert (json.loads(row["Tags"]), row["PricingQuantity"], row["BillingAccountId"]) == ({"feature": EMOJI}, "3000", "acme")


def test_parquet_one_file_for_each_day(thrift: Thrift, tmp_path: Path) -> None:
    fill(thrift)
    found = export_focus(thrift, tmp_path, per_day=True)
    assert [file.name for file in found.files] == [
        f"focus-{day}.parquet" for day in ("2026-01-01", "2026-01-02", "2026-01-31", "2026-02-01", "2026-05-05")
    ]
    assert [problem for file in found.files for problem in check_focus(file)] == []
    assert export_focus(thrift, tmp_path, per_day=True).files == ()


@pytest.mark.parametrize("older_than", ["2026-01-02", "2026-01-15", "2026-05-05T05:30", "2027-01-01"])
def test_pruned_calls_keep_their_costs(thrift: Thrift, tmp_path: Path, older_than: str) -> None:
    fill(thrift)
    before = thrift.report().total
    thrift.prune(older_than=older_than)
    found = export_focus(thrift, tmp_path / "focus.csv")
    assert check_focus(tmp_path / "focus.csv") == []
    assert _billed(_rows(tmp_path / "focus.csv")) == before["cost_usd"] + before["other_cost_usd"]
    assert found.notes[-1].startswith("Calls were pruned from a part of the period")
    mail = [row for row in _rows(tmp_path / "focus.csv") if row["x_Model"] == "claude-sonnet-4-5"]
    assert _billed(mail) == Decimal("0.0612")


def test_an_empty_ledger_is_a_head(thrift: Thrift, tmp_path: Path) -> None:
    assert _export(thrift, tmp_path) == []
    with pytest.raises(ConfigurationError, match="billing_account must be a non-empty text"):
        export_focus(thrift, tmp_path / "focus.csv", billing_account="")


def test_the_check_finds_what_is_wrong() -> None:
    good: dict[str, Any] = dict.fromkeys(column.name for column in FOCUS_COLUMNS)
    good |= {
        **dict.fromkeys(("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"), Decimal("0.5")),
        **dict.fromkeys(("BillingAccountId", "BillingAccountType", "InvoiceIssuerName", "ProviderName", "PublisherName"), "x"),
        **dict.fromkeys(("ServiceProviderName", "ServiceName", "ServiceSubcategory", "SkuPriceId"), "x"),
        **dict.fromkeys(("BillingPeriodStart", "ChargePeriodStart"), "2026-01-01T00:00:00Z"),
        **dict.fromkeys(("BillingPeriodEnd", "ChargePeriodEnd"), datetime(2026, 2, 1, tzinfo=UTC)),
        "BillingCurrency": "USD",
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "ServiceCategory": "Other",
        "PricingQuantity": 2,
        "PricingUnit": "tokens",
        "ListUnitPrice": "0.25",
        "ContractedUnitPrice": "0.25",
    }
    assert check_focus([good]) == []
    for change, problem in (
        ({"BilledCost": None}, "row 1: BilledCost must not be empty"),
        ({"BilledCost": 0.5}, "row 1: BilledCost is 0.5, which is no Decimal"),
        ({"BilledCost": "NaN"}, "row 1: BilledCost is 'NaN', which is no Decimal"),
        ({"ChargeCategory": "Refund"}, "row 1: ChargeCategory is 'Refund', not one of Usage, Purchase, Tax, Credit, Adjustment"),
        ({"ChargePeriodStart": "2026-01-01"}, "row 1: ChargePeriodStart is '2026-01-01', which is no Date/Time"),
        ({"ChargePeriodStart": "2026-03-01T00:00:00Z"}, "row 1: ChargePeriodEnd is not after ChargePeriodStart"),
        ({"Tags": "[1]"}, "row 1: Tags is '[1]', which is no JSON"),
        ({"ListUnitPrice": "0.3"}, "row 1: ListUnitPrice times PricingQuantity is 0.6, but ListCost is 0.5"),
        ({"BillingCurrency": "dollars"}, "row 1: BillingCurrency is 'dollars', not a code of three capitals such as USD"),
        ({"Mine": 1}, "FOCUS has no column Mine; a column of your own begins with x_"),
        ({"PricingUnit": None}, "row 1: PricingUnit must not be empty in a row of ChargeCategory 'Usage'"),
    ):
        assert problem in check_focus([good | change]), change
    assert "the mandatory column ListCost is missing" in check_focus([{name: value for name, value in good.items() if name != "ListCost"}])


@given(total=st.integers(-(10**15), 10**15), weights=st.lists(st.decimals(0, 10**6, places=3), min_size=1, max_size=8).filter(any))
def test_parts_sum_up_and_are_within_one_of_their_share(total: int, weights: list[Decimal]) -> None:
    parts = apportion(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - total * weight / sum(weights)) < 1 + Decimal("1e-6")


@given(counts=st.lists(st.integers(0, 10**6), min_size=11, max_size=11), cost=st.integers(0, 10**12), searches=st.integers(0, 3))
def test_whatever_the_counts_nothing_is_lost(counts: list[int], cost: int, searches: int) -> None:
    names = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "reasoning_tokens")
    names += ("input_audio_tokens", "output_audio_tokens", "cache_read_audio_tokens", "input_image_tokens", "output_image_tokens")
    sums = dict(zip(names, counts, strict=True))
    sums |= {
        "web_searches": searches,
        "attempts": 2,
        "cost_nano_usd": cost,
        "input_cost_nano_usd": cost // 3,
        "output_cost_nano_usd": cost // 2,
    }
    with Thrift(":memory:") as thrift:
        parts = CostDivider(thrift.prices).divide(sums, model="nobody-knows", provider=None, day_us=0)
    assert sum(part.cost_nano_usd for part in parts) == cost
    assert sum(part.quantity for part in parts if part.unit == "tokens") == counts[0] + counts[1]
    assert all(part.quantity > 0 for part in parts)


def test_rounding_is_no_fee(thrift: Thrift, tmp_path: Path) -> None:
    record = CallRecord(request_id="r", call_id="r", at_us=0, model="gpt-4o")
    record.set_usage(Usage(input_tokens=3, output_tokens=1))
    record.cost_nano_usd, record.input_cost_nano_usd, record.output_cost_nano_usd = 18, 8, 9
    thrift.ledger.append(record)
    assert [(row["x_TokenKind"], row["BilledCost"]) for row in _export(thrift, tmp_path)] == [
        ("input", "0.000000008"),
        ("output", "0.000000010"),
    ]

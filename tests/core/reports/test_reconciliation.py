from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from llmthrift_core import Thrift, Usage
from llmthrift_core.cli.app import app
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.reports.provider_bills import BillLine, read_bill

# The heads are those of OpenAI's own downloads.
OPENAI_COSTS = """start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id,organization_id
1769904000,1769990400,2026-02-01T00:00:00+00:00,2026-02-02T00:00:00+00:00,0.2500000000000000,usd,"gpt-4o-2024-08-06, input",p,o
1769904000,1769990400,2026-02-01T00:00:00+00:00,2026-02-02T00:00:00+00:00,1.0,usd,"gpt-4o-2024-08-06, output",p,o
1769990400,1770076800,2026-02-02T00:00:00+00:00,2026-02-03T00:00:00+00:00,,,,,
"""
OPENAI_USAGE = (
    "start_time\tstart_time_iso\tnum_model_requests\tapi_key_id\tmodel\tinput_tokens\toutput_tokens\tinput_cached_tokens\n"
    "1769904000\t2026-02-01T00:00:00+00:00\t10.0\tkey_a\tgpt-4o-2024-08-06\t59200.0\t10646.0\t5760.0\n"
    "1769904000\t2026-02-01T00:00:00+00:00\t1.0\tkey_b\tgpt-4o-2024-08-06\t5000.0\t300.0\t0.0\n"
)
ANTHROPIC_COSTS = {
    "data": [
        {
            "starting_at": "2026-02-01T00:00:00Z",
            "ending_at": "2026-02-02T00:00:00Z",
            "results": [
                {"amount": "123.45", "currency": "USD", "model": "claude-sonnet-4-5-20250929", "cost_type": "tokens"},
                {"amount": "20", "currency": "USD", "model": None, "cost_type": "web_search"},
            ],
        },
        {"starting_at": "2026-02-02T00:00:00Z", "ending_at": "2026-02-03T00:00:00Z", "results": []},
    ],
    "has_more": False,
    "next_page": None,
}
ANTHROPIC_USAGE = {
    "data": [
        {
            "starting_at": "2026-02-01T00:00:00Z",
            "results": [
                {
                    "api_key_id": "apikey_1",
                    "cache_creation": {"ephemeral_1h_input_tokens": 1000, "ephemeral_5m_input_tokens": 500},
                    "cache_read_input_tokens": 200,
                    "model": "claude-sonnet-4-20250514",
                    "output_tokens": 500,
                    "server_tool_use": {"web_search_requests": 10},
                    "uncached_input_tokens": 1500,
                }
            ],
        }
    ]
}
FIRST = date(2026, 2, 1)


def test_exports_are_read_as_the_providers_write_them(tmp_path: Path) -> None:
    (tmp_path / "costs.csv").write_text("\ufeff" + OPENAI_COSTS, encoding="utf-8")
    assert read_bill(tmp_path / "costs.csv", "openai")[0] == [
        BillLine(FIRST, "gpt-4o-2024-08-06", Decimal("0.25"), "USD"),
        BillLine(FIRST, "gpt-4o-2024-08-06", Decimal("1.0"), "USD"),
    ]
    (tmp_path / "usage.tsv").write_text(OPENAI_USAGE, encoding="utf-8")
    assert [
        (line.input_tokens, line.output_tokens, line.requests, line.key) for line in read_bill(tmp_path / "usage.tsv", "openai")[0]
    ] == [
        (59_200, 10_646, 10, "key_a"),
        (5_000, 300, 1, "key_b"),
    ]
    # Cents, as text; of two pages in JSON Lines.
    (tmp_path / "costs.jsonl").write_text(json.dumps(ANTHROPIC_COSTS) + "\n" + json.dumps(ANTHROPIC_COSTS) + "\n")
    lines, has_more = read_bill(tmp_path / "costs.jsonl", "anthropic")
    assert not has_more
    assert [(line.model, line.amount) for line in lines[:2]] == [("claude-sonnet-4-5-20250929", Decimal("1.2345")), (None, Decimal("0.2"))]
    assert lines[2:] == lines[:2]
    (line,) = read_bill(ANTHROPIC_USAGE, "anthropic")[0]
    assert (line.input_tokens, line.output_tokens, line.key) == (3_200, 500, "apikey_1")  # 1,500 + 200 + 1,000 + 500


def test_a_bill_that_agrees_is_explained_whole(thrift: Thrift) -> None:
    # 100,000 tokens at $2.50 a million and 100,000 at $10: $0.25 and $1.
    thrift.ledger.record("gpt-4o", Usage(input_tokens=60_000, output_tokens=100_000), at="2026-02-01T00:00")
    thrift.ledger.record("openai/gpt-4o-2024-08-06", Usage(input_tokens=40_000), at="2026-02-01T23:59:59")
    thrift.ledger.record("gpt-4o", Usage(input_tokens=40_000), cache="exact", at="2026-02-01T12:00")
    thrift.ledger.record("claude-sonnet-4-5", Usage(input_tokens=1_000_000), at="2026-02-01T12:00")  # another provider's
    thrift.ledger.record("gpt-4o", Usage(input_tokens=1_000_000), at="2026-02-03")  # after the bill
    found = thrift.reconcile(_rows(("2026-02-01", "gpt-4o-2024-08-06", "1.25")), provider="openai")
    assert (found.coverage, found.missing, found.notes) == (1.0, (), ())
    (row,) = found.rows
    assert (row["model"], row["ledger_usd"], row["drift_usd"], row["drift_share"], row["attempts"]) == (
        "gpt-4o",
        Decimal("1.25"),
        0,
        0.0,
        2,
    )
    assert "The ledger explains 100.0% of what openai billed" in str(found)
    assert "<table>" in found._repr_html_()


def _rows(*lines: tuple[str, str | None, str], currency: str = "usd") -> list[dict[str, Any]]:
    return [
        {"start_time_iso": f"{day}T00:00:00+00:00", "line_item": model, "amount": {"value": amount, "currency": currency}}
        for day, model, amount in lines
    ]


def test_what_is_missing_is_said(thrift: Thrift) -> None:
    thrift.ledger.record("gpt-4o", Usage(input_tokens=400_000), at="2026-02-01")  # $1
    thrift.ledger.record("gpt-4o-mini", Usage(input_tokens=10_000_000), at="2026-02-01")  # $1.50
    thrift.ledger.record("gpt-nobody-knows", Usage(input_tokens=7), provider="openai", at="2026-02-01")
    bill = _rows(
        ("2026-02-01", "gpt-4o", "2"),
        ("2026-02-01", "gpt-4o-mini", "1.51"),  # within 2%
        ("2026-02-01", "gpt-5", "3"),
        ("2026-02-02", "gpt-4o", "4"),
    )
    found = thrift.reconcile(bill, provider="openai")
    assert found.coverage == pytest.approx(2.5 / 10.51)
    assert found.missing == (
        "2026-02-02: $4.00 billed and nothing recorded: was the application metered, and this its ledger?",
        "gpt-5: $3.00 billed and nothing recorded on days when others were: some client is not metered.",
        "2026-02-01 gpt-4o: the ledger has $1.00 less than was billed: calls are missing.",
        "1 attempt has no price and is in no amount: set one, and run `llmthrift prices backfill`.",
    )
    assert [(row["model"], row["drift_usd"]) for row in found.by("model")[:2]] == [("gpt-4o", Decimal("-5")), ("gpt-5", Decimal("-3"))]
    assert found.total["drift_usd"] == Decimal("2.5") - Decimal("10.51")


def test_too_much_here_hides_nothing_there(thrift: Thrift) -> None:
    thrift.ledger.record("gpt-4o", Usage(input_tokens=4_000_000), at="2026-02-01")  # $10
    found = thrift.reconcile(_rows(("2026-02-01", "gpt-4o", "5"), ("2026-02-02", "gpt-4o", "5")), provider="openai")
    assert found.total["drift_usd"] == 0
    assert found.coverage == 0.5
    assert "2026-02-01 gpt-4o: the ledger has $5.00 more than was billed" in found.missing[1]


def test_tokens_where_no_amounts_are_and_the_key_that_is_not_metered(thrift: Thrift, tmp_path: Path) -> None:
    (tmp_path / "usage.tsv").write_text(OPENAI_USAGE, encoding="utf-8")
    thrift.ledger.record("gpt-4o", Usage(input_tokens=59_200, output_tokens=10_646), at="2026-02-01")
    found = thrift.reconcile(tmp_path / "usage.tsv", provider="openai")
    assert found.measure == "tokens"
    assert found.coverage == pytest.approx(69_846 / 75_146)
    assert found.missing[-1].startswith("API key key_b: it used 5,300 tokens, which is what the ledger lacks")


def test_bills_without_models_in_other_currencies_and_of_pruned_days(thrift: Thrift) -> None:
    thrift.ledger.record("gpt-4o", Usage(input_tokens=400_000), at="2026-02-01")
    found = thrift.reconcile(_rows(("2026-02-01", None, "1")), provider="openai")
    assert (found.coverage, found.rows[0]["model"]) == (1.0, None)
    assert "names no models" in found.notes[0]
    found = thrift.reconcile(_rows(("2026-02-01", "gpt-4o", "1"), currency="EUR"), provider="openai")
    assert found.coverage is None
    (note,) = found.notes
    assert note.startswith("1.00 EUR are billed in a currency that is not US dollars, in which the ledger counts: they are not compared.")
    assert "nan" not in str(found).lower()
    thrift.prune(older_than="2026-02-02")
    assert "were pruned and are not compared" in thrift.reconcile(_rows(("2026-02-01", "gpt-4o", "1")), provider="openai").notes[0]


def test_a_page_without_those_that_follow_is_said(thrift: Thrift) -> None:
    first = {**ANTHROPIC_COSTS, "has_more": True, "next_page": "page_2"}
    found = thrift.reconcile(first, provider="anthropic")
    assert found.notes == ("The last page says that more follow (has_more): fetch them with next_page, and give all pages together.",)
    assert thrift.reconcile([first, ANTHROPIC_COSTS], provider="anthropic").notes == ()


def test_an_empty_ledger_and_a_bill_of_nothing(thrift: Thrift) -> None:
    found = thrift.reconcile(_rows(("2026-02-01", "gpt-4o", "1")), provider="openai")
    assert (found.coverage, len(found.missing)) == (0.0, 1)
    empty = thrift.reconcile({"data": [{"starting_at": "2026-02-01T00:00:00Z", "results": []}]}, provider="anthropic")
    assert (empty.rows, str(empty).strip()) == ((), "anthropic billed nothing in this export.")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty; give the file as it was downloaded"),
        ("{not json", "is neither JSON nor JSON Lines"),
        ("name,value\na,1\n", "no row has an amount or tokens"),
        ("date,model,cost_usd\nsoon,gpt-4o,1\n", "row 1: date is 'soon', which is no day"),
        ("date,model,cost_usd\n2026-02-01,gpt-4o,much\n", "row 1: cost_usd is 'much', which is no amount"),
        ("model,cost_usd\ngpt-4o,1\n", "row 1: it has no day"),
        ("[1, 2]", "a row must be an object of names and values, not int"),
    ],
)
def test_what_is_no_export_is_said(thrift: Thrift, tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "bill").write_text(text)
    with pytest.raises(ConfigurationError, match=sentence):
        thrift.reconcile(tmp_path / "bill", provider="openai")


def test_other_mistakes(thrift: Thrift) -> None:
    with pytest.raises(ConfigurationError, match="provider must be one of openai, anthropic, not 'azure'"):
        thrift.reconcile([], provider="azure")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="cannot read /nowhere"):
        thrift.reconcile("/nowhere", provider="openai")
    with pytest.raises(ConfigurationError, match="takes a file or rows, not int"):
        thrift.reconcile(7, provider="openai")  # type: ignore[arg-type]


@given(amounts=st.lists(st.decimals(0, 1_000, places=6), min_size=1, max_size=5))
def test_amounts_are_summed_exactly(amounts: list[Decimal]) -> None:
    with Thrift(":memory:") as thrift:
        found = thrift.reconcile(_rows(*(("2026-02-01", "gpt-4o, input", str(amount)) for amount in amounts)), provider="openai")
    assert found.total["billed_usd"] == sum(amounts)


def test_on_the_command_line(tmp_path: Path) -> None:
    with Thrift(tmp_path / "ledger.db") as thrift:
        thrift.ledger.record("gpt-4o", Usage(input_tokens=100_000, output_tokens=100_000), at="2026-02-01")
    (tmp_path / "costs.csv").write_text(OPENAI_COSTS)
    arguments = ["reconcile", str(tmp_path / "costs.csv"), "--url", str(tmp_path / "ledger.db"), "--provider"]
    assert "The ledger explains 100.0%" in CliRunner().invoke(app, [*arguments, "openai"]).output
    assert json.loads(CliRunner().invoke(app, [*arguments, "openai", "--json"]).output)[0]["drift_usd"] == "0.000000000"
    assert CliRunner().invoke(app, [*arguments, "cohere"]).exit_code == 2


def test_the_consoles_files_of_anthropic(thrift: Thrift, tmp_path: Path) -> None:
    """Both, with the columns and the names that they have: the file of costs writes names for people."""
    thrift.ledger.record("claude-haiku-4-5-20251001", Usage(input_tokens=1_000_000, output_tokens=100_000), at="2026-03-15T10:00")
    thrift.ledger.record("claude-3-5-sonnet-20241022", Usage(output_tokens=100_000), at="2026-03-15T10:00")
    costs = tmp_path / "costs.csv"
    about = (
        "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type,inference_geo,speed"
    )
    rows = [
        "2026-03-15,Claude Haiku 4.5,Default,k,message,\u2264 200k,input_no_cache,1.00,1.00,token",
        "2026-03-15,Claude Haiku 4.5,Default,k,message,\u2264 200k,output,0.50,0.50,token",
        "2026-03-15,Claude 3.5 Sonnet 2024-10-22,Default,k,message,\u2264 200k,output,1.50,1.50,token",
    ]
    costs.write_text("\n".join([about, *rows]), encoding="utf-8-sig")
    found = thrift.reconcile(costs, provider="anthropic")
    assert found.coverage == 1
    assert not found.missing
    used = tmp_path / "usage.csv"
    parts = "usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read"
    about = f"usage_date_utc,model_version,api_key,workspace,usage_type,context_window,{parts},usage_output_tokens,web_search_count"
    rows = [
        "2026-03-15,claude-haiku-4-5-20251001,k,Default,standard,\u2264 200k,400000,300000,200000,100000,100000,0",
        "2026-03-15,claude-3-5-sonnet-20241022,k,Default,standard,\u2264 200k,0,0,0,0,100000,0",
    ]
    used.write_text("\n".join([about, *rows]))
    found = thrift.reconcile(used, provider="anthropic")
    assert found.coverage == 1
    assert not found.missing

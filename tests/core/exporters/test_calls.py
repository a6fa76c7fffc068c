from __future__ import annotations

import csv
import gzip
import json
import os
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest

from llmthrift_core import MissingExtraError, Thrift, Usage
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.exporters import calls as calls_module
from llmthrift_core.exporters import export_calls, to_arrow, to_pandas, to_polars
from tests.core.exporters.ledgers import EMOJI, fill


@pytest.fixture
def full(thrift: Thrift) -> Thrift:
    fill(thrift)
    return thrift


def _csv(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_csv_and_parquet_hold_every_call_as_the_ledger_has_it(full: Thrift, tmp_path: Path) -> None:
    assert export_calls(full, tmp_path / "calls.csv").rows == export_calls(full, tmp_path / "calls.parquet").rows == 8
    texts = _csv(tmp_path / "calls.csv")
    rows = parquet.read_table(tmp_path / "calls.parquet").to_pylist()
    recorded = full.ledger.calls(order="oldest")
    assert len(recorded) == len(texts) == len(rows)
    for call, text, row in zip(recorded, texts, rows, strict=True):
        assert row["at"] == datetime.fromisoformat(text["at"]) == call["at"]
        for name in (
            "request_id",
            "model",
            "feature",
            "user",
            "input_tokens",
            "cost_usd",
            "cache_saved_usd",
            "routing_saved_usd",
            "adjusted",
        ):
            assert row[name] == call[name], name
            written = call[name]
            shown = "" if written is None else str(written).lower() if isinstance(written, bool) else str(written)
            assert text[name] == (f"{written:f}" if isinstance(written, Decimal) else shown), name
        assert json.loads(text["tags"] or "{}") == call["tags"]
        assert row["latency_seconds"] == call["latency_seconds"]
    assert texts[0]["feature"] == EMOJI
    assert texts[1]["at"] == "2026-01-01T23:59:59.999999Z"
    assert sum(row["cost_usd"] or 0 for row in rows) == full.report().total["cost_usd"]
    repriced = next(row for row in rows if row["model"] == "model-of-mine")
    assert (repriced["cost_usd"], repriced["adjusted"]) == (Decimal("0.003"), True)
    assert next(row for row in rows if row["model"] == "nobody-knows")["cost_usd"] is None  # unknown is not zero
    assert next(row for row in rows if row["cost_usd"] == Decimal("0.00021"))["routing_saved_usd"] == Decimal("-0.001234567")


def test_a_period_is_half_open_and_pages_neither_lose_nor_repeat_rows(
    thrift: Thrift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls_module, "_ROWS_AT_ONCE", 3)
    for number in range(10):  # seven of them at one time: the row's number decides
        thrift.ledger.record("m", Usage(), request_id=f"r{number}", at=f"2026-03-01T00:00:0{max(0, number - 6)}")
    export_calls(thrift, tmp_path / "all.csv")
    assert [row["request_id"] for row in _csv(tmp_path / "all.csv")] == [f"r{number}" for number in range(10)]
    found = export_calls(thrift, tmp_path / "part.csv.gz", since="2026-03-01T00:00:01", until="2026-03-01T00:00:03")
    with gzip.open(tmp_path / "part.csv.gz", "rt", encoding="utf-8") as file:
        assert [row["request_id"] for row in csv.DictReader(file)] == ["r7", "r8"]
    assert (found.rows, found.files) == (2, (tmp_path / "part.csv.gz",))
    assert to_arrow(thrift).num_rows == 10


def test_one_file_for_each_day_goes_on_where_it_stopped(full: Thrift, tmp_path: Path) -> None:
    days = ["2026-01-01", "2026-01-02", "2026-01-31", "2026-02-01", "2026-05-05"]
    first = export_calls(full, tmp_path / "days", per_day=True, until="2026-01-31")
    assert [file.name for file in first.files] == [f"calls-{day}.parquet" for day in days[:2]]
    again = export_calls(full, tmp_path / "days", per_day=True)
    assert [file.name for file in again.skipped] == [f"calls-{day}.parquet" for day in days[:2]]
    assert [file.name for file in again.files] == [f"calls-{day}.parquet" for day in days[2:]]
    assert again.rows == 5
    assert "2 files of whole days were there already" in again.to_text()
    whole = datetime(2026, 2, 2, tzinfo=UTC).timestamp()
    os.utime(tmp_path / "days/calls-2026-02-01.parquet", (whole - 1, whole - 1))  # while its day was not over
    assert [file.name for file in export_calls(full, tmp_path / "days", per_day=True).files] == ["calls-2026-02-01.parquet"]
    assert len(export_calls(full, tmp_path / "days", per_day=True, overwrite=True).files) == 5
    with pytest.raises(ConfigurationError, match=r"needs whole days \(UTC\), but since is 2026-01-01T12:00:00\+00:00"):
        export_calls(full, tmp_path / "days", per_day=True, since="2026-01-01T12:00")


def test_a_failure_leaves_neither_half_a_file_nor_a_lost_one(full: Thrift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "calls.csv"
    out.write_text("the export of yesterday")

    def fail(*_: Any) -> Any:
        yield [[None]] * len(calls_module.CALL_COLUMNS)
        raise RuntimeError("the database went away")

    monkeypatch.setattr(calls_module, "read_columns", fail)
    with pytest.raises(RuntimeError):
        export_calls(full, out)
    assert out.read_text() == "the export of yesterday"
    assert list(tmp_path.glob(".calls*")) == []


def test_an_empty_ledger_has_a_head(thrift: Thrift, tmp_path: Path) -> None:
    for name in ("calls.csv", "calls.parquet"):
        assert export_calls(thrift, tmp_path / name).rows == 0
    assert _csv(tmp_path / "calls.csv") == []
    assert parquet.read_table(tmp_path / "calls.parquet").column_names == [column.name for column in calls_module.CALL_COLUMNS]
    assert export_calls(thrift, tmp_path / "days", per_day=True).files == ()
    assert to_pandas(thrift).empty
    assert to_polars(thrift).is_empty()


def test_frames_have_the_same_sums(full: Thrift) -> None:
    cost = full.report().total["cost_usd"]
    polars_frame = to_polars(full)
    assert polars_frame["cost_usd"].sum() == cost
    pandas_frame = to_pandas(full, since="2026-01-01", until="2026-02-01")
    assert len(pandas_frame) == 4
    assert pandas_frame["cost_usd"].sum() == pytest.approx(float(full.report(until="2026-02-01").total["cost_usd"]))
    assert str(pandas_frame["at"].dtype) == "datetime64[us, UTC]"


def test_pruned_calls_are_told(full: Thrift, tmp_path: Path) -> None:
    full.prune(older_than="2026-01-15")
    found = export_calls(full, tmp_path / "calls.csv")
    assert found.rows == 5
    assert found.notes == ("Calls from before 2026-01-15 00:00 UTC were pruned: only their sums are kept, which reports show.",)
    assert export_calls(full, tmp_path / "calls.csv", since="2026-02-01").notes == ()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"out": "calls.xlsx"}, "says no format; end it with .csv"),
        ({"out": "calls.csv", "format": "json"}, 'format must be "csv" or "parquet", not \'json\''),
        ({"out": "calls.csv", "since": "2026-02-01", "until": "2026-01-01"}, "ends before it begins"),
        ({"out": "calls.csv", "since": "yesterday"}, "not a date or time: 'yesterday'"),
        ({"out": ".", "format": "csv"}, "is a directory; name a file"),
        ({"out": "/proc/nowhere/calls.csv"}, "cannot write /proc/nowhere/calls.csv"),
    ],
)
def test_a_wrong_argument_is_said(
    thrift: Thrift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=sentence.replace(".", r"\.")):
        export_calls(thrift, **arguments)
    with pytest.raises(ConfigurationError, match="takes a Thrift, not the address"):
        export_calls("ledger.db", tmp_path / "calls.csv")  # type: ignore[arg-type]


def test_a_missing_extra_is_named(thrift: Thrift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pyarrow is not installed; run: pip install 'llmthrift\[export\]'"):
        export_calls(thrift, tmp_path / "calls.parquet")
    assert list(tmp_path.glob("*.parquet")) == list(tmp_path.glob(".*part")) == []
    export_calls(thrift, tmp_path / "calls.csv")

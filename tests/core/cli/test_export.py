from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmthrift_core import Thrift, Usage
from llmthrift_core.cli.app import app


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    with Thrift(tmp_path / "llmthrift.db") as thrift:
        thrift.ledger.record("gpt-4o", Usage(input_tokens=1_000), at="2026-01-01")
        thrift.ledger.record("nobody-knows", Usage(input_tokens=1_000), at="2026-01-02")
    return tmp_path


def _run(*arguments: str, exit_code: int = 0) -> str:
    found = CliRunner().invoke(app, list(arguments))
    assert found.exit_code == exit_code, found.output
    return found.output


def test_calls_and_costs_become_files(ledger: Path) -> None:
    assert _run("export", "calls", "--out", "calls.csv", "--since", "2026-01-02") == "1 row in calls.csv\n"
    output = _run("export", "calls", "--out", "days", "--per-day", "--format", "csv", "--json")
    assert json.loads(output)["files"] == ["days/calls-2026-01-01.csv", "days/calls-2026-01-02.csv"]
    output = _run("export", "focus", "--out", "focus.parquet", "--check", "--tag", "team")
    assert output.startswith("1 row in focus.parquet\n1 call has no price")
    assert output.endswith("FOCUS 1.3: nothing is wrong\n")


def test_a_wrong_format_is_refused(ledger: Path) -> None:
    assert "--format is csv or parquet, not 'json'" in _run("export", "calls", "--out", "x", "--format", "json", exit_code=2)


def test_judged_answers_become_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Thrift(tmp_path / "llmthrift.db", capture="text") as thrift:
        for number, tag in enumerate(("yes", "no")):
            request_id = thrift.ledger.record("gpt-4o", Usage(input_tokens=9), feature="chat", tags={"training": tag})
            thrift.ledger.capture(request_id, 0, None, f"human: order 12345{number}?", "Sent.")
            thrift.flush()
            thrift.feedback(request_id, quality=1)
    options = ["--consent", "training", "--redact", "[0-9]{6}", "--validation", "0", "--json"]
    found = json.loads(_run("export", "training", "--out", "t.jsonl", *options))
    assert (found["training"], found["skipped"]) == (1, {"no consent": 1})
    assert json.loads((tmp_path / "t.jsonl").read_text())["messages"][0]["content"] == "order [REDACTED]?"
    assert "left out: 2 (another feature)" in _run("export", "training", "--out", "t.jsonl", "--feature", "mail")
    assert "--redact is no regular expression" in _run("export", "training", "--out", "t.jsonl", "--redact", "[", exit_code=2)

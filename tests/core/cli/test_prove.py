"""`llmthrift prove`, as a user types it: a file, a ledger, and models that are asked now."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmthrift_core import Thrift
from llmthrift_core.cli.app import app
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing import Example
from llmthrift_core.testing import LoopbackProvider
from llmthrift_core.testing.answers import Question
from tests.core.cli.test_cli import run
from tests.core.versions.judged import learnable

PLAIN = ("--models", "weak=0.6, strong=12", "--no-by-meaning")


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "judged.jsonl"
    rows = [
        {"prompt": f"Question {number % 4}?", "model": "strong", "quality": 1, "answer": "Yes.", "latency_seconds": 1.5}
        for number in range(8)
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return str(path)


def test_a_file_as_a_table_json_and_csv(data: str) -> None:
    text = run("prove", "--data", data, *PLAIN)
    assert "cache + fallback" in text
    assert "50.0%" in text
    found = {row["way"]: row for row in json.loads(run("prove", "--data", data, *PLAIN, "--json"))}
    assert (found["direct"]["latency_seconds"], found["cache + fallback"]["saved_share"]) == (1.5, 0.5)
    assert found["distilled"]["usd_per_thousand"] is None
    assert run("prove", "--data", data, *PLAIN, "--csv").startswith("way,requests,quality,how,latency_seconds,")


def test_a_ledger(tmp_path: Path) -> None:
    with Thrift(tmp_path / "ledger.db", capture="text") as thrift:
        assert learnable(thrift, [Example("Where is my parcel?", "strong", 1.0)] * 3) == 3
    found = json.loads(run("prove", "--data", "ledger", "--url", str(tmp_path / "ledger.db"), "--no-by-meaning", "--json"))
    assert found[1]["saved_share"] == pytest.approx(2 / 3)


@pytest.mark.loopback
def test_models_that_are_asked_now(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(question: Question) -> str:
        return f"{question.last_user_text.split()[-1]} {9 if 'large' in question.model else 5}" if question.model == "gpt-4.1" else "Yes."

    live = ("--live", "--models", "small=openai:gpt-4o-mini,large=openai:gpt-4o", "--judge", "openai:gpt-4.1", "--no-by-meaning")
    with LoopbackProvider(answer) as provider:
        monkeypatch.setenv("OPENAI_BASE_URL", provider.openai_url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        url = ("--url", str(tmp_path / "live.db"))
        text = run("prove", "--data", data, *live, *url)
        assert "Asked now: 4 of 4 prompts" in text
        assert {bill.model for bill in provider.usage_log} == {"gpt-4o-mini", "gpt-4o", "gpt-4.1"}
        with pytest.raises(ConfigurationError, match="no prompt was asked: the amount of"):
            CliRunner().invoke(app, ["prove", "--data", data, *live, *url, "--max-usd", "0.0000001"], catch_exceptions=False)
        run("prove", "--data", data, "--live", code=2)

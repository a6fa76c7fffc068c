"""`llmthrift batch`, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmthrift_core.cli.app import app
from llmthrift_core.testing import LoopbackProvider

pytestmark = pytest.mark.loopback


@pytest.fixture
def url(tmp_path: Path, provider: LoopbackProvider, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("OPENAI_BASE_URL", provider.openai_url)
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    provider.answerer = lambda question: f"said {question.last_user_text}"
    return str(tmp_path / "books.db")


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["batch", *arguments], env={"COLUMNS": "160"})
    assert result.exit_code == code, result.output
    return result.stdout


def test_a_file_goes_and_its_answers_come(tmp_path: Path, url: str) -> None:
    asked, answers = tmp_path / "asked.jsonl", tmp_path / "answers.jsonl"
    lines = ['"Ä first"', "", '{"custom_id": "b", "body": {"messages": [{"role": "user", "content": "second"}]}}']
    asked.write_text("\n".join(lines), encoding="utf-8")
    job = run("submit", str(asked), "--model", "gpt-4o-mini", "--user", "ada", "--name", "nightly", "--wait", "--url", url).split()[0]
    assert "2 answered" in run("status", "nightly", "--url", url)
    assert json.loads(run("status", job, "--json", "--url", url))["answered"] == 2
    assert "wrote 2 results" in run("results", job, "--out", str(answers), "--url", url).replace("\n", " ")
    found = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
    assert [(each["custom_id"], each["text"]) for each in found] == [("0", "said Ä first"), ("b", "said second")]
    assert found[0]["cost_usd"].startswith("0.0000")
    assert [json.loads(line)["custom_id"] for line in run("results", job, "--url", url).splitlines()] == ["0", "b"]
    (listed,) = json.loads(run("list", "--json", "--url", url))
    assert (listed["id"], listed["state"]) == (job, "ended")
    assert "nightly" in run("list", "--url", url)
    assert json.loads(run("list", "--open", "--json", "--url", url, code=1)) == []


def test_lines_end_at_line_feeds_alone_and_may_begin_with_a_mark(tmp_path: Path, url: str) -> None:
    asked = tmp_path / "asked.jsonl"
    asked.write_text('\ufeff"one\u2028line"\r\n"two\x85"\r\n', encoding="utf-8")
    job = run("submit", str(asked), "--model", "gpt-4o-mini", "--wait", "--url", url).split()[0]
    found = [json.loads(line) for line in run("results", job, "--url", url).split("\n") if line]
    assert [each["text"] for each in found] == ["said one\u2028line", "said two\x85"]


def test_cancelling(tmp_path: Path, url: str, provider: LoopbackProvider) -> None:
    provider.batches.delay_seconds = float("inf")
    asked = tmp_path / "asked.jsonl"
    asked.write_text('"one"\n')
    job = run("submit", str(asked), "--model", "openai:gpt-4o-mini", "--url", url).strip()
    assert "1 open" in run("status", job, "--url", url)
    assert "cancelling" in run("cancel", job, "--url", url)
    assert "1 cancelled" in run("status", job, "--url", url)


@pytest.mark.parametrize("content", ['"fine"\n{"custom_id": ', '{"messages": [}'])
def test_a_file_that_is_no_json_names_its_line(tmp_path: Path, url: str, content: str) -> None:
    asked = tmp_path / "asked.jsonl"
    asked.write_text(content)
    result = CliRunner().invoke(app, ["batch", "submit", str(asked), "--model", "gpt-4o-mini", "--url", url])
    assert result.exit_code == 2
    assert f"line {content.count(chr(10)) + 1} of" in result.output.replace("\n", " ").replace("│", "")

"""`llmthrift analyze` reads messages, requests and texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmthrift_core.cli.app import app

REQUEST = {"model": "gpt-4o", "messages": [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": "Why?"}]}


def run(*arguments: str, stdin: str | None = None) -> str:
    result = CliRunner().invoke(app, ["analyze", *arguments], input=stdin)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(("content", "options"), [(REQUEST, []), (REQUEST["messages"], ["--model", "gpt-4o"])], ids=["request", "messages"])
def test_parts_of_a_file(tmp_path: Path, content: object, options: list[str]) -> None:
    file = tmp_path / "prompt.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    found = json.loads(run(str(file), "--json", *options))
    assert found["model"] == "gpt-4o"
    assert {row["part"]: row["tokens"] for row in found["parts"]}["system"] > 0
    assert found["total_tokens"] == sum(row["tokens"] for row in found["parts"])


@pytest.mark.parametrize("text", ["Why is the sky blue?", '{"color": "blue"}', "[1, 2]", '{"broken'])
def test_what_is_no_message_is_a_text(text: str) -> None:
    assert "last question" in run("-", stdin=text)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["analyze", str(tmp_path / "none.json")])
    assert result.exit_code == 2

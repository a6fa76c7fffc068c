"""`llmthrift analyze` reads messages, requests and texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmthrift_core import Thrift
from llmthrift_core.attribution import Attribution
from llmthrift_core.cli.app import app
from llmthrift_core.ledger.record import CallRecord

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


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    url = str(tmp_path / "calls.db")
    with Thrift(url, capture="text") as thrift:
        for number in range(3):
            row = CallRecord(request_id=f"r{number}", call_id=f"r{number}", at_us=thrift.now_us() - 1_000, model="gpt-4o")
            row.attribution, row.input_tokens, row.input_cost_nano_usd = Attribution(call_site="desk"), 500, 1_250_000
            thrift.ledger.append(row)
            prompt = f"system: {'Be polite.   ' * 60}\nhuman: Where is order {number}?"
            thrift.ledger.capture(row.request_id, row.at_us, None, prompt, f"Order {number} is in hall 7.")
    return url


def test_call_sites_and_calls_of_a_ledger(ledger: str) -> None:
    (row,) = json.loads(run("--call-site", "all", "--url", ledger, "--json"))
    assert (row["call_site"], row["calls"], row["tokens"], row["texts"]) == ("desk", 3, 500, 3)
    assert {each["kind"] for each in row["suggestions"]} == {"system_prompt"}
    assert run("--call-site", "desk", "--url", ledger, "--csv").startswith("call_site,calls,calls_a_month")
    last = json.loads(run("--call", "last", "--url", ledger, "--json"))
    assert last == json.loads(run("--call", "r2", "--url", ledger, "--json"))
    assert last["total_tokens"] > 100


@pytest.mark.parametrize("options", [[], ["prompt.json", "--call", "last"], ["--call-site", "all", "--call", "last"]])
def test_one_thing_is_analyzed(options: list[str]) -> None:
    assert CliRunner().invoke(app, ["analyze", *options]).exit_code == 2


def test_shorter_prompts_are_simulated(ledger: str, tmp_path: Path) -> None:
    found = json.loads(CliRunner().invoke(app, ["shorten", "simulate", "--url", ledger, "--json"]).output)
    assert (found["total"]["calls"], found["is_non_inferior"]) == (3, None)
    assert found["total"]["tokens_shorter"] < found["total"]["tokens"]
    policy = tmp_path / "policy.py"
    policy.write_text(
        "from llmthrift_core.prompts import Shorten, steps\nshorter = Shorten([steps.Sentences(share=0.2, embedder=False)])\nother = 1\n"
    )
    lines = tmp_path / "sent.jsonl"
    text = "The harbour was built in 1874. " + "Forty buses connect the villages with the town. " * 9
    lines.write_text(json.dumps({"prompt": f"{text}\n\nQuestion: When was the harbour built?", "model": "gpt-4o", "answer": "1874"}))
    given = ["shorten", "simulate", "--data", str(lines), "--policy"]
    result = CliRunner().invoke(app, [*given, f"{policy}:shorter"])
    assert result.exit_code == 0, result.output
    assert "1 known answers stand in their prompts; 100.0% still do" in " ".join(result.output.split())
    for wrong in (f"{policy}:other", f"{policy}:nothing", "lossy"):
        assert CliRunner().invoke(app, [*given, wrong]).exit_code == 2
    assert CliRunner().invoke(app, ["shorten", "simulate", "--url", ledger, "--judge", "openai:gpt-4o"]).exit_code == 2
    assert CliRunner().invoke(app, ["shorten", "simulate", "--url", ledger, "--call-site", "nowhere"]).exit_code == 1

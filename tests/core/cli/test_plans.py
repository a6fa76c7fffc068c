from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from llmthrift_core import Thrift, Usage
from llmthrift_core.cli.app import app

_NODE = ["--gpus", "2", "--gpu-hour", "3.50", "--requests-per-hour", "800", "--operations", "15000"]


def _run(*arguments: str, exit_code: int = 0) -> str:
    found = CliRunner().invoke(app, list(arguments))
    assert found.exit_code == exit_code, found.output
    return found.output


def test_breakeven_from_numbers_and_from_the_ledger(tmp_path: Path) -> None:
    numbers = ["--input-price", "3", "--output-price", "15", "--input-tokens", "2000", "--output-tokens", "500"]
    output = _run("breakeven", *_NODE, *numbers, "--at", "3600000")
    assert "3,351,112" in output
    assert "At 3,600,000: 6 nodes and 144,000 requests at the API for $47,184.00" in output
    with Thrift(tmp_path / "ledger.db") as thrift:
        thrift.ledger.record("claude-sonnet-4-5", Usage(input_tokens=2_000, output_tokens=500))
    found = json.loads(_run("breakeven", *_NODE, "--model", "claude-sonnet-4-5", "--url", str(tmp_path / "ledger.db"), "--json"))
    assert found[1] == {"from_requests": 3_351_112, "to_requests": 3_456_000, "choice": "self_hosted", "nodes": 6}
    assert "give --model, or all of" in _run("breakeven", *_NODE, "--input-price", "3", exit_code=2)


def test_roi_and_what_if(tmp_path: Path) -> None:
    figures = json.loads(_run("roi", "--value", "a=114000", "--cost", "b=14000", "--json"))
    assert round(figures["percent"]) == 714
    assert "NAME=VALUE" in _run("roi", "--value", "114000", "--cost", "b=1", exit_code=2)
    with Thrift(tmp_path / "ledger.db") as thrift:
        thrift.ledger.record("gpt-4o", Usage(output_tokens=1_000_000))
    url = ["--url", str(tmp_path / "ledger.db")]
    assert "Output times 1.2: 1 attempt (+20.0%)." in _run("what-if", "--output", "1.2", *url)
    assert "$0.6000" in _run("what-if", "--model", "gpt-4o=gpt-4o-mini", *url)


def test_tier_mix() -> None:
    tiers = ["--tier", "small=70%@0.15", "--tier", "medium=0.25@3", "--tier", "large=5%@5"]
    given = ["tier-mix", "--spent", "47000", "--price", "5", *tiers, "--claimed", "8200"]
    assert "$10,387.00" in _run(*given)
    assert json.loads(_run(*given, "--json"))["is_claim_right"] is False
    assert "NAME=SHARE@PRICE" in _run("tier-mix", "--spent", "1", "--price", "5", "--tier", "a=0.5", exit_code=2)


def test_advise(tmp_path: Path) -> None:
    answers = ["--kind", "support", "--requests", "1000", "--input-tokens", "2000", "--output-tokens", "500", "--model", "gpt-4o"]
    assert "exact caching" in _run("advise", *answers)
    assert json.loads(_run("advise", *answers, "--json"))["spent_usd"] == "300"
    with Thrift(tmp_path / "ledger.db") as thrift:
        thrift.ledger.record("gpt-4o", Usage(output_tokens=1_000_000))
    assert "$10.00 was spent on 1 request" in _run("advise", "--url", str(tmp_path / "ledger.db"))


def test_a_context_by_request_and_by_conversation() -> None:
    found = json.loads(_run("context", "--tokens", "2000", "--requests", "100000", "--model", "gpt-4o", "--json"))
    assert (found[0]["tokens a day"], float(found[0]["usd a day"])) == (200_000_000, 500)
    assert "$2,500.00" in _run("context", "--tokens", "50000", "--requests", "10000", "--price", "5")
    talk = ["--tokens", "2000", "--requests", "1000", "--model", "gpt-4o", "--turns", "20", "--turn-tokens", "500"]
    assert "145,000" in _run("context", *talk)
    _run("context", *talk[:-4], "--turns", "2.5", exit_code=1)

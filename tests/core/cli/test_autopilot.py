"""`llmthrift autopilot`, as a user or cron types it."""

from __future__ import annotations

import json
import time

import pytest
from typer.testing import CliRunner

from llmthrift_core import Thrift
from llmthrift_core.cli.app import app
from tests.core.autopilot.world import DAY, World
from tests.core.clock import Clock


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = str(tmp_path_factory.mktemp("autopilot") / "books.db")
    clock = Clock(time.time() - 3 * DAY)
    with Thrift(place, clock=clock) as thrift:
        thrift.configurations.save("support", {})
        World(thrift, clock).pass_days(3)
    return place


def _run(url: str, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["autopilot", *words, "--url", url], env={"COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_a_change_goes_through_the_commands(url: str) -> None:
    code, output = _run(url, "run")
    assert (code, "nothing that is allowed" in output) == (0, True)
    code, output = _run(url, "status", "--json")
    found = {each["kind"]: each for each in json.loads(output)["proposals"] if each["tuning"]}
    assert (code, found["max_tier"]["standing"]) == (0, "waits for approval")
    code, output = _run(url, "status", "--csv")
    assert output.startswith("id,tuning,kind")
    code, output = _run(url, "approve", found["max_tier"]["id"])
    assert (code, output.startswith("approved: max_tier of support: as built -> small")) == (0, True)
    code, output = _run(url, "run", "--json")
    (step,) = json.loads(output)["steps"]
    assert (code, step["action"], step["version"]) == (0, "tries", 2)
    code, output = _run(url, "stop", "--why", "we launch today")
    assert (code, "support: what was tried has ended" in output) == (0, True)
    code, output = _run(url, "run")
    assert (code, output.strip()) == (1, "autopilot stopped: we launch today")
    assert _run(url, "start")[0] == 0
    code, output = _run(url, "history", "--json")
    notes = [(row["tuning"], row["version"], row["note"]) for row in json.loads(output)]
    assert ("support", 3, "autopilot gives up: stopped: we launch today") in notes
    assert any(tuning == "autopilot" and note == "autopilot: started" for tuning, _, note in notes)


def test_what_cannot_be_used_is_said(url: str) -> None:
    result = CliRunner().invoke(app, ["autopilot", "run", "--allow", "budgets", "--url", url])
    assert result.exit_code != 0
    assert "allow names settings of doors" in str(result.exception)

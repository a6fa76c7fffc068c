"""An audit as a whole: files, notebooks, comments, formats and exit codes."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from llmthrift_core.auditing import audit_project
from llmthrift_core.cli.app import app
from llmthrift_core.errors import ConfigurationError

UNLIMITED = 'from langchain_openai import ChatOpenAI\nllm = ChatOpenAI(model="gpt-4o")\n'
LIMITED = 'from langchain_openai import ChatOpenAI\nllm = ChatOpenAI(model="gpt-4o", max_tokens=9)\n'


def run(*arguments):
    return CliRunner().invoke(app, ["audit", *map(str, arguments)])


def test_nothing_is_run_and_folders_of_environments_are_left_out(tmp_path):
    (tmp_path / "a.py").write_text("import openai\nraise SystemExit(3)\n")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/b.py").write_text(UNLIMITED)
    report = audit_project(tmp_path)
    assert (report.findings, report.files) == ((), 1)
    assert str(report).strip() == "nothing found in 1 file"


@pytest.mark.parametrize("content", [b"def broken(:\n", b"x = 'a\x00b'\n", b"\xff\xfe broken", b"# coding: nonsense\n"])
def test_what_is_no_python_is_a_finding(tmp_path, content):
    (tmp_path / "a.py").write_bytes(content)
    (tmp_path / "b.py").write_text(UNLIMITED)
    report = audit_project(tmp_path)
    assert [(finding.path, finding.rule) for finding in report.findings] == [("a.py", "syntax-error"), ("b.py", "no-output-limit")]
    assert report.findings[0].level == "error"


def test_deeply_nested_code_is_a_finding_and_no_traceback(tmp_path):
    (tmp_path / "a.py").write_text("import openai\nx = " + "(" * 5_000 + "1" + ")" * 5_000)
    assert [finding.rule for finding in audit_project(tmp_path).findings] == ["syntax-error"]


def test_cells_of_a_notebook_share_their_names(tmp_path):
    cells = [
        {"cell_type": "markdown", "source": ["# Title"]},
        {"cell_type": "code", "source": ["%pip install langchain-openai\n", "from langchain_openai import ChatOpenAI\n", "size = None"]},
        {"cell_type": "code", "source": ["!ls\n", "llm = ChatOpenAI(model='gpt-4o', max_tokens=size)\n", "await llm.ainvoke('Hello')"]},
    ]
    file = tmp_path / "a.ipynb"
    file.write_text(json.dumps({"cells": cells, "nbformat": 4}, indent=1))
    (finding,) = audit_project(file).findings
    assert (finding.place, finding.rule) == ("a.ipynb:cell 2:2:7", "no-output-limit")
    assert "llm = ChatOpenAI" in file.read_text().splitlines()[finding.file_line - 1]
    file.write_text("no notebook")
    assert [finding.rule for finding in audit_project(file).findings] == ["syntax-error"]


def test_exit_codes(tmp_path):
    (tmp_path / "good.py").write_text(LIMITED)
    assert run(tmp_path).exit_code == 0
    (tmp_path / "bad.py").write_text(UNLIMITED)
    found = run(tmp_path)
    assert found.exit_code == 1
    assert found.stdout.startswith("bad.py:2:7: warning[no-output-limit] ChatOpenAI has no limit")
    assert run(tmp_path, "--fail-on", "error").exit_code == 0
    assert run(tmp_path, "--exclude", "bad*").exit_code == 0
    assert run(tmp_path / "missing").exit_code == 2
    assert run(tmp_path, "--format", "xml").exit_code == 2
    assert run(tmp_path, "--fail-on", "nothing").exit_code == 2
    with pytest.raises(ConfigurationError, match="missing"):
        audit_project(tmp_path / "missing")


def test_formats_for_programs(tmp_path):
    (tmp_path / "a b.py").write_text(UNLIMITED)
    (one,) = json.loads(run(tmp_path, "--format", "json").stdout)
    assert (one["path"], one["line"], one["rule"]) == ("a b.py", 2, "no-output-limit")
    log = json.loads(run(tmp_path, "--format", "sarif").stdout)
    assert log["version"] == "2.1.0"
    (sarif_run,) = log["runs"]
    (result,) = sarif_run["results"]
    assert sarif_run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"] == "no-output-limit"
    place = result["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "a%20b.py"}, "region": {"startLine": 2, "startColumn": 7}}


def test_several_paths_are_one_report(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text(UNLIMITED)
    found = run(tmp_path / "two", tmp_path / "one").stdout.splitlines()
    assert [line.partition("a.py")[0] for line in found[:2]] == [f"{tmp_path}/one/", f"{tmp_path}/two/"]


def test_the_worst_case_is_told_in_dollars(tmp_path):
    (tmp_path / "a.py").write_text(
        'from langchain_openai import ChatOpenAI\nllm = ChatOpenAI(model="gpt-4o", max_tokens=8_000, max_retries=4, n=2)\n'
    )
    (finding,) = audit_project(tmp_path).findings
    # 5 attempts of 120,000 tokens at $2.50 and 2 x 8,000 at $10 a million: 5 x (0.30 + 0.16)
    assert "answered 10 times at worst, $2.30 with" in finding.message

"""`python -m llmthrift_core.cli.run`: a program that knows only LangChain is metered."""

from __future__ import annotations

import os
import subprocess
import sys
from decimal import Decimal

import pytest

from llmthrift_core import Thrift
from llmthrift_core.testing import LoopbackProvider

PROGRAM = """
import sys
from langchain_openai import ChatOpenAI
import beside

model = ChatOpenAI(model="gpt-4o-mini", base_url=sys.argv[1], api_key="k")
print(model.invoke(beside.QUESTION).content, sys.argv[1:] == [sys.argv[1], "--flag"], __name__)
raise SystemExit(3)
"""


def run(*arguments, cwd, url="calls.db"):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LLMTHRIFT_URL": url}
    environment.pop("LLMTHRIFT_METER", None)
    command = [sys.executable, "-W", "ignore", "-m", "llmthrift_core.cli.run", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.loopback
@pytest.mark.parametrize("named", [["app.py"], ["-m", "app"]])
def test_a_program_that_imports_langchain_alone_is_metered(named, tmp_path):
    (tmp_path / "app.py").write_text(PROGRAM)
    (tmp_path / "beside.py").write_text("QUESTION = 'Hello'\n")
    with LoopbackProvider() as provider:
        done = run(*named, provider.openai_url, "--flag", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert done.stdout.rstrip().endswith("True __main__")
    with Thrift(tmp_path / "calls.db") as thrift:
        (row,) = thrift.ledger.calls()
    assert row.model.startswith("gpt-4o-mini")
    assert row.cost_usd > Decimal(0)


def test_what_cannot_be_run_is_told(tmp_path):
    for arguments, problem in (((), "no program is named"), (("none.py",), "there is no program 'none.py'"), (("-m",), "no program")):
        done = run(*arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith(problem)
        assert "usage: python -m llmthrift_core.cli.run" in done.stderr
    assert run("--help", cwd=tmp_path).stdout.startswith("usage: ")

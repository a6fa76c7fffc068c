"""The magics of notebooks, in a real IPython shell."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("IPython")
SESSION = r"""
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()

def cell(text):
    ran = shell.run_cell(text)
    print("-----", type(ran.error_in_exec).__name__, ran.error_in_exec if ran.error_in_exec else "", sep="|")

cell("%load_ext llmthrift_core.notebook")
cell("from llmthrift_core import Thrift, Usage, attribute\nledger = Thrift('calls.db')")
cell("ledger.ledger.record('gpt-4o', Usage(input_tokens=1_000_000))")
cell(
    "%%meter\n"
    "for feature in ('chat', 'chat', 'search'):\n"
    "    with attribute(feature=feature):\n"
    "        _ = ledger.ledger.record('gpt-4o-mini', Usage(input_tokens=1_000_000))\n"
)
cell("%%meter feature\nwith attribute(feature='mail'):\n    _ = ledger.ledger.record('gpt-4o', Usage(output_tokens=1_000_000))")
cell("%%meter\n1 / 0")
cell("%thrift report feature")
cell("%thrift savings baseline=gpt-4o")
cell("%thrift close")
cell("%thrift")
cell("found = %thrift report model\nprint(found.total['cost_usd'])")
"""


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook")
    environment = {**os.environ, "IPYTHONDIR": str(folder), "PYTHONPATH": os.pathsep.join(sys.path), "NO_COLOR": "1", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SESSION], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("-----|")


def test_a_cell_shows_what_it_spent_by_model(cells):
    shown = cells[3]
    assert "gpt-4o-mini" in shown
    assert "$0.4500" in shown  # three times a million tokens at $0.15
    assert "$2.50" not in shown, "a call before the cell is not its own"


def test_it_groups_by_what_is_named(cells):
    assert "mail" in cells[4]
    assert "$10.00" in cells[4]
    assert "search" not in cells[4]


def test_a_cell_that_fails_shows_its_error_and_no_table(cells):
    assert "ZeroDivisionError" in cells[5]
    assert "requests" not in cells[5]


def test_reports_are_shown_as_tables(cells):
    assert all(feature in cells[6] for feature in ("chat", "search", "mail"))
    assert "$" in cells[7]
    assert cells[8].startswith("NoneType|")
    assert "there is none named 'close'" in cells[9]
    assert "there is none named ''" in cells[10]
    assert "12.95" in cells[10]

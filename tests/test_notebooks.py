"""The notebooks keep what they print, without what changes from run to run, and `notebooks/run.py` tells what is printed otherwise."""

from __future__ import annotations

import copy
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(ROOT.glob("*.ipynb"))


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("notebooks_run", ROOT / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_kept_without_what_changes(path: Path) -> None:
    notebook = read(path)
    told = outputs(notebook)
    assert len(told) >= 5
    assert [output for output in told if output.output_type == "error"] == []
    assert {cell.execution_count for cell in notebook.cells if cell.cell_type == "code"} == {None}
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"/(?:home|root|tmp|work|Users)/\S+|127\.0\.0\.1:\d+", text) == []


WITH_CHARTS = [path for path in NOTEBOOKS if "Chart(" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", WITH_CHARTS, ids=lambda path: path.stem)
def test_charts_are_pictures_that_need_no_network(path: Path) -> None:
    pictures = [output.data["image/svg+xml"] for output in outputs(read(path)) if "image/svg+xml" in output.get("data", {})]
    assert pictures
    for picture in pictures:
        assert picture.startswith("<svg")
        assert re.findall(r"(?:href|src)=[\"']https?:", picture) == []
    assert "cdn.jsdelivr" not in path.read_text(encoding="utf-8")


def test_what_is_printed_otherwise_is_told(runner: ModuleType) -> None:
    kept = read(ROOT / "budgets.ipynb")
    ran = copy.deepcopy(kept)
    assert runner.differences(kept, ran) == []
    cell = next(cell for cell in ran.cells if cell.cell_type == "code" and any(each.output_type == "stream" for each in cell.outputs))
    stream = next(each for each in cell.outputs if each.output_type == "stream")
    stream.text += "and more\n"
    assert "    +and more" in runner.differences(kept, ran)
    for each in (kept, ran):
        each.cells[ran.cells.index(cell)].metadata["tags"] = ["varies"]
    assert runner.differences(kept, ran) == []


def test_what_changes_is_left_out(runner: ModuleType) -> None:
    told = "/tmp/xyz/bare.db run 01a230799dd7676925ce300000000001 at http://127.0.0.1:4711/v1 {'age_seconds': 0.012} 2026-12-01 08:10 UTC"
    assert runner.steady(told, "/tmp/xyz") == "bare.db run … at http://127.0.0.1:…/v1 {'age_seconds': …} …"

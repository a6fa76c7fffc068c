"""Every benchmark compiles, and every name of llmthrift and of other benchmarks that it imports is there."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "benchmarks").rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=[path.relative_to(ROOT).as_posix() for path in FILES])
def test_what_it_imports_is_there(path):
    source = path.read_text(encoding="utf-8")
    compile(source, str(path), "exec")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for name in (alias.name for alias in node.names if alias.name.startswith("llmthrift")):
                importlib.import_module(name)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("llmthrift"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "benchmarks":
            _check_benchmark(node)


def _check_benchmark(node: ast.ImportFrom) -> None:
    """A benchmark is read and not imported: some need packages that the suite does not have."""
    home = ROOT.joinpath(*str(node.module).split("."))
    for alias in node.names:
        if home.with_suffix(".py").exists():
            tree = ast.parse(home.with_suffix(".py").read_text(encoding="utf-8"))
            assert alias.name in set(_defined(tree)), f"{node.module} defines no {alias.name}"
        else:
            assert (home / f"{alias.name}.py").exists(), f"there is no {node.module}.{alias.name}"


def _defined(tree: ast.Module):
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (each.id for target in node.targets for each in ast.walk(target) if isinstance(each, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)


def test_there_are_benchmarks():
    assert len(FILES) >= 25

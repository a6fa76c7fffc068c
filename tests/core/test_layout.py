"""The floor plan: no circle of imports, `Thrift` on top, few files in the hall, the same rooms in both adapters.

Every import counts: at the top of a module, inside a function, and for annotations alone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("llmthrift_core", "llmthrift_langchain", "llmthrift_llamaindex")
SHARED_ROOMS = (
    "call",
    "codec",
    "embeddings",
    "handler",
    "identity",
    "messages",
    "outgoing",
    "replay",
    "response",
    "router",
    "runs",
    "semantic",
)
SHARED_ROOMS += ("thrifty_model", "tiers", "usage")


@cache
def _files() -> dict[str, Path]:
    """The modules of the product."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            if "migrations" not in path.parts:
                found[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = path
    return found


@cache
def _imports() -> dict[str, set[str]]:
    """By module, the modules that it imports, wherever it does."""
    return {module: set(_imported_by(module, path)) - {module} for module, path in _files().items()}


def _imported_by(module: str, path: Path) -> Iterator[str]:
    files = _files()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in files)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} imports relatively"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in files or node.module in files:
                    yield whole if whole in files else str(node.module)


def _circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules that reach each other: Tarjan's strongly connected components."""
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    circles = []

    def visit(module: str) -> None:
        numbers[module] = lowest[module] = len(numbers)
        path.append(module)
        for other in imports.get(module, ()):
            if other not in numbers:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in path:
                lowest[module] = min(lowest[module], numbers[other])
        if lowest[module] == numbers[module]:
            place = path.index(module)
            if len(group := path[place:]) > 1:
                circles.append(sorted(group))
            del path[place:]

    for module in imports:
        if module not in numbers:
            visit(module)
    return circles


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert _circles(_imports()) == []


@pytest.mark.parametrize(
    ("imports", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"a"}, "c": {"a"}}, [["a", "b"]]),
        ({"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": {"e"}, "e": {"d"}}, [["d", "e"], ["a", "b", "c"]]),
    ],
)
def test_circles_are_found(imports: dict[str, set[str]], expected: list[list[str]]) -> None:
    assert _circles(imports) == expected


def test_nothing_of_core_but_its_programs_knows_thrift() -> None:
    programs = ("llmthrift_core", "llmthrift_core.cli", "llmthrift_core.demo", "llmthrift_core.notebook", "llmthrift_core.service")
    below = [
        module
        for module, imported in _imports().items()
        if module.startswith("llmthrift_core") and "llmthrift_core.thrift" in imported and ".".join(module.split(".")[:2]) not in programs
    ]
    assert below == []


def test_the_hall_is_small() -> None:
    assert len(list((ROOT / "llmthrift_core").glob("*.py"))) <= 15


def test_no_file_is_too_long_to_read() -> None:
    lengths = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in _files().items()}
    assert {module: lines for module, lines in lengths.items() if lines > 500} == {}


@pytest.mark.parametrize("package", PACKAGES[1:])
def test_both_adapters_have_the_same_rooms(package: str) -> None:
    assert [room for room in SHARED_ROOMS if f"{package}.{room}" not in _files()] == []

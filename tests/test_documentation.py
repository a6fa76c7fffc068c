"""Every Python block of the README and of the pages in docs/ runs as it stands, and prints what the page says that it prints."""

from __future__ import annotations

import atexit
import doctest
import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langchain_core.globals import set_llm_cache
from llama_index.core import Settings

from llmthrift_core import PriceCatalog, Usage
from tests.contracts.doors import uninstall_handlers
from tools.draw_layers import drawing

_VALKEY = "valkey://localhost:6379/0"
_ROOT = Path(__file__).parent.parent
PAGES = [_ROOT / "README.md", *sorted((_ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)
_TOML = re.compile(r"^```toml\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_WIDE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Program:
    """The blocks of one page, which run in order in one namespace, with what each prints where the page shows it."""

    page: Path
    blocks: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return str(self.page.relative_to(_ROOT))


PROGRAMS = [Program(page, tuple(blocks)) for page in PAGES if (blocks := _BLOCK.findall(page.read_text(encoding="utf-8")))]


def _at_the_end_of_the_page(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], Any]]:
    """What a GPTCache does when the interpreter ends: its files are gone by then."""
    register, found = atexit.register, list[Callable[[], Any]]()

    def registered(function: Callable[..., Any], *given: Any, **options: Any) -> Callable[..., Any]:
        if function.__module__.startswith("gptcache."):
            found.append(function)
            return function
        return register(function, *given, **options)

    monkeypatch.setattr(atexit, "register", registered)
    return found


@pytest.mark.loopback
@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_a_page_prints_what_it_says(program, provider, tmp_path, monkeypatch, capsys, request):
    leaving = _at_the_end_of_the_page(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("OPENAI_BASE_URL", provider.openai_url)
    monkeypatch.setenv("OPENAI_API_BASE", provider.openai_url)  # LlamaIndex's name for it
    scope: dict[str, object] = {"__name__": "__main__"}
    try:
        for number, (block, expected) in enumerate(program.blocks, start=1):
            if _VALKEY in block:
                block = block.replace(_VALKEY, request.getfixturevalue("valkey_url"))
            exec(compile(block, f"{program}, block {number}", "exec"), scope)
            printed = capsys.readouterr().out
            if expected:
                assert doctest.OutputChecker().check_output(expected, printed, _WIDE), f"{program}, block {number} printed:\n{printed}"
    finally:
        set_llm_cache(None)
        uninstall_handlers()
        Settings._llm = None
        for value in scope.values():
            if type(value).__name__ == "Thrift":
                value.close()
        for leave in leaving:
            leave()


GUIDES = [page for page in PAGES if page.parent.name != "reference" and page.name not in ("changelog.md", "contributing.md")]


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_a_page_says_in_its_first_lines_what_it_is_for(page):
    title, first, *_ = re.split(r"\n\n+", page.read_text(encoding="utf-8"))
    assert title.startswith("# ")
    assert re.match(r"[A-Z`]|\!\[|llmthrift ", first), first
    assert not first.startswith("```")


def test_most_blocks_say_what_they_print():
    shown = [bool(expected) for program in PROGRAMS for _, expected in program.blocks]
    assert len(shown) >= 50
    assert sum(shown) >= 0.75 * len(shown)


def test_the_headline_is_the_figure_of_the_whole_workload():
    said = re.search(
        r"\*\*([\d.]+)% of the dollars saved at ([\d.]+)% of the quality\*\*: ([\d,]+) mixed", PAGES[0].read_text(encoding="utf-8")
    )
    page = (_ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8").partition("## The whole")[2].partition("\n## ")[0]
    every = re.search(r"^\| all \| ([\d,]+) \|.*\| ([\d.]+)% \([^|]*\|", page, re.MULTILINE)
    nothing_off = re.search(r"^\| nothing \| ([\d.]+)% \|[^|]*\| ([\d.]+)% ", page, re.MULTILINE)
    assert said
    assert every
    assert nothing_off
    assert said[1] == every[2] == nothing_off[1]
    assert float(said[2]) == round(float(nothing_off[2]), 1)
    assert said[3] == every[1]


def test_the_drawing_is_that_of_the_code():
    page = (_ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    assert drawing() in page, "draw it again: python -m tools.draw_layers"


@pytest.mark.parametrize(
    "module",
    [
        "llmthrift_core",
        "llmthrift_core.batching",
        "llmthrift_core.alerts",
        "llmthrift_core.auditing",
        "llmthrift_core.cache",
        "llmthrift_core.decisions",
        "llmthrift_core.exporters",
        "llmthrift_core.prompts",
        "llmthrift_core.prompt_caching",
        "llmthrift_core.quality",
        "llmthrift_core.routing",
        "llmthrift_core.service",
        "llmthrift_core.testing",
        "llmthrift_core.versions",
        "llmthrift_langchain",
        "llmthrift_llamaindex",
    ],
)
def test_the_reference_has_every_public_name(module):
    pages = "".join(page.read_text(encoding="utf-8") for page in (_ROOT / "docs/reference").glob("*.md"))
    named = set(re.findall(rf"^::: {re.escape(module)}\.(\w+)$", pages, re.MULTILINE))
    assert named == set(importlib.import_module(module).__all__)


def test_the_page_of_commands_has_every_command():
    from typer.main import get_command

    from llmthrift_core.cli.app import app

    page = (_ROOT / "docs/cli.md").read_text(encoding="utf-8")
    for name, command in get_command(app).commands.items():
        line = next((line for line in page.splitlines() if line.startswith(f"| `llmthrift {name}")), "")
        assert line, name
        for inner in getattr(command, "commands", {}):
            assert f"`{inner}" in line or f" {inner}" in line, f"{name} {inner}"


def test_an_index_for_programs_has_every_page():
    index = (_ROOT / "docs/llms.txt").read_text(encoding="utf-8")
    pages = {str(page.relative_to(_ROOT / "docs").with_suffix(".html")) for page in (_ROOT / "docs").rglob("*.md")}
    assert pages - set(re.findall(r"\(([\w/-]+\.html)\)", index)) == {"index.html", "changelog.html", "contributing.html"}


@pytest.mark.parametrize("block", [block for page in PAGES for block in _TOML.findall(page.read_text(encoding="utf-8"))])
def test_a_price_file_is_read(block, tmp_path):
    file = tmp_path / "prices.toml"
    file.write_text(block, encoding="utf-8")
    catalog = PriceCatalog(overrides=file)
    for model in re.findall(r'^\["?([^"\]]+)', block, re.MULTILINE):
        assert catalog.cost(Usage(input_tokens=1_000, output_tokens=1_000), model).usd > 0

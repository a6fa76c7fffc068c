"""An audit of a project: its files are read, checked, and never imported or run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from llmthrift_core.auditing.attempts import find_amplified_costs
from llmthrift_core.auditing.findings import RULES, Finding, Remark
from llmthrift_core.auditing.loops import find_unbounded_loops
from llmthrift_core.auditing.model_names import UnpricedNames, find_doubtful_models
from llmthrift_core.auditing.model_uses import ModelUses
from llmthrift_core.auditing.module import Module
from llmthrift_core.auditing.output_limits import find_streams_without_usage, find_unlimited_outputs
from llmthrift_core.auditing.report import AuditReport
from llmthrift_core.auditing.sources import Source, UnreadableSourceError, find_files, read_source
from llmthrift_core.auditing.steps import find_unlimited_agents
from llmthrift_core.auditing.volatile import find_broken_prefixes, find_volatile_cache_keys
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.pricing.catalog import PriceCatalog

PACKAGES: Final = (
    "lang",
    "llama_index",
    "openai",
    "anthropic",
    "google",
    "vertexai",
    "litellm",
    "groq",
    "together",
    "deepagents",
    "llmthrift",
)
"""Beginnings of the names of packages that ask models. A file that imports none of them has nothing to find."""


def audit_project(
    path: str | Path,
    *,
    exclude: Sequence[str] = (),
    prices: PriceCatalog | None = None,
    today: Callable[[], date] | None = None,
) -> AuditReport:
    """Look for what makes model calls cost more than they need to.

    Args:
        path: a folder, a Python file or a notebook. Folders of environments and builds are left out.
        exclude: patterns of files and folders to leave out, such as `tests` or `docs/*.py`.
        prices: for names and worst cases; None is the list of today.
        today: for models with a last day; None is the clock.

    Raises:
        ConfigurationError: there is nothing at this path.
    """
    root = Path(path)
    if not root.exists():
        raise ConfigurationError(f"there is no file or folder {str(path)!r} to audit")
    catalog = prices or PriceCatalog()
    unpriced = UnpricedNames(catalog)
    day = today or (lambda: datetime.now(UTC).date())
    findings: list[Finding] = []
    files = 0
    for file, relative in find_files(root, exclude):
        files += 1
        try:
            source = read_source(file, relative)
            findings += _audit_source(source, catalog, unpriced, day)
        except UnreadableSourceError as error:
            findings.append(Finding("syntax-error", "error", relative, error.line, error.column, error.message, file_line=error.line))
    findings.sort(key=lambda finding: finding.order)
    return AuditReport(tuple(findings), files)


def _audit_source(source: Source, prices: PriceCatalog, unpriced: UnpricedNames, today: Callable[[], date]) -> list[Finding]:
    """The findings of one file.

    Raises:
        UnreadableSourceError: it is no Python.
    """
    try:
        tree = source.parse()
    except UnreadableSourceError as error:
        cell, line, file_line = source.locate(error.line)
        return [Finding("syntax-error", "error", source.path, line, error.column, error.message, cell, file_line)]
    if not any(package in source.text for package in PACKAGES) and "chat.completions.create" not in source.text:
        return []
    module = Module(tree)
    if not any(package.startswith(PACKAGES) for package in module.packages) and "chat.completions.create" not in source.text:
        return []
    found: dict[tuple[str, int, int], Finding] = {}
    lines = [*source.text.replace("\f", " ").splitlines(), ""]
    try:
        for remark in _remarks(ModelUses(module), prices, unpriced, today):
            node = remark.node
            statement = module.statement(node)
            first = node.lineno if statement is None or hasattr(statement, "body") else statement.lineno
            last = node.lineno if hasattr(node, "body") else node.end_lineno or node.lineno
            if not source.is_ignored(remark.rule, first, last):
                cell, line, file_line = source.locate(node.lineno)
                level = remark.level or RULES[remark.rule].level
                column = len(lines[node.lineno - 1].encode()[: node.col_offset].decode(errors="ignore")) + 1
                finding = Finding(remark.rule, level, source.path, line, column, remark.message, cell, file_line)
                found.setdefault((remark.rule, node.lineno, node.col_offset), finding)
    except RecursionError:
        found["syntax-error", 1, 1] = Finding("syntax-error", "error", source.path, 1, 1, "expressions are nested too deeply to be checked")
    return list(found.values())


def _remarks(uses: ModelUses, prices: PriceCatalog, unpriced: UnpricedNames, today: Callable[[], date]) -> Iterator[Remark]:
    yield from find_unlimited_outputs(uses)
    yield from find_streams_without_usage(uses)
    yield from find_unlimited_agents(uses)
    yield from find_unbounded_loops(uses)
    yield from find_amplified_costs(uses, prices)
    yield from find_volatile_cache_keys(uses)
    yield from find_broken_prefixes(uses)
    yield from find_doubtful_models(uses, unpriced, today)

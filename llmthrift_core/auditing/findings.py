"""Rules and findings of an audit."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, get_args

Level = Literal["error", "warning", "note"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)  # the gravest first


@dataclass(frozen=True)
class Rule:
    """One kind of finding.

    Attributes:
        id: its name, for comments and for SARIF.
        level: how grave a finding usually is.
        title: what is wrong, in a few words.
        help: why it costs money, and what to do.
    """

    id: str
    level: Level
    title: str
    help: str


RULES: Final = {
    rule.id: rule
    for rule in (
        Rule(
            "no-output-limit",
            "warning",
            "A model call without a limit on its output",
            "Without a limit an answer may be as long as the model allows, and output is the dearest part of most bills. "
            "Pass the limit that the answer needs.",
        ),
        Rule(
            "no-step-limit",
            "warning",
            "An agent without a limit on its steps",
            "Each step sends the whole history again, so the cost grows with the square of the steps. "
            "State a limit on steps, or a budget for the run.",
        ),
        Rule(
            "loop-without-budget",
            "warning",
            "Model calls in a loop that nothing bounds",
            "A loop that does not end by itself spends until somebody notices. Count its rounds, or set a budget.",
        ),
        Rule(
            "worst-case-cost",
            "warning",
            "Retries, fallbacks and choices multiply the cost",
            "Retries of a client, of a chain, fallbacks and choices multiply each other. Retry in one place.",
        ),
        Rule(
            "volatile-cache-key",
            "warning",
            "A cached model is asked with text that differs each time",
            "A time, a random number or an id in a prompt makes every request a new one: the cache never answers. "
            "Leave it out, round it, or give it to a tool.",
        ),
        Rule(
            "volatile-prefix",
            "warning",
            "Volatile text before static text in a system prompt",
            "Providers cache the beginning of a prompt as long as it is the same. Put what changes behind what stays.",
        ),
        Rule(
            "stream-without-usage",
            "warning",
            "A stream that does not report its usage",
            "Without usage in its last chunk the cost of a stream is only estimated. Ask for it.",
        ),
        Rule(
            "deprecated-model",
            "warning",
            "A model that its provider has withdrawn or will withdraw",
            "Calls fail after the model's last day, or are answered by another model at another price. Name a newer one.",
        ),
        Rule(
            "unpriced-model",
            "warning",
            "A model without a known price",
            "Calls of a model without a price count against no budget in dollars. Correct the name, or state the price.",
        ),
        Rule(
            "syntax-error",
            "error",
            "A file that cannot be read as Python",
            "Nothing in the file was checked. Correct it, or leave the file out with --exclude.",
        ),
    )
}


@dataclass(frozen=True)
class Finding:
    """One finding at one place.

    Attributes:
        rule: the id of its rule.
        level: "error", "warning" or "note".
        path: the file, relative to what was audited, with slashes.
        line, column: where it begins, from 1. In a notebook the line of the cell.
        message: what is wrong here, and what to do.
        cell: the number of the notebook's code cell, from 1.
        file_line: the line of the file itself, which differs from `line` in a notebook.
    """

    rule: str
    level: Level
    path: str
    line: int
    column: int
    message: str
    cell: int | None = None
    file_line: int = 1

    @property
    def place(self) -> str:
        """Path, cell, line and column, as editors read them."""
        cell = "" if self.cell is None else f"cell {self.cell}:"
        return f"{self.path}:{cell}{self.line}:{self.column}"

    @property
    def order(self) -> tuple[str, int, int, int, str]:
        """By which findings are sorted: path, cell, line, column, rule."""
        return self.path, self.cell or 0, self.line, self.column, self.rule

    def under(self, root: Path) -> Finding:
        """The same with the path below what was audited, for reports of several."""
        return replace(self, path=root.as_posix() if root.is_file() else (root / self.path).as_posix())

    def to_text(self) -> str:
        """One line."""
        return f"{self.place}: {self.level}[{self.rule}] {self.message}"


@dataclass(frozen=True)
class Remark:
    """A finding before its place is known. Without a level it has its rule's."""

    rule: str
    node: ast.expr | ast.stmt
    message: str
    level: Level | None = None

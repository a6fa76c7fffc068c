"""Remarks of a check about one node of a file."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from llmthrift_core.auditing.findings import Level


@dataclass(frozen=True)
class Remark:
    """A finding before its place is known. Without a level it has its rule's."""

    rule: str
    node: ast.expr | ast.stmt
    message: str
    level: Level | None = None

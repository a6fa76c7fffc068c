"""Draws the layers of llmthrift_core as text, from the import contract and the imports themselves.

python -m tools.draw_layers          # draws docs/architecture.md anew
"""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_PACKAGE = "llmthrift_core"
_WIDTH = 78


def layers() -> list[list[str]]:
    """The layers of the contract, top down, each with its rooms."""
    contracts = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    given = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[room.strip() for room in layer.split("|")] for layer in given]


def importers() -> dict[str, int]:
    """By room, how many other rooms import it."""
    found: dict[str, set[str]] = {}
    for path in (_ROOT / _PACKAGE).rglob("*.py"):
        room = path.relative_to(_ROOT / _PACKAGE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{_PACKAGE}."):
                found.setdefault(str(node.module).split(".")[1], set()).add(room)
    return {room: len(rooms - {room, "__init__"}) for room, rooms in found.items()}


def drawing() -> str:
    """The layers as boxes, one above the other: what stands higher imports what stands lower, and never the other way round."""
    known = importers()
    line = "+" + "-" * (_WIDTH - 2) + "+"
    drawn = [line]
    for layer in layers():
        row = ""
        for room in layer:
            cell = f"{room} {known.get(room, 0)}"
            if row and len(row) + len(cell) + 3 > _WIDTH - 4:
                drawn.append(f"| {row.ljust(_WIDTH - 4)} |")
                row = ""
            row = f"{row} | {cell}" if row else cell
        drawn += [f"| {row.ljust(_WIDTH - 4)} |", line]
    return "\n".join(drawn)


def redraw(page: Path = _ROOT / "docs/architecture.md") -> None:
    """Replaces the drawing of a page by that of the code."""
    lines = page.read_text(encoding="utf-8").split("\n")
    boxes = [number for number, line in enumerate(lines) if line.startswith("+--")]
    lines[boxes[0] : boxes[-1] + 1] = drawing().split("\n")
    page.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    redraw()
    print(drawing())

"""Execute every notebook from top to bottom, and hold what it prints against the outputs that are kept in it.

    python notebooks/run.py [--write] [NAME ...]

`--write` keeps the outputs of this run instead, without what changes from run to run: counts of executions, times, ids, folders, ports. A
cell that is tagged "varies" is only compared by the kinds of its outputs, and so are pictures.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
TIMEOUT_SECONDS = 300
# What is written instead of what changes: each pattern with its replacement.
_CHANGING: Final = (
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "…"),
    (re.compile(r"\b[0-9a-f]{24,64}\b"), "…"),
    (re.compile(r"\bchatcmpl-[0-9a-f]+\b"), "chatcmpl-…"),
    (re.compile(r"(127\.0\.0\.1|localhost):\d+"), r"\1:…"),
    (re.compile(r"(_seconds['\"]?[:=] ?)\d[\d.e-]*"), r"\1…"),
    (re.compile(r"\b0x[0-9a-f]{6,}\b"), "0x…"),
    (re.compile(r"(/[\w.+-]+)+/(site-packages|llmthrift_\w+)/"), r"\2/"),
    (re.compile(r"\b20\d\d-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?( UTC|[+-]\d\d:\d\d|Z)?"), "…"),
)
# Runs before each notebook: a chart is kept as a picture, for which nobody who looks at it needs a network. A reader's own font may be a
# fifth wider than the one that is measured here, so legends have room to their right, and labels of an axis stand apart.
_AS_PICTURES: Final = """\
import altair
altair.renderers.enable("svg")
@altair.theme.register("with room", enable=True)
def _with_room():
    axis = {"labelFlush": False, "labelOverlap": "greedy", "labelSeparation": 12}
    view = {"continuousWidth": 300, "continuousHeight": 300}
    return {"config": {"view": view, "axis": axis, "padding": {"left": 12, "top": 5, "right": 40, "bottom": 5}}}
del altair, _with_room
"""
_PICTURES: Final = ("image/svg+xml", "image/png")
_DROPPED: Final = ("application/vnd.vegalite.v5+json", "application/vnd.vegalite.v6+json")


def main() -> int:
    """Execute the named notebooks, or all. Returns how many print something else than they keep."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--write", action="store_true", help="keep the outputs of this run")
    options.add_argument("names", nargs="*")
    given = options.parse_args()
    differing = 0
    for path in [HERE / name for name in given.names] or sorted(HERE.glob("*.ipynb")):
        started = time.perf_counter()
        kept = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        ran = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        with tempfile.TemporaryDirectory() as folder:
            ran.cells.insert(0, nbformat.v4.new_code_cell(_AS_PICTURES))  # type: ignore[no-untyped-call]
            NotebookClient(ran, timeout=TIMEOUT_SECONDS, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
            del ran.cells[0]
            strip(ran, folder)
        took = f"{len(ran.cells)} cells in {time.perf_counter() - started:.1f} s"
        if given.write:
            nbformat.write(ran, path)  # type: ignore[no-untyped-call]
            print(f"{path.name}: {took}, written")
            continue
        told = list(differences(kept, ran))
        differing += bool(told)
        print(f"{path.name}: {took}{', DIFFERENT' if told else ''}", *told, sep="\n")
    if differing:
        print("Look whether what changed is meant; then: python notebooks/run.py --write")
    return differing


def strip(notebook: Any, folder: str) -> None:
    """Leave out of a notebook that was run what changes from run to run."""
    notebook.metadata = {"kernelspec": notebook.metadata.get("kernelspec", {}), "language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata = {name: value for name, value in cell.metadata.items() if name == "tags"}
        if cell.cell_type != "code":
            continue
        cell.execution_count = None
        outputs: list[Any] = []
        for output in cell.outputs:
            if output.output_type == "stream" and outputs and outputs[-1].output_type == "stream" and outputs[-1].name == output.name:
                outputs[-1].text += steady(output.text, folder)  # how a stream is cut is chance
            elif output.output_type == "stream":
                output.text = steady(output.text, folder)
                outputs.append(output)
            else:
                if "execution_count" in output:
                    output.execution_count = None
                output.metadata = {}
                data = output.get("data", {})
                for kind in [*_DROPPED, *(["text/plain"] if any(picture in data for picture in _PICTURES) else [])]:
                    data.pop(kind, None)
                for kind, value in data.items():
                    if isinstance(value, str) and kind.startswith("text/"):
                        data[kind] = steady(value, folder)
                outputs.append(output)
        cell.outputs = outputs


def steady(text: str, folder: str) -> str:
    """A text without what changes from run to run."""
    text = text.replace(f"{Path(folder).resolve()}/", "").replace(f"{folder}/", "")
    for pattern, replacement in _CHANGING:
        text = pattern.sub(replacement, text)
    return text


def differences(kept: Any, ran: Any) -> list[str]:
    """What a run printed otherwise than what was kept, as a difference of lines for each cell."""
    found: list[str] = []
    for number, (before, now) in enumerate(zip(kept.cells, ran.cells, strict=True)):
        if before.cell_type != "code":
            continue
        one, other = (_told(cell.outputs, varies="varies" in cell.metadata.get("tags", ())) for cell in (before, now))
        if one != other:
            found += [
                f"  cell {number}:",
                *(f"    {line}" for line in difflib.unified_diff(one, other, "kept", "printed", lineterm="", n=0)),
            ]
    return found


def _told(outputs: Any, *, varies: bool) -> list[str]:
    lines: list[str] = []
    for output in outputs:
        if output.output_type == "stream":
            lines += [f"[{output.name}]"] if varies else output.text.splitlines()
            continue
        for kind, value in sorted(output.get("data", {}).items()):
            is_text = isinstance(value, str) and kind.startswith("text/") and not varies
            lines += value.splitlines() if is_text else [f"[{kind}]"]
    return lines


if __name__ == "__main__":
    sys.exit(main() > 0)

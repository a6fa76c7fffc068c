"""Files of a project: which are read, what they say, and which findings their comments silence."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import tokenize
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

SKIPPED_FOLDERS: Final = frozenset(
    ("__pycache__", "node_modules", "site-packages", "venv", "env", "build", "dist", ".git", ".venv", ".tox", ".nox", ".ipynb_checkpoints")
)
_IGNORE: Final = re.compile(r"#\s*llmthrift:\s*ignore(?:\[([^\]]*)\])?")
_MAGIC: Final = re.compile(r"^(\s*)(?:[%!?].*|[\w.]+\?+\s*)$")


class UnreadableSourceError(Exception):
    """A file that is not Python: where it goes wrong, and why. It becomes a finding."""

    def __init__(self, message: str, *, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.message, self.line, self.column = message, max(1, line), max(1, column)


@dataclass(frozen=True)
class Source:
    """The Python of one file.

    Attributes:
        path: relative to what is audited, with slashes.
        text: the code; of a notebook that of its code cells, one after the other.
        places: of a notebook, by line of `text`: cell, line of the cell, line of the file.
    """

    path: str
    text: str
    places: list[tuple[int, int, int]] | None = None
    _ignored: dict[int, frozenset[str] | None] = field(default_factory=dict, init=False)

    def parse(self) -> ast.Module:
        """The code as a tree. Nothing is run.

        Raises:
            UnreadableSourceError: it is no Python.
        """
        flags = ast.PyCF_ONLY_AST | (ast.PyCF_ALLOW_TOP_LEVEL_AWAIT if self.places is not None else 0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "\d" in the audited code is not our matter
                tree = compile(self.text, self.path, "exec", flags, dont_inherit=True)
        except SyntaxError as error:
            raise UnreadableSourceError(str(error.msg), line=error.lineno or 1, column=error.offset or 1) from None
        except (ValueError, RecursionError, MemoryError, OverflowError) as error:
            raise UnreadableSourceError(str(error) or type(error).__name__) from None
        if not isinstance(tree, ast.Module):
            raise UnreadableSourceError("not a module")
        self._read_comments()
        return tree

    def is_ignored(self, rule: str, first: int, last: int) -> bool:
        """Does a comment on one of these lines silence the rule?"""
        return any(line in self._ignored and ((rules := self._ignored[line]) is None or rule in rules) for line in range(first, last + 1))

    def locate(self, line: int) -> tuple[int | None, int, int]:
        """Cell, line to show, and line of the file."""
        if self.places is None:
            return None, line, line
        return self.places[min(line, len(self.places)) - 1] if self.places else (1, 1, 1)

    def _read_comments(self) -> None:
        if "llmthrift:" not in self.text:
            return
        try:
            for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
                if token.type == tokenize.COMMENT and (found := _IGNORE.search(token.string)):
                    rules = found.group(1)
                    self._ignored[token.start[0]] = None if rules is None else frozenset(rule.strip() for rule in rules.split(","))
        except (tokenize.TokenError, SyntaxError):  # what ast accepts and tokenize does not: no comment counts
            return


def find_files(root: Path, exclude: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """The Python files and notebooks below a folder, sorted, each with its path relative to it. A file is taken as it is."""
    if root.is_file():
        yield root, root.name
        return
    for folder, folders, files in os.walk(root):
        at = Path(folder).relative_to(root)
        folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS and not _is_excluded((at / name).as_posix(), exclude))
        for name in sorted(files):
            relative = (at / name).as_posix()
            if name.endswith((".py", ".ipynb")) and not _is_excluded(relative, exclude):
                yield Path(folder, name), relative


def _is_excluded(relative: str, exclude: Sequence[str]) -> bool:
    parts = relative.split("/")
    return any(fnmatch(relative, pattern.rstrip("/")) or any(fnmatch(part, pattern.rstrip("/")) for part in parts) for pattern in exclude)


def read_source(file: Path, relative: str) -> Source:
    """A file's code.

    Raises:
        UnreadableSourceError: it cannot be opened, decoded, or is no notebook.
    """
    try:
        content = file.read_bytes()
        if file.suffix == ".ipynb":
            return _notebook(content.decode("utf-8-sig"), relative)
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        text = io.TextIOWrapper(io.BytesIO(content), encoding).read()
    except (OSError, UnicodeError, SyntaxError, LookupError) as error:
        raise UnreadableSourceError(f"the file cannot be read: {error}") from None
    return Source(relative, text)


def _notebook(text: str, relative: str) -> Source:
    try:
        cells = _code_cells(json.loads(text))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        raise UnreadableSourceError("this is no notebook") from None
    raw, at = text.splitlines(), 0
    lines: list[str] = []
    places: list[tuple[int, int, int]] = []
    for number, cell in enumerate(cells, start=1):
        for line_number, line in enumerate(cell.splitlines(), start=1):
            written = json.dumps(line, ensure_ascii=False)[1:-1], json.dumps(line)[1:-1]
            found = next((index for index in range(at, len(raw)) if line and any(form in raw[index] for form in written)), None)
            at = at if found is None else found + 1
            lines.append(_MAGIC.sub(r"\1pass", line))
            places.append((number, line_number, max(1, at)))
    return Source(relative, "\n".join(lines) + "\n", places)


def _code_cells(notebook: Any) -> list[str]:
    found = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            source = cell["source"]
            text = source if isinstance(source, str) else "".join(source)
            other_language = text.startswith("%%") and not text.startswith(("%%time", "%%capture", "%%prun"))
            found.append("" if other_language else text)
    return found

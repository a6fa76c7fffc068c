"""Copies of the graphs of scopes, in files beside the database. Loads no numpy."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol


class Saved(Protocol):
    """What a file holds."""

    def save(self, path: Path) -> None: ...

    def load(self, path: Path) -> None: ...


class IndexFiles:
    """The files of one database.

    Args:
        database: the SQLite file; None keeps nothing.
    """

    def __init__(self, database: Path | None) -> None:
        self._folder = None if database is None else database.with_name(database.name + "-semantic")

    def size_bytes(self, scope: bytes) -> int:
        """The size of a file; 0 if there is none."""
        try:
            return 0 if self._folder is None else self._paths(scope)[0].stat().st_size
        except OSError:
            return 0

    def load(self, scope: bytes, index: Saved) -> int:
        """Fill an index from its file. Returns the number of the last entry in it; 0 if there is no file that can be used."""
        if self._folder is None:
            return 0
        graph, note = self._paths(scope)
        try:
            about = json.loads(note.read_text())
            if about["sha256"] != _sha256(graph):
                return 0
            index.load(graph)
            return int(about["last"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def save(self, scope: bytes, index: Saved, last: int) -> None:
        """Write an index that holds every entry up to a number. Trouble with the files is no failure: they are only a copy."""
        if self._folder is None:
            return
        graph, note = self._paths(scope)
        made: Path | None = None
        try:
            self._folder.mkdir(exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._folder)
            os.close(handle)
            made = Path(name)
            index.save(made)
            about = json.dumps({"last": last, "sha256": _sha256(made)})
            # The note goes first and comes last: a reader never takes one file for the other's.
            note.unlink(missing_ok=True)
            made.replace(graph)
            note.write_text(about)
        except OSError:
            if made is not None:
                made.unlink(missing_ok=True)

    def drop(self, scopes: Iterable[bytes]) -> None:
        """Remove the files of scopes, such as those from which entries were removed for good."""
        if self._folder is None:
            return
        for scope in scopes:
            for path in self._paths(scope)[::-1]:
                try:
                    path.unlink(missing_ok=True)
                except OSError:
                    continue

    def _paths(self, scope: bytes) -> tuple[Path, Path]:
        assert self._folder is not None  # noqa: S101 - callers check it
        return self._folder / f"{scope.hex()}.usearch", self._folder / f"{scope.hex()}.json"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

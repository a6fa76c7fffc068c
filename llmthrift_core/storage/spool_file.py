"""`SpoolFile`: lines of JSON in a local file that wait for a store, and outlive the process."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows, which does not rename a file that somebody has open
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger("llmthrift.storage")

_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode


class SpoolFile:
    """JSON objects, one in a line, appended and synced to the disk (fsync) once for each group. Any thread may add; one at a
    time replays.

    Several processes may share one. A file that is being replayed is renamed first and removed when all of it was taken; a process that
    dies in between leaves it to the next one, so that replaying has to change nothing the second time. A line that was cut off by a loss
    of power is passed over. Only the owner may read the file.

    Args:
        path: of the file; it is made when it is needed, in a directory that exists.

    Attributes:
        waits: whether there may be something to replay.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).expanduser().absolute()
        self._numbers = count(1)
        claimed = re.compile(re.escape(self._path.name) + r"\.\d+-\d+\.replaying")
        found = self._path.parent.iterdir() if self._path.parent.is_dir() else ()
        self._claimed = sorted(each for each in found if claimed.fullmatch(each.name))
        self.waits = self._path.exists() or bool(self._claimed)

    def add(self, values: Sequence[dict[str, Any]]) -> None:
        """Append. All of it is on the disk when this returns. Raises OSError."""
        # The first line feed ends a line that was cut off.
        lines = ("\n" + "".join(f"{_encode(value)}\n" for value in values)).encode()
        descriptor = self._opened()
        try:
            while lines:
                lines = lines[os.write(descriptor, lines) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.waits = True

    def batches(self, most: int) -> Iterator[list[dict[str, Any]]]:
        """What waits, up to so many at a time. A file is removed when its last were taken and the next are asked for. Raises OSError."""
        while self._claim():
            batch: list[dict[str, Any]] = []
            with suppress(FileNotFoundError), self._claimed[0].open(encoding="utf-8", errors="replace") as file:  # another process took it
                _wait_for_writers(file.fileno())
                for line in file:
                    if not line.isspace() and (value := _from_line(line)) is not None:
                        batch.append(value)
                    if len(batch) >= most:
                        yield batch
                        batch = []
            if batch:
                yield batch
            self._claimed[0].unlink(missing_ok=True)
            self._claimed.pop(0)
        self.waits = False
        if self._path.exists():  # added meanwhile
            self.waits = True

    def after_fork(self) -> None:
        """In a forked child: the parent replays what waits."""
        self._claimed = []
        self.waits = False

    def _opened(self) -> int:
        """The file, locked while it is the one at the path: it may have been renamed meanwhile."""
        while True:
            is_new = not self._path.exists()
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                if fcntl is not None:
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                if os.path.samestat(os.fstat(descriptor), self._path.stat()):
                    if is_new:
                        _sync_directory(self._path.parent)
                    return descriptor
            except FileNotFoundError:
                pass
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _claim(self) -> bool:
        if not self._claimed:
            claimed = self._path.with_name(f"{self._path.name}.{os.getpid()}-{next(self._numbers)}.replaying")
            with suppress(FileNotFoundError):  # nothing waits, or another process was first
                self._path.rename(claimed)
                self._claimed.append(claimed)
        return bool(self._claimed)


def _wait_for_writers(descriptor: int) -> None:
    # Who opened the file before it was renamed may still be writing; who comes later sees that it was renamed.
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _sync_directory(path: Path) -> None:
    with suppress(OSError):  # not every system can
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _from_line(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    if isinstance(value, dict):
        return value
    logger.error("a line of a spool cannot be read and is passed over")
    return None

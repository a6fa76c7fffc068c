"""`Spool`: a local file for what the database cannot take now, so that it survives the process too.

One JSON object per line, appended and synced to the disk (fsync) once for each group of entries. A file that is being replayed is renamed
first and removed when all of it is in the database; a process that dies in between leaves it to the next one, and calls that were
written already change nothing then. A line that was cut off by a loss of power is passed over.

The file holds what the ledger would: no headers and no keys, and texts only with capture="text". Only its owner may read it.
"""

from __future__ import annotations

import base64
import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any, Final

from llmthrift_core.attribution import FIELDS, Attribution
from llmthrift_core.ledger.entries import Capture, Entry, Feedback, OtherCost
from llmthrift_core.ledger.record import CallRecord

logger = logging.getLogger("llmthrift.ledger")

_KINDS: Final[dict[str, Any]] = {"capture": Capture, "cost": OtherCost, "feedback": Feedback}
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}
_NOT_STORED: Final = frozenset({"attribution", "fill", "question", "lexical_counts"})
_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode


class Spool:
    """Entries in a file. Used by one thread at a time: the writer's, under its lock.

    Args:
        path: of the file; it is made when it is needed, in a directory that exists.

    Attributes:
        waits: whether there may be something to replay.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).expanduser().absolute()
        self._numbers = count(1)
        self._claimed: list[Path] = sorted(self._path.parent.glob(f"{self._path.name}.*.replaying"))
        self.waits = self._path.exists() or bool(self._claimed)

    def add(self, entries: Sequence[Entry]) -> None:
        """Append entries. They are on the disk when this returns. Raises OSError."""
        # The first line feed ends a line that was cut off.
        lines = ("\n" + "".join(f"{_encode(_to_json(entry))}\n" for entry in entries)).encode()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            while lines:
                lines = lines[os.write(descriptor, lines) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.waits = True

    def batches(self, most: int) -> Iterator[list[Entry]]:
        """What waits, up to so many entries at a time. A file is removed when its entries were taken and the next are asked for."""
        if self._path.exists():
            claimed = self._path.with_name(f"{self._path.name}.{os.getpid()}-{next(self._numbers)}.replaying")
            self._path.rename(claimed)
            self._claimed.append(claimed)
        while self._claimed:
            batch: list[Entry] = []
            with self._claimed[0].open(encoding="utf-8") as file:
                for line in file:
                    if not line.isspace() and (entry := _from_line(line)) is not None:
                        batch.append(entry)
                    if len(batch) >= most:
                        yield batch
                        batch = []
            if batch:
                yield batch
            self._claimed[0].unlink(missing_ok=True)
            self._claimed.pop(0)
        self.waits = self._path.exists()

    def after_fork(self) -> None:
        """In a forked child: the parent replays what waits."""
        self._claimed = []
        self.waits = False


def _to_json(entry: Entry) -> dict[str, Any]:
    if isinstance(entry, CallRecord):
        entry.complete()
        values = {name: value for name, value in vars(entry).items() if name not in _NOT_STORED}
        if entry.lexical_counts is not None:
            values["lexical_counts"] = base64.b64encode(entry.lexical_counts).decode()
        return {"entry": "call", **values, "attribution": asdict(entry.attribution)}
    values = entry._asdict()
    if isinstance(entry, OtherCost):
        values["attribution"] = asdict(entry.attribution)
    return {"entry": _NAMES[type(entry)], **values}


def _from_line(line: str) -> Entry | None:
    try:
        values = json.loads(line)
        kind = values.pop("entry")
        if "attribution" in values:
            who = values["attribution"]
            tags = tuple((name, value) for name, value in who["tags"])
            values["attribution"] = Attribution(**{name: who[name] for name in FIELDS}, tags=tags)
        if kind != "call":
            entry: Entry = _KINDS[kind](**values)
            return entry
        record = CallRecord(**{name: values.pop(name) for name in ("request_id", "call_id", "at_us", "model", "provider", "attribution")})
        if (counts := values.pop("lexical_counts", None)) is not None:
            record.lexical_counts = base64.b64decode(counts)
        for name, value in values.items():
            if name in CallRecord.__annotations__:
                setattr(record, name, value)
        return record
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        logger.error("a line of the spool cannot be read and is passed over (%s)", type(error).__name__)
        return None

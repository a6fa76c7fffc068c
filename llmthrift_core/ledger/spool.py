"""`Spool`: a local file for rows that the database cannot take now, so that they survive the process too.

The file holds what the ledger would: no headers and no keys, and texts only with capture="text".
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from llmthrift_core.attribution import FIELDS, Attribution
from llmthrift_core.ledger.record import (
    CallRecord,
    Capture,
    Entry,
    Feedback,
    OtherCost,
)
from llmthrift_core.storage.spool_file import SpoolFile

logger = logging.getLogger("llmthrift.ledger")

_KINDS: Final[dict[str, Any]] = {"capture": Capture, "cost": OtherCost, "feedback": Feedback}
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}
_NOT_STORED: Final = frozenset({"attribution", "fill", "question", "lexical_counts"})


class Spool:
    """Entries in a `SpoolFile`. Used by one thread at a time: the writer's, under its lock.

    Args:
        path: of the file.
    """

    def __init__(self, path: str | Path) -> None:
        self._file = SpoolFile(path)

    @property
    def waits(self) -> bool:
        """Whether there may be something to replay."""
        return self._file.waits

    def add(self, entries: Sequence[Entry]) -> None:
        """Append entries. They are on the disk when this returns. Raises OSError."""
        self._file.add([_to_json(entry) for entry in entries])

    def batches(self, most: int) -> Iterator[list[Entry]]:
        """What waits, up to so many entries at a time. Raises OSError."""
        for batch in self._file.batches(most):
            yield [entry for values in batch if (entry := _from_json(values)) is not None]

    def after_fork(self) -> None:
        """In a forked child: the parent replays what waits."""
        self._file.after_fork()


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


def _from_json(values: dict[str, Any]) -> Entry | None:
    try:
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

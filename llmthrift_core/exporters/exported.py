"""`Exported`: what an export wrote; and the days that it goes by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from llmthrift_core.display import Printed, counted
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.exporters.table_files import Format
from llmthrift_core.moments import DAY_US, MICROSECONDS, Moment, from_us, to_us


@dataclass(frozen=True, repr=False)
class Exported(Printed):
    """What an export wrote.

    Attributes:
        files: the files, in the order of their days.
        skipped: files of whole days that were there already.
        rows: how many rows were written.
        notes: what a reader should know about the numbers.
    """

    files: tuple[Path, ...]
    skipped: tuple[Path, ...] = ()
    rows: int = 0
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """The figures by name."""
        return {
            "files": [str(file) for file in self.files],
            "skipped": [str(file) for file in self.skipped],
            "rows": self.rows,
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """All of it as text."""
        named = str(self.files[0]) if len(self.files) == 1 else counted(len(self.files), "file")
        written = f"{counted(self.rows, 'row')} in {named}" if self.files else "Nothing was written: there are no new rows in this period."
        there = (
            [f"{counted(len(self.skipped), 'file')} of whole days were there already; overwrite writes them again"] if self.skipped else []
        )
        return "\n".join([written, *there, *self.notes])


@dataclass(frozen=True, slots=True)
class Period:
    """The half-open period [since_us, until_us) of an export; None is unbounded."""

    since_us: int | None
    until_us: int | None

    @classmethod
    def of(cls, since: Moment | None, until: Moment | None) -> Period:
        """From what a user gives.

        Raises:
            ConfigurationError: what is no time, or ends before it begins.
        """
        period = cls(None if since is None else to_us(since), None if until is None else to_us(until))
        if period.since_us is not None and period.until_us is not None and period.since_us > period.until_us:
            raise ConfigurationError(f"the period ends before it begins: since {since}, until {until}")
        return period

    def require_whole_days(self) -> None:
        """Refuse a period that begins or ends within a day: the file of that day would be taken for whole.

        Raises:
            ConfigurationError: it does.
        """
        for name, edge_us in (("since", self.since_us), ("until", self.until_us)):
            if edge_us is not None and edge_us % DAY_US:
                at = from_us(edge_us)
                raise ConfigurationError(
                    f"one file for each day needs whole days (UTC), but {name} is {at.isoformat()}; give a date, such as {at:%Y-%m-%d}"
                )

    def days(self, next_us: Callable[[int | None], int | None]) -> Iterator[tuple[date, Period]]:
        """The days (UTC) of the period in which something is recorded, each with its part of the period.

        Args:
            next_us: when the first thing at or after a time was recorded (of all, for None); None where nothing was. Gaps of months are
                stepped over.
        """
        at_us = next_us(self.since_us)
        while at_us is not None and (self.until_us is None or at_us < self.until_us):
            start_us = at_us // DAY_US * DAY_US
            end_us = start_us + DAY_US
            since_us = start_us if self.since_us is None else max(start_us, self.since_us)
            until_us = end_us if self.until_us is None else min(end_us, self.until_us)
            yield from_us(start_us).date(), Period(since_us, until_us)
            at_us = next_us(end_us)


def file_of_day(directory: Path, what: str, day: date, form: Format) -> Path:
    """Where the rows of a day go."""
    return directory / f"{what}-{day.isoformat()}.{form}"


def is_whole(path: Path, day: date) -> bool:
    """Whether a file was written when its day was over."""
    try:
        written_us = int(path.stat().st_mtime * MICROSECONDS)
    except OSError:
        return False
    return written_us >= to_us(day) + DAY_US

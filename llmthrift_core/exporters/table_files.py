"""Files that a table is streamed into: CSV or Parquet, complete or not there at all."""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.exporters.arrow import load_pyarrow, schema_of, table_of
from llmthrift_core.exporters.columns import Column, Values

Format = Literal["csv", "parquet"]
FORMATS: Final[tuple[Format, ...]] = ("csv", "parquet")
_BY_ENDING: Final[dict[str, Format]] = {".csv": "csv", ".csv.gz": "csv", ".parquet": "parquet", ".pq": "parquet"}
# Large enough to compress well, small enough that a reader holds a group in memory.
_ROWS_OF_A_GROUP: Final = 100_000


class TableFile(Protocol):
    """A table under construction."""

    def add(self, values: Sequence[Values]) -> None:
        """Write rows, given as one sequence of values for each column."""

    def close(self) -> None:
        """Write the rest."""


def format_of(path: str | os.PathLike[str], asked: str | None) -> Format:
    """The format that was asked for, else the one that the file's name ends with.

    Raises:
        ConfigurationError: neither says which.
    """
    name = os.fspath(path)
    if asked is not None:
        if asked not in FORMATS:
            raise ConfigurationError(f'format must be "csv" or "parquet", not {asked!r}')
        return "csv" if asked == "csv" else "parquet"
    for ending, form in _BY_ENDING.items():
        if name.lower().endswith(ending):
            return form
    raise ConfigurationError(f'the name {name!r} says no format; end it with .csv, .csv.gz or .parquet, or give format="csv" or "parquet"')


@contextmanager
def open_table(path: Path, form: Format, columns: Sequence[Column]) -> Iterator[TableFile]:
    """Write a table under another name beside it, which becomes the file when all is written. After a failure nothing is left.

    Raises:
        ConfigurationError: the place cannot be written.
        MissingExtraError: Parquet is asked for and pyarrow not installed.
    """
    if form == "parquet":
        load_pyarrow()  # before a file is made
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        table: TableFile = (
            _ParquetFile(unfinished, columns) if form == "parquet" else _CsvFile(unfinished, columns, packed=_is_packed(path))
        )
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror or type(error).__name__}") from None
    try:
        yield table
        table.close()
        os.replace(unfinished, path)
    except BaseException as error:
        with suppress(Exception):
            table.close()
        with suppress(OSError):
            unfinished.unlink()
        if isinstance(error, OSError):
            raise ConfigurationError(f"cannot write {path}: {error.strerror or type(error).__name__}") from None
        raise


def _is_packed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


class _CsvFile:
    def __init__(self, path: Path, columns: Sequence[Column], *, packed: bool) -> None:
        self._columns = columns
        # The names of models and users are in any language; a line feed ends a row on every system.
        if packed:
            self._file: Any = gzip.open(path, "wt", encoding="utf-8", newline="", compresslevel=6)  # noqa: SIM115 - closed below
        else:
            self._file = open(path, "w", encoding="utf-8", newline="")  # noqa: SIM115
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow([column.name for column in columns])

    def add(self, values: Sequence[Values]) -> None:
        texts = [column.as_texts(each) for column, each in zip(self._columns, values, strict=True)]
        self._writer.writerows(zip(*texts, strict=True))

    def close(self) -> None:
        self._file.close()


class _ParquetFile:
    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        pa = load_pyarrow()
        import pyarrow.parquet as parquet

        self._pa = pa
        self._columns = columns
        self._writer = parquet.ParquetWriter(path, schema_of(columns), compression="zstd")
        self._waiting: list[Any] = []
        self._rows = 0

    def add(self, values: Sequence[Values]) -> None:
        table = table_of(self._columns, values)
        self._waiting.append(table)
        self._rows += table.num_rows
        if self._rows >= _ROWS_OF_A_GROUP:
            self._write()

    def close(self) -> None:
        if self._waiting:
            self._write()
        self._writer.close()

    def _write(self) -> None:
        self._writer.write_table(self._pa.concat_tables(self._waiting), row_group_size=_ROWS_OF_A_GROUP)
        self._waiting, self._rows = [], 0

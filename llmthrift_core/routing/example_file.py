"""Examples from a file."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing.example import Example, Examples, checked

_NEEDED: Final = ("prompt", "model", "quality")
_OPTIONAL: Final = ("call_site", "answer")
_FORMATS: Final = (".csv", ".jsonl", ".ndjson")


def examples_of_file(path: str | Path) -> Examples:
    """The examples in a file: CSV with a header, or one JSON object a line, in UTF-8.

    Columns are prompt, model and quality (0 to 1), and where known call_site and answer; others are ignored. A row without a quality
    has no label: it is left out and counted.

    Args:
        path: ends in .csv, .jsonl or .ndjson.

    Raises:
        ConfigurationError: the file cannot be read, or a line of it is no example: which, and why.
    """
    file = Path(path)
    if file.suffix not in _FORMATS:
        raise ConfigurationError(f"examples are read from files that end in {', '.join(_FORMATS)}, not from {str(file)!r}")
    found, unlabelled = Examples(), 0
    try:
        for line, row in (_csv if file.suffix == ".csv" else _json_lines)(file):
            where = f"{file}, line {line}"
            if missing := [name for name in _NEEDED if name not in row]:
                raise ConfigurationError(f"{where}: there is no {' and no '.join(missing)}; it has {', '.join(map(str, row)) or 'nothing'}")
            if row["quality"] in (None, ""):
                unlabelled += 1
                continue
            found.append(_example(row, where))
    except OSError as error:
        raise ConfigurationError(f"cannot read examples from {file}: {error.strerror or type(error).__name__}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file} is not UTF-8: byte {error.start} is {error.object[error.start]:#x}") from None
    if unlabelled:
        found.skipped = {"no quality": unlabelled}
    return found


def _example(row: Mapping[str, Any], where: str) -> Example:
    for name in ("prompt", "model"):
        if row[name] in (None, ""):
            raise ConfigurationError(f"{where}: the {name} is empty")
    try:
        quality = float(row["quality"])
    except (TypeError, ValueError):
        raise ConfigurationError(f"{where}: quality must be a number within 0..1, not {row['quality']!r:.80}") from None
    example = Example(row["prompt"], row["model"], quality, **{name: row.get(name) or None for name in _OPTIONAL})
    try:
        checked([example])
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {str(error).replace('example 0', 'the example')}") from None
    return example


def _csv(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with file.open(encoding="utf-8-sig", newline="") as opened:
        reader = csv.DictReader(opened, strict=True)
        try:
            for row in reader:
                if None in row:
                    raise ConfigurationError(f"{file}, line {reader.line_num}: there are more values than columns in the header")
                yield reader.line_num, row
        except csv.Error as error:
            raise ConfigurationError(
                f"{file}, after line {reader.line_num}: {error}; prompts of any length can be given as JSON lines"
            ) from None


def _json_lines(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with file.open(encoding="utf-8-sig") as opened:
        for number, line in enumerate(opened, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ConfigurationError(f"{file}, line {number}: not JSON: {error}") from None
            if not isinstance(row, dict):
                raise ConfigurationError(f"{file}, line {number}: a JSON object is needed, not {line.strip()!r:.80}")
            yield number, row

"""Pairs of questions: those of `data/adversarial.txt`, written by hand for this benchmark, and the outside pairs where they are."""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

OUTSIDE: Final = Path(__file__).parents[2] / "shared" / "data" / "question_pairs.csv.gz"
_ADVERSARIAL: Final = Path(__file__).parent / "data" / "adversarial.txt"
_CHOICE: Final = re.compile(r"\{((?:[^|}\\]|\\.)*)\|((?:[^|}\\]|\\.)*)\}")
_PUT_DIFFERENTLY: Final = re.compile(r" \|\|? ")


class Pair(NamedTuple):
    """Two questions, and whether one answer does for both."""

    kind: str
    one: str
    other: str
    is_equal: bool


def adversarial() -> list[Pair]:
    """The near misses and equal questions of `data/adversarial.txt`."""
    return list(read_pairs(_ADVERSARIAL))


def outside() -> list[Pair]:
    """The pairs that others wrote; none where their file is absent."""
    if not OUTSIDE.exists():
        return []
    with gzip.open(OUTSIDE, "rt", encoding="utf-8") as file:
        return [Pair(row["category"], row["a"], row["b"], row["same_answer"] == "1") for row in csv.DictReader(file)]


def read_pairs(path: Path) -> Iterator[Pair]:
    """The pairs of a file of "= kind" lines, "{x|y}" choices, and " | " or " || " between two questions. Those of the kind "equal" are."""
    kind = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("= "):
            kind = line[2:]
        elif line and not line.startswith("#"):
            match = _CHOICE.search(line)
            if match is not None:
                one, other = (f"{line[: match.start()]}{_plain(part)}{line[match.end() :]}" for part in match.groups())
            else:
                one, other = _PUT_DIFFERENTLY.split(line)
            yield Pair(kind, one, other, kind == "equal")


def _plain(part: str) -> str:
    return part.replace("\\|", "|")

"""Tables and logs in fewer characters, with everything still in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from typing import Final

_TABLE_ROW: Final = re.compile(r"[ \t]*\|.*\|[ \t]*\Z")
_CELL: Final = re.compile(r"[ \t]*\|[ \t]*")
_RULE: Final = re.compile(r"[|:\-+ \t]+\Z")
_BORDER: Final = re.compile(r"[\s\[\](){}|,;:=]")
_LEAST_LINES: Final = 4
_LEAST_PREFIX: Final = 8  # characters
_STAMPED: Final = re.compile(
    r"\[?\d{4}-\d\d-\d\d|\[?\d{1,2}[/.]\w{2,3}[/.]\d{2,4}|[A-Z][a-z]{2} +\d{1,2} \d\d:\d\d|\d\d:\d\d:\d\d|<?\d+>?\w{3} +\d+"
)


def compact_table(text: str) -> str:
    """Markdown tables without the padding of their cells.

    >>> compact_table("| a    | b  |\\n|------|----|\\n| 1    | 22 |")
    '|a|b|\\n|-|-|\\n|1|22|'
    """
    if "|" not in text:
        return text
    return "\n".join(_row(line) if _TABLE_ROW.match(line) else line for line in text.split("\n"))


def compact_log(text: str) -> str:
    """A log with what each line begins with said once, and lines that repeat counted.

    >>> log = "2024-05-01 10:00:01 a\\n2024-05-01 10:00:02 b\\n2024-05-01 10:00:02 b\\n2024-05-01 10:00:03 c"
    >>> print(compact_log(log))
    [each line begins: 2024-05-01 10:00:]
    01 a
    02 b (2 times)
    03 c
    """
    lines = text.split("\n")
    body = [line for line in lines if line.strip()]
    if len(body) < _LEAST_LINES or sum(_STAMPED.match(line) is not None for line in body) < 0.8 * len(body):
        return text
    prefix = _shared(body)
    counted = [(line, len(list(same))) for line, same in groupby(body)]
    shorter = [line[len(prefix) :] + (f" ({times} times)" if times > 1 else "") for line, times in counted]
    if prefix:
        shorter.insert(0, f"[each line begins: {prefix}]")
    found = "\n".join(shorter) + ("\n" if text.endswith("\n") else "")
    return found if len(found) < len(text) else text


def lines_by_their_ends(text: str, head: int, tail: int) -> tuple[str, str]:
    """The first and the last characters of a text, at borders of lines where there are any near."""
    start = text[:head]
    if (at := start.rfind("\n")) > head // 2:
        start = start[: at + 1]
    end = text[len(text) - tail :]
    if 0 <= (at := end.find("\n")) < tail // 2:
        end = end[at + 1 :]
    return start.rstrip(), end.lstrip("\n")


def _row(line: str) -> str:
    if _RULE.match(line) and "-" in line:
        return re.sub(r"-{2,}", "-", re.sub(r"[ \t]+", "", line))
    return _CELL.sub("|", line).strip()


def _shared(lines: Sequence[str]) -> str:
    """What all lines begin with, up to a border between words."""
    first, last = min(lines), max(lines)  # all others lie between them, and share what these two do
    same = next((place for place, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), min(len(first), len(last)))
    prefix = first[:same]
    while prefix and not _BORDER.match(prefix[-1]):
        prefix = prefix[:-1]
    return prefix if len(prefix) >= _LEAST_PREFIX else ""

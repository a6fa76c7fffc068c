"""JSON in fewer characters: without white space, lists of like objects as columns, long values by their ends."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

from llmthrift_core.prompts.step import MARK

_STRING_OR_SPACE: Final = re.compile(r'"(?:[^"\\]|\\.)*"|\s+')
_LEAST_ROWS: Final = 2
# How much of lists and texts is kept, from generous to sparse: (items of a list, characters of a text).
_SIZES: Final = (
    *((80, 4_000), (40, 2_000), (30, 1_500), (20, 1_000), (15, 800), (10, 600)),
    *((8, 400), (6, 300), (4, 200), (3, 120), (2, 80), (1, 40)),
)


def minified(text: str) -> str:
    """JSON without the white space between its values. Every value keeps its spelling: 1.0 stays 1.0.

    >>> minified('{"a": [1.0, 2],  "b c": "d  e"}')
    '{"a":[1.0,2],"b c":"d  e"}'
    """
    return _STRING_OR_SPACE.sub(lambda match: match.group() if match.group()[0] == '"' else "", text)


def as_columns(text: str) -> str:
    """Minified JSON with lists of objects that have the same keys said as columns and rows; itself where that is not shorter or not exact.

    >>> as_columns('[{"id":1,"city":"Rome"},{"id":2,"city":"Oslo"},{"id":3,"city":"Bonn"}]')
    '{"columns":["id","city"],"rows":[[1,"Rome"],[2,"Oslo"],[3,"Bonn"]]}'
    >>> as_columns('[{"id":1,"at":{"lat":1,"lon":2}},{"id":2,"at":{"lat":1,"lon":5}},{"id":3,"at":{"lat":1,"lon":7}}]')
    '{"all":{"at.lat":1},"columns":["id","at.lon"],"rows":[[1,2],[2,5],[3,7]]}'
    """
    try:
        value = json.loads(text)
        if dumped(value) != text:  # a number or a key that would not come back as it was
            return text
        shorter = dumped(_columns(value))
    except (ValueError, RecursionError):
        return text
    return shorter if len(shorter) < len(text) else text


def by_its_ends(text: str, fits: Callable[[str], bool]) -> str | None:
    """JSON with all its keys, the first and last items of long lists and both ends of long texts, as much as fits.

    None where nothing fits, or it is no JSON.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict | list):
        return None
    for items, chars in _SIZES:
        found = dumped(_ends(value, items, chars))
        if fits(found):
            return found
    return None


def dumped(value: Any) -> str:
    """A value as compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _columns(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _columns(inner) for key, inner in value.items()}
    if not isinstance(value, list):
        return value
    if (table := _table(value)) is not None:
        return table
    if len(value) > 1 and all(isinstance(each, list) and each for each in value):  # such as journeys of several flights
        table = _table([row for each in value for row in each])
        if table is not None and "rows" in table:
            rows = iter(table.pop("rows"))
            return {**table, "groups": [[next(rows) for _ in each] for each in value]}
    return [_columns(inner) for inner in value]


def _table(rows: list[Any]) -> dict[str, Any] | None:
    """Objects of the same keys as columns and rows, what all rows have alike said once; None for other lists."""
    first = rows[0] if rows else None
    if len(rows) < _LEAST_ROWS or not isinstance(first, dict) or not first:
        return None
    if not all(isinstance(each, dict) and each.keys() == first.keys() for each in rows):
        return None
    columns = _flat(rows)
    alike = {name: _columns(cells[0]) for name, cells in columns.items() if all(_same(cell, cells[0]) for cell in cells)}
    names = [name for name in columns if name not in alike]
    if not names:  # the same object again and again
        return None
    said: dict[str, Any] = {"columns": names, "rows": [[_columns(columns[name][place]) for name in names] for place in range(len(rows))]}
    said = {"all": alike, **said} if alike else said
    return said if len(rows) > _LEAST_ROWS or len(dumped(said)) < len(dumped([_columns(row) for row in rows])) else None


def _flat(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """The cells by column; of objects within, which have the same keys in all rows, the columns are called "outer.inner".

    Where a key has a dot itself, objects stay as they are: "a.b" would be the name of two columns.
    """
    columns: dict[str, list[Any]] = {}
    for key in rows[0]:
        cells = [row[key] for row in rows]
        inner = cells[0]
        is_like = isinstance(inner, dict) and inner and all(isinstance(cell, dict) and cell.keys() == inner.keys() for cell in cells)
        if is_like and not any("." in name for name in (*rows[0], *inner)):
            columns |= {f"{key}.{name}": within for name, within in _flat(cells).items()}
        else:
            columns[key] = cells
    return columns


def _same(one: Any, other: Any) -> bool:
    return one is other or (type(one) is type(other) and bool(one == other) and dumped(one) == dumped(other))


def _ends(value: Any, items: int, chars: int) -> Any:
    if isinstance(value, dict):
        kept = ("columns", "all") if value.keys() & {"rows", "groups"} and "columns" in value else ()
        return {key: inner if key in kept else _ends(inner, items, chars) for key, inner in value.items()}
    if isinstance(value, list):
        if len(value) <= items + 1:
            return [_ends(inner, items, chars) for inner in value]
        head = [_ends(inner, items, chars) for inner in value[:items]]
        return [*head, f"{MARK} {len(value) - items - 1} more {MARK}", _ends(value[-1], items, chars)]
    if isinstance(value, str) and len(value) > chars + 20:
        return f"{value[: chars * 3 // 4]} {MARK} {value[len(value) - chars // 4 :]}"
    return value

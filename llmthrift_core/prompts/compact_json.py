"""JSON in fewer characters: without white space, lists of like objects as columns, long values by their ends."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

from llmthrift_core.prompts.step import MARK

_STRING_OR_SPACE: Final = re.compile(r'"(?:[^"\\]|\\.)*"|\s+')
_LEAST_ROWS: Final = 3
# How much of lists and texts is kept, from generous to sparse: (items of a list, characters of a text).
_SIZES: Final = ((40, 2_000), (20, 1_000), (10, 600), (6, 300), (4, 200), (3, 120), (2, 80), (1, 40))


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
    first = value[0] if value else None
    if len(value) >= _LEAST_ROWS and isinstance(first, dict) and first:
        keys = list(first)
        if all(isinstance(each, dict) and each.keys() == first.keys() for each in value):
            return {"columns": keys, "rows": [[_columns(each[key]) for key in keys] for each in value]}
    return [_columns(inner) for inner in value]


def _ends(value: Any, items: int, chars: int) -> Any:
    if isinstance(value, dict):
        return {key: _ends(inner, items, chars) for key, inner in value.items()}
    if isinstance(value, list):
        if len(value) <= items + 1:
            return [_ends(inner, items, chars) for inner in value]
        head = [_ends(inner, items, chars) for inner in value[:items]]
        return [*head, f"{MARK} {len(value) - items - 1} more {MARK}", _ends(value[-1], items, chars)]
    if isinstance(value, str) and len(value) > chars + 20:
        return f"{value[: chars * 3 // 4]} {MARK} {value[len(value) - chars // 4 :]}"
    return value

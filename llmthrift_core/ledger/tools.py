"""The tools of a call as its row keeps them: how long each definition is, and which ones the answer called."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from threading import Lock
from typing import Any, Final

_MOST: Final = 64  # names in a row
_LONGEST: Final = 128  # characters of a name
_REMEMBERED: Final = 64  # sets of tools: an agent sends the same ones with each call
OTHERS: Final = ""
"""The name under which a row has the characters of all tools beyond 64, and of those without a name."""

_columns: OrderedDict[tuple[int, ...], tuple[list[Any], str]] = OrderedDict()
_lock = Lock()


def sent_column(tools: Sequence[Any]) -> str:
    """The tools that were sent, for the row: a JSON object of name to characters of the definition, the longest first.

    Args:
        tools: as `definitions_of` takes them.
    """
    key = tuple(map(id, tools))
    with _lock:
        if (known := _columns.get(key)) is not None:
            _columns.move_to_end(key)
            return known[1]
    from llmthrift_core.outgoing.definitions import definitions_of  # loaded with the first tools

    sizes: dict[str, int] = {}
    for name, text in definitions_of(tools):
        sizes[name[:_LONGEST]] = sizes.get(name[:_LONGEST], 0) + len(text)
    named = sorted((item for item in sizes.items() if item[0] != OTHERS), key=lambda item: (-item[1], item[0]))
    kept = dict(named[:_MOST])
    if rest := sizes.get(OTHERS, 0) + sum(size for _, size in named[_MOST:]):
        kept[OTHERS] = rest
    column = json.dumps(kept, separators=(",", ":"))
    with _lock:
        _columns[key] = [*tools], column  # the tools themselves, so that no other gets their identity
        while len(_columns) > _REMEMBERED:
            _columns.popitem(last=False)
    return column


def called_column(names: Iterable[str]) -> str | None:
    """The called tools, for the row: a JSON list of their names, each once; None: none was called."""
    kept = [name[:_LONGEST] for name in islice(dict.fromkeys(filter(None, names)), _MOST)]
    return json.dumps(kept, separators=(",", ":")) if kept else None


def read_sent_column(column: str | None) -> Mapping[str, int]:
    """Characters by name; empty where the row knows of no tools."""
    found = json.loads(column) if column else {}
    return {str(name): int(chars) for name, chars in found.items()} if isinstance(found, dict) else {}


def read_called_column(column: str | None) -> frozenset[str]:
    """The names that the answer called."""
    return frozenset(map(str, json.loads(column))) if column else frozenset()

"""Objects that are opened again in the process that a pickle of them is sent to: one for each place and process."""

from __future__ import annotations

import os
import weakref
from typing import Any, Protocol, TypeVar


class Closable(Protocol):
    """What may have been closed since it was opened."""

    _closed: bool


Opened = TypeVar("Opened", bound=Closable)
_opened_here: weakref.WeakValueDictionary[tuple[int, str], Any] = weakref.WeakValueDictionary()


def reopened(kind: type[Opened], url: str, options: dict[str, Any]) -> Opened:
    """The object of a pickle: the same one for all pickles that name its place, until it is closed."""
    place = os.getpid(), url
    found: Opened | None = _opened_here.get(place)
    if found is None or found._closed:
        _opened_here[place] = found = kind(**{**options, "url": url})
    return found

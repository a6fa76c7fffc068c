"""What lives and ends with a `Thrift`: semantic caches, and policies that follow a router's versions."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from llmthrift_core.cache.entry import EntryView
    from llmthrift_core.cache.store import Criteria


class Part(Protocol):
    """What `Thrift.attach` takes."""

    def health(self) -> dict[str, Any]: ...

    def close(self) -> None: ...


@runtime_checkable
class CachePart(Part, Protocol):
    """A part that keeps answers."""

    def alerts(self) -> list[str]: ...

    def remove_elsewhere(self, criteria: Criteria, where: Callable[[EntryView], bool] | None = None) -> int: ...


class Parts:
    """The parts of one `Thrift`, as long as somebody else has them."""

    def __init__(self) -> None:
        self._all: weakref.WeakSet[Part] = weakref.WeakSet()

    def add(self, part: Part) -> None:
        """One more."""
        self._all.add(part)

    @property
    def caches(self) -> list[CachePart]:
        """Those that keep answers."""
        return [part for part in list(self._all) if isinstance(part, CachePart)]

    @property
    def others(self) -> list[Part]:
        """Those that keep none."""
        return [part for part in list(self._all) if not isinstance(part, CachePart)]

    def close(self) -> None:
        """End them."""
        for part in list(self._all):
            part.close()

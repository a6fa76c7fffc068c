"""What a `Thrift` looks after, though somebody else made it: semantic caches, quality guards."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from llmthrift_core.cache.entry import EntryView
    from llmthrift_core.cache.store import Criteria


class Part(Protocol):
    """Something that may have to warn, and that ends with its Thrift."""

    def alerts(self) -> list[str]: ...

    def close(self) -> None: ...


@runtime_checkable
class AnswerKeeper(Part, Protocol):
    """A part that keeps answers: a semantic cache."""

    def health(self) -> dict[str, Any]: ...

    def remove_elsewhere(self, criteria: Criteria, where: Callable[[EntryView], bool] | None = None) -> int: ...


class Parts:
    """The parts that are in use. Nobody is kept alive by being one."""

    def __init__(self) -> None:
        self._parts: weakref.WeakSet[Part] = weakref.WeakSet()

    def add(self, part: Part) -> None:
        """From now on, look after this part."""
        self._parts.add(part)

    def health(self) -> list[dict[str, Any]]:
        """Of those that keep answers."""
        return [part.health() for part in self._keepers()]

    def alerts(self) -> list[str]:
        """Of all."""
        return [alert for part in list(self._parts) for alert in part.alerts()]

    def remove_elsewhere(self, criteria: Criteria, where: Callable[[EntryView], bool] | None) -> int:
        """Remove answers that fit the criteria from stores of the parts' own. Returns how many."""
        return sum(part.remove_elsewhere(criteria, where) for part in self._keepers())

    def close(self) -> None:
        """End all."""
        for part in list(self._parts):
            part.close()

    def _keepers(self) -> list[AnswerKeeper]:
        return [part for part in list(self._parts) if isinstance(part, AnswerKeeper)]

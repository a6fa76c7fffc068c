"""What is made for a `Thrift` and closed with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from llmthrift_core.cache.entry import EntryView
    from llmthrift_core.cache.store import Criteria


class Part(Protocol):
    """What `Thrift.attach` keeps: a semantic cache, the scores of a routing policy."""

    def health(self) -> dict[str, Any]: ...

    def alerts(self) -> list[str]: ...

    def close(self) -> None: ...


@runtime_checkable
class AnswerPart(Part, Protocol):
    """A part that keeps answers, maybe in a store of its own: a semantic cache."""

    def remove_elsewhere(self, criteria: Criteria, where: Callable[[EntryView], bool] | None = None) -> int: ...

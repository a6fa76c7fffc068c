"""The whole with its accounts, and what lives and ends with it: semantic caches, and policies that read its ledger."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from llmthrift_core.host import Host

if TYPE_CHECKING:
    from llmthrift_core.budgets.budgets import Budgets
    from llmthrift_core.cache.entry import EntryView
    from llmthrift_core.cache.exact import ExactCache
    from llmthrift_core.cache.store import Criteria
    from llmthrift_core.ledger import Ledger


class Part(Protocol):
    """What `Thrift.attach` takes. The health of a part has a count of `errors`."""

    def health(self) -> dict[str, Any]: ...

    def alerts(self) -> list[str]: ...

    def close(self) -> None: ...


@runtime_checkable
class AnswerKeeper(Part, Protocol):
    """A part that keeps answers: a semantic cache."""

    def remove_elsewhere(self, criteria: Criteria, where: Callable[[EntryView], bool] | None = None) -> int: ...


@runtime_checkable
class PrefixKeeper(Part, Protocol):
    """A part that knows what providers keep of prompts, and saves that."""

    def save(self) -> None: ...


@runtime_checkable
class Tuner(Part, Protocol):
    """A part that looks up what doors do, or changes it."""

    tunes: bool


class Parts:
    """The parts of one `Thrift`. Nobody is kept alive by being one."""

    def __init__(self) -> None:
        self._parts: weakref.WeakSet[Part] = weakref.WeakSet()

    def add(self, part: Part) -> None:
        """From now on, look after this part."""
        self._parts.add(part)

    @property
    def all(self) -> list[Part]:
        """Those that are in use."""
        return list(self._parts)

    @property
    def keepers(self) -> list[AnswerKeeper]:
        """Those that keep answers."""
        return [part for part in self.all if isinstance(part, AnswerKeeper)]

    @property
    def prefix_keepers(self) -> list[PrefixKeeper]:
        """Those that know what providers keep of prompts."""
        return [part for part in self.all if isinstance(part, PrefixKeeper)]

    @property
    def others(self) -> list[Part]:
        """All but these: routing policies."""
        return [part for part in self.all if not isinstance(part, AnswerKeeper | PrefixKeeper | Tuner)]

    @property
    def tuners(self) -> list[Tuner]:
        """Those that look up what doors do, or change it."""
        return [part for part in self.all if isinstance(part, Tuner)]

    def close(self) -> None:
        """End all."""
        for part in self.all:
            part.close()


class AccountHost(Host, Protocol):
    """A `Host` with the ledger, the cache and the budgets of its database."""

    @property
    def ledger(self) -> Ledger: ...

    @property
    def cache(self) -> ExactCache: ...

    @property
    def budgets(self) -> Budgets: ...

"""Renewal in another process: of locks and threads after a fork, of open databases after unpickling."""

from __future__ import annotations

import os
import threading
import weakref
from abc import ABC, abstractmethod
from typing import Any, Protocol, Self, TypeVar

from llmthrift_core.errors import ConfigurationError


class Forked(Protocol):
    """Something that lives on in a forked child."""

    def after_fork(self) -> None:
        """Called in the child, before anything else of this process runs."""
        ...


_owners: weakref.WeakSet[Forked] = weakref.WeakSet()


def renew_after_fork(owner: Forked) -> None:
    """Call `owner.after_fork()` in every child that is forked while the owner lives."""
    _owners.add(owner)


class ForkedLock:
    """A lock for short sections that a forked child finds free, whichever thread of the parent held it.

    >>> lock = ForkedLock()
    >>> with lock:
    ...     pass
    """

    __slots__ = ("__weakref__", "_held", "_lock")

    def __init__(self) -> None:
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """The thread that held it does not run in the child."""
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        lock = self._lock
        lock.acquire()
        self._held = lock

    def __exit__(self, *_: object) -> None:
        self._held.release()  # in a child that was forked inside of the section: the lock of the parent, which it holds too


def _after_fork_in_child() -> None:
    for owner in list(_owners):
        owner.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


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


class OpenedAgain(ABC):
    """What may be held by what is copied and sent to another process: copies share it, and there it is opened again at its address."""

    _options: dict[str, Any]

    @property
    @abstractmethod
    def address(self) -> str | None:
        """What another process opens it by; None where none can."""

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if (address := self.address) is None:
            raise ConfigurationError(
                f"a {type(self).__name__} in memory cannot be pickled: another process could not open it; give it a path or a URL"
            )
        return reopened, (type(self), address, self._options)

"""Keeps the holds of calls under way alive: one thread for all budgets of a process, and none before there is a hold."""

from __future__ import annotations

import logging
import threading
import weakref
from typing import Final, Protocol

from llmthrift_core.background.repeating import Repeating
from llmthrift_core.errors import StorageError

logger = logging.getLogger("llmthrift")

_EVERY_SECONDS: Final = 60.0


class Renewing(Protocol):
    """Somebody with holds."""

    def renew_holds(self) -> None:
        """Let them last longer. Raises StorageError."""
        ...


class Renewer:
    """Renews the holds of all that it was told of.

    Args:
        every_seconds: how often it looks.
    """

    def __init__(self, *, every_seconds: float = _EVERY_SECONDS) -> None:
        self._followed: weakref.WeakSet[Renewing] = weakref.WeakSet()
        self._repeating = Repeating(self._renew, seconds=every_seconds, name="llmthrift-holds")

    def follow(self, owner: Renewing) -> None:
        """From now on, renew its holds too. Costs little where it is followed already."""
        if owner not in self._followed:
            self._followed.add(owner)
        self._repeating.start()

    def close(self) -> None:
        """Renew no more."""
        self._repeating.close()

    def _renew(self, stopping: threading.Event) -> None:
        for owner in list(self._followed):
            try:
                owner.renew_holds()
            except StorageError as error:
                logger.warning("holds could not be renewed, which is tried again in a minute: %s", error)


renewer: Final = Renewer()

"""Functions that hear of every entry that this process commits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from llmthrift_core.errors import place_of
from llmthrift_core.ledger.batch import Outcome
from llmthrift_core.ledger.record import Entry

logger = logging.getLogger("llmthrift.ledger")

Listener = Callable[[Sequence[Entry]], object]
Commit = Callable[[Sequence[Entry]], Outcome]


class Listeners:
    """Those who are told of committed entries. None of them costs the thread that records anything.

    Attributes:
        failures: how often one of them raised.
    """

    def __init__(self) -> None:
        self.failures = 0
        self._listeners: tuple[Listener, ...] = ()  # replaced, never changed: the writer's thread may be reading it

    def add(self, listener: Listener) -> None:
        """Tell this one too. Adding it twice does nothing more."""
        if listener not in self._listeners:
            self._listeners = (*self._listeners, listener)

    def remove(self, listener: Listener) -> None:
        """Tell this one no more."""
        self._listeners = tuple(each for each in self._listeners if each != listener)

    def told_of(self, commit: Commit) -> Commit:
        """The same function, after which everybody is told of what is new in the database."""

        def commit_and_tell(entries: Sequence[Entry]) -> Outcome:
            outcome = commit(entries)
            if listeners := self._listeners:
                self._tell(listeners, entries if outcome.new is None else outcome.new)
            return outcome

        return commit_and_tell

    def _tell(self, listeners: Sequence[Listener], entries: Sequence[Entry]) -> None:
        for listener in listeners:
            try:
                listener(entries)
            except Exception as error:  # the rows are committed: what somebody makes of them must not make the writer try again
                self.failures += 1
                if self.failures == 1:
                    logger.error("a listener of the ledger failed: %s", place_of(error))

"""`Following`: the life of what is always the active version of something that is kept in versions."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from llmthrift_core.background.repeating import Repeating
from llmthrift_core.errors import LLMThriftError
from llmthrift_core.settings import is_disabled

logger = logging.getLogger("llmthrift")


class Following(ABC):
    """Looks for another active version in a background thread, and puts it in the place of the one in force.

    A version that cannot be used or read is logged once, and the one in force stays; so it does while the database cannot be read.

    Attributes:
        name: of what is followed.
    """

    kind: ClassVar[str]
    """What follows, as the log says it."""
    unless: ClassVar[str]
    """What happens before the first version, as the log says it."""

    name: str

    def follow(self, name: str, active: Callable[[], int | None], *, check_seconds: float) -> None:
        """Look now, and begin to look again and again. A pass-through touches no database.

        Args:
            active: the number of the active version; None where there is none.
            check_seconds: from one look to the next.
        """
        self.name = name
        self._active = active
        self._errors = 0
        self._last_error: str | None = None
        self._repeating = Repeating(self._check, seconds=check_seconds, name=f"llmthrift-{self.kind}-{name}")
        if is_disabled():
            self._repeating.close()
        else:
            self.look()
            self._repeating.start()

    @property
    @abstractmethod
    def number(self) -> int | None:
        """Of the version in force; None before the first."""

    @abstractmethod
    def use(self, number: int) -> None:
        """Put a version in force. Raises LLMThriftError where it cannot be used."""

    def keep_following(self) -> None:
        """Go on in a forked child, which has no thread yet. Costs nothing elsewhere."""
        self._repeating.start()

    def look(self) -> bool:
        """Look for another active version now. True where one was put in force. Never raises."""
        number: int | None = None
        before = self.number
        try:
            number = self._active()
            if number is None or number == before:
                self._last_error = None
                return False
            self.use(number)
        except LLMThriftError as error:
            self._note(number, error)
            return False
        self._last_error = None
        logger.info("%s %r: version %d is in force%s", self.kind, self.name, number, "" if before is None else f", instead of {before}")
        return True

    def health(self) -> dict[str, Any]:
        """The version in force, how often it could not be looked for or used, and why not the last time."""
        return {self.kind: self.name, "version": self.number, "errors": self._errors, "last_error": self._last_error}

    def alerts(self) -> list[str]:
        """Says that the active version cannot be looked for or used, and why."""
        return [] if self._last_error is None else [f"{self.kind} {self.name!r}: {self._last_error}"]

    def close(self) -> None:
        """Stop looking. The version in force stays."""
        self._repeating.close()

    def _check(self, stopping: threading.Event) -> None:
        self.look()

    def _note(self, number: int | None, error: LLMThriftError) -> None:
        self._errors += 1
        said = str(error)
        if said == self._last_error:
            return
        self._last_error = said
        kept = self.unless if self.number is None else f"version {self.number} stays in force"
        what = "cannot be looked for" if number is None else f"{number} cannot be used"
        logger.error("%s %r: its active version %s, and %s: %s", self.kind, self.name, what, kept, said)

"""What went wrong without anybody being stopped: counted, and logged so that a failing disk does not fill a second one."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from llmthrift_core.cache.canonical import UncacheableError
from llmthrift_core.errors import EmbeddingError, StorageError, place_of

logger = logging.getLogger("llmthrift")

_LOG_EVERY_SECONDS: Final = 60.0
_MOST_REASONS: Final = 100


class Troubles:
    """Counts of failures that were swallowed, and of requests for which no key is possible.

    Attributes:
        errors: failures so far.
        last_error: the place and kind of the last one.
        uncacheable: requests by reason; after a hundred reasons the others count together.
        not_kept: answers that are not whole and good, by reason.
    """

    def __init__(self) -> None:
        self.errors = 0
        self.last_error: str | None = None
        self.uncacheable: dict[str, int] = {}
        self.not_kept: dict[str, int] = {}
        self._logged_at: dict[str, float] = {}
        self._lock = threading.Lock()

    def note(self, where: str, error: BaseException) -> None:
        """Count a failure, and log one of its place per minute. A request for which no key is possible is none."""
        if isinstance(error, UncacheableError):
            self.note_uncacheable(str(error))
            return
        # These hold no content; the text of any other exception might.
        what = str(error) if isinstance(error, StorageError | EmbeddingError) else place_of(error)
        now = time.monotonic()
        with self._lock:
            self.errors += 1
            self.last_error = f"{where}: {what}"
            is_due = now - self._logged_at.get(where, -_LOG_EVERY_SECONDS) >= _LOG_EVERY_SECONDS
            if is_due:
                self._logged_at[where] = now
        if is_due:
            logger.error("cache %s failed, and the call went on without: %s (%d failures so far)", where, what, self.errors)

    def note_uncacheable(self, reason: str) -> None:
        """Count a request for which no key is possible, and say so once per reason."""
        with self._lock:
            is_new = reason not in self.uncacheable
            if is_new and len(self.uncacheable) >= _MOST_REASONS:
                reason, is_new = "other reasons", "other reasons" not in self.uncacheable
            self.uncacheable[reason] = self.uncacheable.get(reason, 0) + 1
        if is_new:
            logger.warning("not cached: %s", reason)

    def note_not_kept(self, reason: str) -> None:
        """Count an answer that is not stored."""
        with self._lock:
            self.not_kept[reason] = self.not_kept.get(reason, 0) + 1

    def after_fork(self) -> None:
        """The parent's lock may have been held when the process was copied."""
        self._lock = threading.Lock()

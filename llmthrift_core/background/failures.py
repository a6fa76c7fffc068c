"""`Failures`: what went wrong beside a call that went on. Counted; each kind is logged once, with its place in the user's code."""

from __future__ import annotations

import logging
import re
import sysconfig
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from llmthrift_core.errors import EmbeddingError, StorageError, place_of
from llmthrift_core.texts import SECRETS

_MOST_KINDS: Final = 200
_LOG_EVERY_SECONDS: Final = 60.0
_MOST_CHARACTERS: Final = 300
_WORD: Final = re.compile(r"\w+")
_HIDDEN: Final = "…"
_OURS: Final = str(Path(__file__).parents[2])
_OURS_NAMES: Final = ("llmthrift_core", "llmthrift_langchain", "llmthrift_llamaindex")


class Failures:
    """Counts of failures by what failed. Safe to share between threads.

    Args:
        logger: is told of each kind of failure, which is its type and its place, once; of further ones of the same, once a minute.
        of: what the names of failures belong to, such as "cache".

    Attributes:
        counts: so far, by what failed.
        last: the last one, in words.
    """

    def __init__(self, logger: logging.Logger, of: str = "") -> None:
        self.counts: dict[str, int] = {}
        self.last: str | None = None
        self._logger, self._of = logger, of and of + " "
        self._logged_at: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def note(self, where: str, error: BaseException, private: Sequence[str] | None = None) -> None:
        """Count a failure, and log it where it is the first of its kind, or the last one of the kind was a while ago.

        Args:
            where: what failed.
            private: the texts that were asked about: the message of the exception is told without their words. None: they are not known,
                and the message is told only where it cannot hold any.
        """
        place = place_in_users_code(error)
        kind, now = (where, f"{type(error).__name__} {place}"), time.monotonic()
        with self._lock:
            self.counts[where] = count = self.counts.get(where, 0) + 1
            logged_at = self._logged_at.get(kind)
            is_new = logged_at is None and len(self._logged_at) < _MOST_KINDS
            is_due = is_new or (logged_at is not None and now - logged_at >= _LOG_EVERY_SECONDS)
            if is_due:
                self._logged_at[kind] = now
        if is_due or where not in (self.last or ""):
            self.last = f"{where}: {described(error, private)}"
        if is_due:
            self._logger.error("%s%s failed and was bypassed: %s (%d so far)", self._of, where, described(error, private), count)

    def after_fork(self) -> None:
        """The parent's lock may have been held when the process was copied."""
        self._lock = threading.Lock()


def described(error: BaseException, private: Sequence[str] | None = None) -> str:
    """An exception as it may be logged: its type, its message as far as that may be told, and its place in the user's code.

    >>> described(KeyError("no price for Mallory"), ["Who is Mallory?"])
    "KeyError: 'no price for …'"
    """
    inner, place = place_of(error), place_in_users_code(error)
    where = f" at {place}" if place else ""
    if place and not inner.endswith(where):
        where += f", raised{inner.removeprefix(type(error).__name__)}"
    if private is None and not isinstance(error, StorageError | EmbeddingError):  # these hold no content
        return type(error).__name__ + where
    text = _without(" ".join(str(error).split())[:_MOST_CHARACTERS], private or ())
    return f"{type(error).__name__}: {text}{where}" if text else type(error).__name__ + where


def place_in_users_code(error: BaseException) -> str:
    """The file and the line of the application that an exception went through last; those that raised it where it is in none of it."""
    found, trace = None, error.__traceback__
    while trace is not None:
        if found is None or _is_users(trace) or not _is_users(found):
            found = trace
        trace = trace.tb_next
    return "" if found is None else f"{found.tb_frame.f_code.co_filename}:{found.tb_lineno}"


def _is_users(trace: TracebackType) -> bool:
    file = trace.tb_frame.f_code.co_filename
    if file.startswith("<frozen") or "site-packages" in file or "dist-packages" in file:
        return False
    if file.startswith(_OURS) and Path(file).relative_to(_OURS).parts[0] in _OURS_NAMES:
        return False
    return not file.startswith(sysconfig.get_paths()["stdlib"])


def _without(text: str, private: Sequence[str]) -> str:
    """The text without the longer words of others, and without credentials."""
    theirs = {word.casefold() for each in private for word in _WORD.findall(each)}
    kept = _WORD.sub(lambda found: _HIDDEN if _tells(found[0]) and found[0].casefold() in theirs else found[0], SECRETS.sub(_HIDDEN, text))
    return re.sub(rf"{_HIDDEN}(\W?\s*{_HIDDEN})+", _HIDDEN, kept)


def _tells(word: str) -> bool:
    return len(word) > 3 or not word.isascii() or any(map(str.isdigit, word))

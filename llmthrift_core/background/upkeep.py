"""The thread that writes uses of entries, and removes entries past their time, off the hot path."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from time import monotonic
from typing import Final

logger = logging.getLogger("llmthrift")

_PURGE_EVERY_SECONDS: Final = 60.0


class Upkeep:
    """A daemon thread that works after entries were used: at most once per interval, and never while nothing happens.

    It starts with the first use, and ends with `stop` or when nobody holds this object any more.

    Args:
        work: what to do; `purge` is True once a minute. Called without references to this object's owner being kept.
        interval_seconds: how long uses may stay unwritten.
    """

    def __init__(self, work: Callable[[bool], None], *, interval_seconds: float) -> None:
        self._work = weakref.WeakMethod(work)
        self._interval_seconds = interval_seconds
        self._lock = threading.Lock()
        self._signals: _Signals | None = None
        self._thread: threading.Thread | None = None
        self._stopped = False

    def wake(self) -> None:
        """Something is to be written."""
        signals = self._signals
        if signals is not None:
            if not signals.awake:
                signals.awake = True
                signals.used.set()
            return
        with self._lock:
            if self._signals is None and not self._stopped:
                self._signals = signals = _Signals()
                weakref.finalize(self, signals.end).atexit = False
                arguments = (signals, self._work, self._interval_seconds)
                self._thread = threading.Thread(target=_run, args=arguments, name="llmthrift-cache", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End the thread, after what it is doing."""
        with self._lock:
            self._stopped = True
            if self._signals is not None:
                self._signals.end()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5.0)

    def after_fork(self) -> None:
        """The parent's thread does not run here."""
        self._lock = threading.Lock()
        self._signals = None
        self._thread = None


class _Signals:
    """What a thread listens to, apart from its owner so that it does not keep that alive."""

    def __init__(self) -> None:
        self.awake = True
        self.used = threading.Event()
        self.used.set()
        self.ended = threading.Event()

    def end(self) -> None:
        self.ended.set()
        self.used.set()


def _run(signals: _Signals, method: weakref.WeakMethod[Callable[[bool], None]], interval_seconds: float) -> None:
    purged_at = monotonic()
    while True:
        signals.used.wait()
        if signals.ended.wait(interval_seconds):
            return
        signals.used.clear()
        signals.awake = False
        work = method()
        if work is None:
            return
        is_purge_due = monotonic() - purged_at >= _PURGE_EVERY_SECONDS
        if is_purge_due:
            purged_at = monotonic()
        work(is_purge_due)
        del work

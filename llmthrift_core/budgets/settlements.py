"""`Settlements`: what calls took is told to the store at once, or as soon as it can be written again."""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from llmthrift_core.background.forks import renew_after_fork
from llmthrift_core.budgets.store import Amounts
from llmthrift_core.display import counted
from llmthrift_core.errors import RowRejectedError, StorageError
from llmthrift_core.storage.spool_file import SpoolFile

logger = logging.getLogger("llmthrift")

_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 2.0
_REPLAYED_AT_ONCE: Final = 500

Settle = Callable[[str, Amounts | None], None]


class Settlements:
    """Settles holds. Safe to share between threads; a forked child begins with none waiting, since its parent settles them.

    A settlement that the store could not take waits in memory, and its hold stays; a thread tries again, with pauses of up to two
    seconds, until it is taken, after the hold's time as well: it counts then as more than was set aside. Of a hold only the first
    settlement counts, so that trying again changes nothing. With a spool it waits in a local file too, and outlives the process: the next
    one that opens the spool settles it.

    Args:
        settle: tells the store, or raises StorageError.
        spool: a local file for what waits.
    """

    def __init__(self, settle: Settle, *, spool: str | Path | None = None) -> None:
        self._settle = settle
        self._spool = None if spool is None else SpoolFile(spool)
        self._start_empty()
        _all.add(self)
        renew_after_fork(self)
        if self._spool is not None and self._spool.waits:
            self._begin_trying()

    def _start_empty(self) -> None:
        self._waiting: dict[str, Amounts | None] = {}
        self._lock = threading.Lock()
        self._trying = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def pending(self) -> int:
        """Holds that ended and are not settled yet."""
        return len(self._waiting)

    def waiting(self) -> Mapping[str, Amounts | None]:
        """What could not be settled yet, by the ids of the holds."""
        with self._lock:
            return dict(self._waiting)

    def end(self, hold_id: str, spent: Amounts | None, *, later: bool = False) -> None:
        """Settle a hold, or release it with None, now or later.

        Args:
            later: let the thread do it, soon.

        Raises:
            RowRejectedError: these amounts cannot be stored.
        """
        if later or self._waiting:  # the store did not take the last one: this one waits behind it, and its caller does not
            self._keep(hold_id, spent)
            return
        try:
            self._settle(hold_id, spent)
        except RowRejectedError:
            raise
        except StorageError as error:
            logger.error("a budget hold cannot be settled now and will be tried again: %s", error)
            self._keep(hold_id, spent)

    def catch_up(self) -> bool:
        """Settle what waits, oldest first. False if some of it still cannot be."""
        with self._trying:
            for hold_id, spent in self.waiting().items():
                try:
                    self._settle(hold_id, spent)
                except Exception as error:
                    if isinstance(error, StorageError) and not isinstance(error, RowRejectedError):
                        return False
                    logger.error("a settlement cannot be stored, and its hold expires (%s)", type(error).__name__)
                with self._lock:
                    self._waiting.pop(hold_id, None)
            return self._spool is None or not self._spool.waits or self._replay(self._spool)

    def _replay(self, spool: SpoolFile) -> bool:
        """Settle what the spool has: of this process nothing new, and what others left. False if some of it cannot be."""
        try:
            for batch in spool.batches(_REPLAYED_AT_ONCE):
                for values in batch:
                    self._settle_kept(values)
        except StorageError:
            return False
        except OSError as error:
            logger.error("the spool of settlements cannot be replayed: %s", error.strerror or type(error).__name__)
            return False
        return True

    def _settle_kept(self, values: Mapping[str, Any]) -> None:
        try:
            spent = values["spent"]
            self._settle(values["hold"], None if spent is None else Amounts(*spent))
        except (KeyError, TypeError, RowRejectedError) as error:
            logger.error("a settlement of the spool cannot be read, and its hold expires (%s)", type(error).__name__)

    def close(self) -> bool:
        """Try a last time, and end the thread. False if something could not be settled: it is logged."""
        self._stopping.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        if self.catch_up():
            return True
        what_then = "what is set aside for them expires" if self._spool is None else "they wait in the spool for the next process"
        logger.error("%s of budgets could not be settled before the end: %s", counted(self.pending, "hold"), what_then)
        return False

    def after_fork(self) -> None:
        """In a forked child: the parent has what waits, and the thread."""
        if self._spool is not None:
            self._spool.after_fork()
        self._start_empty()

    def _keep(self, hold_id: str, spent: Amounts | None) -> None:
        with self._lock:
            is_new = hold_id not in self._waiting
            self._waiting.setdefault(hold_id, spent)
        if is_new and self._spool is not None:
            try:
                self._spool.add([{"hold": hold_id, "spent": spent}])
            except OSError as error:
                logger.error("the spool of settlements cannot be written: %s", error.strerror or type(error).__name__)
        self._begin_trying()

    def _begin_trying(self) -> None:
        with self._lock:
            if self._thread is None and not self._stopping.is_set():
                thread = threading.Thread(target=_try_again, args=(weakref.ref(self), self._stopping), name="llmthrift-settle", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the interpreter is shutting down: the last try is made at exit
                    return
                self._thread = thread

    def _is_done(self) -> bool:
        """In the thread: whether it may end, since nothing waits."""
        with self._lock:
            if self._waiting or (self._spool is not None and self._spool.waits):
                return False
            self._thread = None
            return True


def _try_again(owner: weakref.ref[Settlements], stopping: threading.Event) -> None:
    pause = _FIRST_PAUSE_SECONDS
    while not stopping.wait(pause):
        settlements = owner()
        if settlements is None:
            return
        if settlements.catch_up():
            if settlements._is_done():
                return
            pause = _FIRST_PAUSE_SECONDS
        else:
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        del settlements  # while this waits, the owner may go


_all: weakref.WeakSet[Settlements] = weakref.WeakSet()


def _at_exit() -> None:
    for settlements in list(_all):
        if settlements.pending:
            settlements.catch_up()


atexit.register(_at_exit)

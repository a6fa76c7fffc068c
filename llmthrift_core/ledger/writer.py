"""`Writer`: a bounded queue in front of the database, emptied in groups by a background thread."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from llmthrift_core.background.forks import renew_after_fork
from llmthrift_core.errors import RowRejectedError, StorageError
from llmthrift_core.ledger.batch import Outcome
from llmthrift_core.ledger.exits import Exits
from llmthrift_core.ledger.record import Entry
from llmthrift_core.ledger.repair import repair
from llmthrift_core.ledger.spool import Spool
from llmthrift_core.storage.faults import ClosedError

logger = logging.getLogger("llmthrift.ledger")

# Entries per transaction: at most about 40 ms of the write lock, and enough rows of each user to share an update of sums.
_BATCH: Final = 4_000
# How long the thread lets entries gather: with the commit itself they are durable well within 200 ms.
_GATHER_SECONDS: Final = 0.05
# An idle thread ends, so that a ledger that nobody uses or closes is not kept alive by it.
_IDLE_SECONDS: Final = 10.0
# From this many waiting entries on a caller pauses until half of them are written: a caller that is faster than the
# database would otherwise fill the queue, and its entries would not be durable in time.
_CROWDED: Final = 2 * _BATCH
_YIELD_SECONDS: Final = 0.002
_ROOM_SECONDS: Final = 0.1
# How long a thread waits until another one has committed its batch.
_TURN_SECONDS: Final = 10.0
_SHORTEST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 2.0
_LOG_EVERY_SECONDS: Final = 10.0


class Writer:
    """Commits entries in groups. `put` never raises, and waits, up to 100 ms, only for a caller that is faster than the
    database, and never on an event loop.

    When the database cannot be written, entries stay queued and are tried again with growing pauses. They are dropped, counted and logged
    when the queue is full, or when they were tried for `give_up_seconds`. With a spool they go to its file instead, after the first attempt
    that fails, and are replayed when the database can be written again: by this process, or by the next one that opens the spool.

    Args:
        commit: writes a batch in one transaction, or raises StorageError and writes nothing.
        sync: commit before `put` returns, in one group with what other threads have put meanwhile.
        capacity: entries that may wait.
        give_up_seconds: how long a batch is tried again.
        spool: keeps what the database does not take.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Entry]], Outcome],
        *,
        sync: bool = False,
        capacity: int = 100_000,
        give_up_seconds: float = 30.0,
        spool: Spool | None = None,
    ) -> None:
        self._commit = commit
        self._spool = spool
        self._sync = sync
        self._capacity = capacity
        self._crowded = min(capacity, _CROWDED)
        self._give_up_seconds = give_up_seconds
        self._closed = False
        self._start_empty()
        _writers.add(self)
        _exits.watch()
        renew_after_fork(self)
        if spool is not None and spool.waits:
            self._wake_up()

    def _start_empty(self) -> None:
        self.written = 0
        self.lost = 0
        self.duplicates = 0
        self.repaired = 0
        self.spooled = 0
        self.last_error: str | None = None
        self._queue: deque[Entry] = deque()
        self._held: list[Entry] = []  # taken from the queue, not committed yet
        self._draining = threading.Lock()
        self._starting = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._asleep = True
        self._thread: threading.Thread | None = None
        self._failing_since: float | None = None
        self._held_since: float | None = None  # the first attempt with what is held
        self._logged_at: dict[str, float] = {}

    @property
    def pending(self) -> int:
        """Entries that are not committed yet."""
        return len(self._queue) + len(self._held)

    @property
    def is_spooling(self) -> bool:
        """Whether entries wait in the spool's file."""
        return self._spool is not None and self._spool.waits

    def put(self, entry: Entry) -> None:
        """Queue an entry; with `sync`, commit it."""
        queue = self._queue
        if len(queue) >= self._crowded and not self._wait_for_room():
            self._lose(1, "the queue is full")
        elif self._closed:
            self._lose(1, "the ledger is closed")
        else:
            queue.append(entry)
            if self._sync:
                self._commit_now()
            elif self._asleep:
                self._wake_up()

    def flush(self, timeout_seconds: float) -> bool:
        """Commit what was put before. False when that was not possible in time, or entries were lost meanwhile."""
        return self._flush(timeout_seconds, once=False)

    def catch_up(self, timeout_seconds: float) -> bool:
        """As `flush`, but one attempt is enough: a database that does not take entries is not waited for."""
        return self._flush(timeout_seconds, once=True)

    def close(self, timeout_seconds: float) -> bool:
        """Flush, end the thread and refuse further entries. Returns what `flush` returns."""
        flushed = self.flush(timeout_seconds)
        self._closed = True
        self._stopping.set()
        self._wake.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_seconds)
        if self.pending and not self._move_to_spool():
            left = self.pending
            self._queue.clear()
            self._held = []
            self._lose(left, "the ledger was closed before they could be written")
        return flushed

    # --- the queue ---

    def _flush(self, timeout_seconds: float, *, once: bool) -> bool:
        deadline = time.monotonic() + timeout_seconds
        lost = self.lost
        pause = _SHORTEST_PAUSE_SECONDS
        while not self._drain(max(0.0, deadline - time.monotonic())):
            if once or time.monotonic() + pause > deadline or (self.is_spooling and not self.pending):
                return False
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        return self.lost == lost

    def _wait_for_room(self) -> bool:
        """Pause, and say whether the queue takes another entry."""
        # Waiting would slow the application down for nothing, or hold up everything else that an event loop does.
        if self._failing_since is not None or asyncio._get_running_loop() is not None:
            return len(self._queue) < self._capacity
        deadline = time.monotonic() + _ROOM_SECONDS
        while len(self._queue) > self._crowded // 2 and time.monotonic() < deadline:
            time.sleep(_YIELD_SECONDS)
        return len(self._queue) < self._capacity

    def _commit_now(self) -> None:
        # A batch begins with what is queued once this thread has its turn, so one is enough.
        if (self._failing_since is not None and self._spool is None) or not self._drain(_TURN_SECONDS):
            self._wake_up()  # the thread tries again

    def _lose(self, count: int, reason: str) -> None:
        self.lost += count
        now = time.monotonic()
        if now - self._logged_at.get(reason, -_LOG_EVERY_SECONDS) >= _LOG_EVERY_SECONDS:
            self._logged_at[reason] = now
            logger.error("the ledger lost %d of its entries (%d in all): %s", count, self.lost, reason)

    # --- the thread ---

    def _wake_up(self) -> None:
        _exits.watch()
        with self._starting:
            if self._thread is None and not self._closed:
                thread = threading.Thread(target=self._run, name="llmthrift-ledger", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the interpreter is shutting down: no thread will come
                    self._sync = True
                else:
                    self._thread = thread
            self._wake.set()
        if self._thread is None:
            self._drain(_TURN_SECONDS)

    def _run(self) -> None:
        pause = _GATHER_SECONDS
        while not self._closed:
            self._asleep = True
            if not (self.pending or self.is_spooling) and not self._wake.wait(_IDLE_SECONDS):
                with self._starting:
                    if not self.pending:
                        self._thread = None
                        return
            self._asleep = False
            self._wake.clear()
            if len(self._queue) < _BATCH or self._failing_since is not None:
                self._stopping.wait(pause)
            if self._drain(_TURN_SECONDS):
                pause = _GATHER_SECONDS
            else:
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _drain(self, timeout_seconds: float) -> bool:
        """Commit what is queued now, on any thread. False when that was not possible."""
        if not self._draining.acquire(timeout=timeout_seconds):
            return False
        try:
            left = self.pending
            while left > 0:
                if self._held_since is None:  # what comes while a batch fails is tried as long as the batch, after it
                    while self._queue and len(self._held) < _BATCH:
                        self._held.append(self._queue.popleft())
                left -= len(self._held)
                if not self._commit_held():
                    return False
            return not self.is_spooling or self._replay()
        finally:
            self._draining.release()

    def _replay(self) -> bool:
        """Commit what the spool has, file by file. False when that was not possible: it has it still."""
        assert self._spool is not None  # noqa: S101 - narrows the type
        try:
            for batch in self._spool.batches(_BATCH):
                self._held = batch
                if not self._commit_held(is_replay=True):
                    self._held = []
                    return False
        except OSError as error:
            logger.error("the spool cannot be replayed: %s", error.strerror or type(error).__name__)
            return False
        self.spooled = 0
        return True

    def _move_to_spool(self) -> bool:
        """Keep everything that waits in the spool's file. False if there is none, or it cannot be written."""
        if self._spool is None:
            return False
        entries = [*self._held, *(self._queue.popleft() for _ in range(len(self._queue)))]
        self._held = entries
        try:
            self._spool.add(entries)
        except OSError as error:
            logger.error("the spool cannot be written: %s", error.strerror or type(error).__name__)
            return False
        self._held = []
        self.spooled += len(entries)
        return True

    def _commit_held(self, *, is_replay: bool = False) -> bool:
        """Commit the held entries. Of those that the database refuses, only the culprits are repaired, or lost."""
        parts: list[Sequence[Entry]] = [self._held]
        repaired: Entry | None = None
        while parts:
            part = parts.pop()
            try:
                outcome = self._commit(part)
            except ClosedError:
                if is_replay:
                    return False
                self._held = []
                self._lose(len(part) + sum(map(len, parts)), "the database is closed")
                return True
            except Exception as error:  # of our own too: a fault in one entry must not end the recording of the others
                if isinstance(error, StorageError) and not isinstance(error, RowRejectedError):
                    self._held = [*part, *(entry for waiting in reversed(parts) for entry in waiting)]
                    self._failed(error, is_replay=is_replay)
                    return False
                if len(part) > 1:
                    parts += (part[len(part) // 2 :], part[: len(part) // 2])
                elif part[0] is repaired or (repaired := self._repaired(part[0])) is None:
                    self._lose(1, f"an entry cannot be stored ({type(error.__cause__ or error).__name__})")
                else:
                    parts.append([repaired])
            else:
                self.written += outcome.written
                self.duplicates += outcome.duplicates
        self._held = []
        if self._failing_since is not None:
            logger.warning("the ledger can be written again")
        self._failing_since = self._held_since = self.last_error = None
        return True

    def _repaired(self, entry: Entry) -> Entry | None:
        try:
            repaired = repair(entry)
        except Exception as error:  # an object that cannot even be turned into text
            logger.error("a ledger entry cannot be repaired: %s", type(error).__name__)
            return None
        self.repaired += 1
        return repaired

    def _failed(self, error: StorageError, *, is_replay: bool) -> None:
        now = time.monotonic()
        self.last_error = str(error)
        if self._failing_since is None:
            self._failing_since = now
            logger.error("the ledger cannot be written now and will be tried again: %s", error)
        if is_replay or self._move_to_spool():
            return
        if self._held_since is None:
            self._held_since = now
        elif now - self._held_since > self._give_up_seconds:
            left = len(self._held)
            self._held = []
            self._held_since = None  # those that come next are tried as long
            self._lose(left, "the database could not be written for too long")

    def after_fork(self) -> None:
        """In a forked child: the parent has the queue and the thread, and writes what was put before the fork."""
        if self._spool is not None:
            self._spool.after_fork()
        self._start_empty()

    def finish(self, timeout_seconds: float) -> None:
        """The process ends: commit what is queued, and from now on whatever is put, since no thread may be left to do so."""
        self.flush(timeout_seconds)
        self._sync = True


_writers: weakref.WeakSet[Writer] = weakref.WeakSet()


def _finish_all(timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    for writer in list(_writers):
        writer.finish(max(0.0, deadline - time.monotonic()))


_exits = Exits(_finish_all)

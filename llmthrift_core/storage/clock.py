"""The time of a store, and whether what throws things away may believe it.

Processes on several machines share a store, and the clock of one of them may be wrong. PostgreSQL and Valkey tell their own time. SQLite
has none: there a process goes by its own clock, and one that is far ahead of everything in the store throws nothing away until it has
seen that nobody else lives in an earlier time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sqlalchemy import literal_column, select

from llmthrift_core.errors import StorageError
from llmthrift_core.moments import DAY_US
from llmthrift_core.storage.statements import Statement

if TYPE_CHECKING:
    from llmthrift_core.storage.database import Database
    from llmthrift_core.storage.valkey import ValkeyServer

logger = logging.getLogger("llmthrift")

_POSTGRESQL_NOW_US: Final = Statement(select(literal_column("CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS bigint)")))

_ASK_EVERY_SECONDS: Final = 60.0
_LEAP_US: Final = DAY_US
_DOUBT_SECONDS: Final = 900.0
_ANY_TIME_US: Final = 2**62


class StoreClock:
    """Seconds since the epoch, by the store's clock. Safe to share between threads.

    Args:
        ask: asks the store for its time, in microseconds; None where it has none, and this machine's clock is taken. It is asked once a
            minute; in between the time goes on by itself.
    """

    def __init__(self, ask: Callable[[], int] | None = None) -> None:
        self._ask = ask
        self._known: tuple[float, float] | None = None  # the store's time, and the monotonic time at which it was asked
        self._lock = threading.Lock()

    def __call__(self) -> float:
        """Now. Where the store cannot be reached, by what it said last, else by this machine's clock."""
        if self._ask is None:
            return time.time()
        known, now = self._known, time.monotonic()
        if (known is None or now - known[1] >= _ASK_EVERY_SECONDS) and self._lock.acquire(blocking=known is None):
            try:
                before = time.monotonic()
                told = self._ask() / 1e6
                now = time.monotonic()
                self._known = known = (told + (now - before) / 2, now)
            except StorageError:
                if known is not None:
                    self._known = known = (known[0] + now - known[1], now)  # not asked again with every call
            finally:
                self._lock.release()
        return time.time() if known is None else known[0] + time.monotonic() - known[1]


def clock_of(database: Database, valkey: ValkeyServer | None = None) -> StoreClock:
    """The clock of the server that keeps something, or of the database."""
    if valkey is not None:
        return StoreClock(lambda: _valkey_now_us(valkey))
    return StoreClock(lambda: _postgresql_now_us(database)) if database.dialect == "postgresql" else StoreClock()


def _valkey_now_us(valkey: ValkeyServer) -> int:
    seconds, microseconds = valkey.ask("TIME")
    return int(seconds) * 1_000_000 + int(microseconds)


def _postgresql_now_us(database: Database) -> int:
    row = database.fetch_one(_POSTGRESQL_NOW_US, ())
    return int(row[0]) if row is not None else int(time.time() * 1e6)


class Sanity:
    """Tells the time for expiring, forgetting and pruning; None while it is in doubt. Safe to share between threads.

    A clock that is more than a day ahead of the newest moment in the store may be wrong, or nobody was here for a while. It is believed
    once a quarter of an hour has passed in which nobody else wrote of an earlier time.

    Args:
        clock: seconds since the epoch.
        newest_us: the newest moment before a given one that the store knows of, in microseconds; None if it knows of none.
    """

    def __init__(self, clock: Callable[[], float], newest_us: Callable[[int], int | None]) -> None:
        self._clock = clock
        self._newest_us = newest_us
        self._is_believed = False
        self._doubt: tuple[int, float] | None = None  # the newest moment, and since when it makes this clock doubtful

    def now_us(self) -> int | None:
        """Microseconds since the epoch, or None.

        Raises:
            StorageError: the store cannot be asked.
        """
        now_us = int(self._clock() * 1e6)
        if self._is_believed:
            return now_us
        doubt, now = self._doubt, time.monotonic()
        if doubt is not None and now - doubt[1] < _DOUBT_SECONDS:
            return None
        newest_us = self._newest_us(_ANY_TIME_US if doubt is None else now_us - _LEAP_US)
        if newest_us is None or now_us - newest_us <= _LEAP_US or (doubt is not None and newest_us == doubt[0]):
            self._is_believed = True
            return now_us
        if doubt is None:
            logger.warning(
                "the clock is %.1f days ahead of the newest entry in the store: nothing is expired or deleted before it is certain that "
                "nobody writes of an earlier time",
                (now_us - newest_us) / DAY_US,
            )
        self._doubt = newest_us, now
        return None

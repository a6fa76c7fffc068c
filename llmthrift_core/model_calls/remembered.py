"""Remembered judgements of texts, so that the same text is judged or rated once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import bindparam, delete, select

from llmthrift_core.background.forks import renew_after_fork
from llmthrift_core.errors import StorageError
from llmthrift_core.moments import DAY_US
from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import judgements

if TYPE_CHECKING:
    from llmthrift_core.host import Host

_KEPT_US: Final = 90 * DAY_US  # a model's name may stand for another model by then
_MILLION: Final = 1_000_000
GET_JUDGEMENT: Final = Statement(
    select(judgements.c.value).where(judgements.c.key == bindparam("of_key"), judgements.c.at_us >= bindparam("since_us"))
)
PUT_JUDGEMENT: Final = Statement(
    lambda insert: (
        insert(judgements)
        .values({name: bindparam(name) for name in ("key", "value", "at_us")})
        .on_conflict_do_update(index_elements=["key"], set_={name: insert(judgements).excluded[name] for name in ("value", "at_us")})
    )
)
FORGET_JUDGEMENTS: Final = Statement(delete(judgements).where(judgements.c.at_us < bindparam("before_us")))


class Remembered(NamedTuple):
    """What was said. None: the reply was no judgement."""

    value: float | None


class Memory:
    """Values by key: the last few in this process, and for ninety days in a database, if there is one.

    A database that fails is passed over: the judge is asked again then.

    Args:
        thrift: whose database keeps them; None: they are kept in this process only.
        most: how many this process keeps. Those not asked for longest are forgotten.
    """

    def __init__(self, thrift: Host | None, *, most: int = 4_096) -> None:
        self._thrift = thrift
        self._most = most
        self._start_empty()
        renew_after_fork(self)

    def recent(self, key: bytes) -> Remembered | None:
        """What was said, as far as this process keeps it. Asks no database."""
        with self._lock:
            if (found := self._recent.get(key)) is not None:
                self._recent.move_to_end(key)
            return found

    def get(self, key: bytes) -> Remembered | None:
        """What was said, or None if nothing was."""
        found = self.recent(key)
        if found is not None or self._thrift is None:
            return found
        try:
            row = self._thrift.database.fetch_one(GET_JUDGEMENT, (key, self._thrift.now_us() - _KEPT_US))
        except StorageError as error:
            self._thrift.note_failure("judgements", error)
            return None
        if row is None:
            return None
        return self._keep(key, Remembered(None if row[0] is None else row[0] / _MILLION))

    def put(self, key: bytes, value: float | None) -> None:
        """Remember it."""
        self._keep(key, Remembered(value))
        if self._thrift is None:
            return
        now_us = self._thrift.now_us()
        try:
            with self._thrift.database.transaction() as transaction:
                transaction.execute(PUT_JUDGEMENT, (key, None if value is None else round(value * _MILLION), now_us))
                transaction.execute(FORGET_JUDGEMENTS, (now_us - _KEPT_US,))
        except StorageError as error:
            self._thrift.note_failure("judgements", error)

    def _keep(self, key: bytes, value: Remembered) -> Remembered:
        with self._lock:
            self._recent[key] = value
            if len(self._recent) > self._most:
                self._recent.popitem(last=False)
        return value

    def after_fork(self) -> None:
        """A thread of the parent may have held the lock."""
        self._start_empty()

    def _start_empty(self) -> None:
        self._lock = threading.Lock()
        self._recent: OrderedDict[bytes, Remembered] = OrderedDict()

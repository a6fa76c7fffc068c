"""`Outbox`: what waits to be sent to one channel, tried again with growing pauses in a thread of its own; and a record
in the database of what was told, so that of all processes that see a thing one tells it, once per window."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import bindparam, delete

from llmthrift_core.alerts.alert import Notice
from llmthrift_core.alerts.channels import Channel, title_of
from llmthrift_core.alerts.webhook import DeliveryError
from llmthrift_core.background.forks import renew_after_fork
from llmthrift_core.background.waking import Waking
from llmthrift_core.display import counted
from llmthrift_core.moments import DAY_US
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import told_alerts

logger = logging.getLogger("llmthrift.alerts")

Ended = Callable[[Sequence[Notice], bool, bool], None]
PAUSES: Final = (1.0, 4.0, 15.0, 60.0)
"""Seconds between the attempts of one message."""
_MOST_WAITING: Final = 100
_DEAD: Final = 2  # attempts in a row: one may be a blink


@dataclass(slots=True)
class _Message:
    notices: Sequence[Notice]
    id: str
    attempts: int = 0
    due: float = 0.0


class Outbox:
    """Sends to one channel. A channel that hangs holds up no other one.

    Args:
        ended: is told of each message when nothing more is done with it: what it said, whether it was taken, and whether it might be later.

    Attributes:
        sent, lost: messages that were taken, and that were given up after all attempts. attempts_failed: attempts that were in vain.
        is_dead: it has taken nothing since two attempts in a row failed, or a message was given up.
        last_error: the kind of the last failure; without addresses.
    """

    def __init__(self, channel: Channel, ended: Ended, *, pauses: Sequence[float] = PAUSES) -> None:
        self.channel = channel
        self._ended = ended
        self._pauses = pauses
        self.sent = self.lost = self.attempts_failed = 0
        self.is_dead = False
        self.last_error: str | None = None
        self._in_vain = 0  # attempts since it last took something
        self._waking = Waking(self._work, retry_seconds=5.0, name="llmthrift-alerts-out")
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """The parent sends what was waiting."""
        self._changed = threading.Condition()
        self._waiting: deque[_Message] = deque()
        self._tried = 0

    def put(self, notices: Sequence[Notice]) -> None:
        """Send a message: at once where it is told in this process, else soon."""
        message = _Message(tuple(notices), uuid4().hex)
        if self.channel.is_here:
            self._attempt(message)
            return
        with self._changed:
            dropped = self._waiting.popleft() if len(self._waiting) >= _MOST_WAITING else None
            self._waiting.append(message)
        if dropped is not None:
            self.lost += 1
            self._ended(dropped.notices, False, False)  # too much is told already
        self._waking.wake()

    def wait(self, timeout_seconds: float) -> bool:
        """Until every message was tried at least once. False if that took longer."""
        with self._changed:
            return self._changed.wait_for(lambda: all(message.attempts for message in self._waiting), timeout_seconds)

    def health(self) -> dict[str, Any]:
        """How it does."""
        return {
            "channel": self.channel.name,
            "sent": self.sent,
            "waiting": len(self._waiting),
            "lost": self.lost,
            "attempts_failed": self.attempts_failed,
            "dead": self.is_dead,
            "last_error": self.last_error,
        }

    def alert(self) -> str | None:
        """Says that it is dead."""
        if not self.is_dead:
            return None
        waiting, lost = len(self._waiting), self.lost
        kept = f"{counted(waiting, 'message waits', 'messages wait')} for it, {lost:,} {'was' if lost == 1 else 'were'} given up"
        return f"alerts do not reach {self.channel.name} ({self.last_error}): {kept}"

    def close(self, timeout_seconds: float) -> None:
        """Try what waits a last time, and stop."""
        self.wait(timeout_seconds)
        self._waking.close(timeout_seconds)
        while self._waiting:
            self.lost += 1
            self._ended(self._waiting.popleft().notices, False, True)

    def _work(self) -> float | None:
        while True:
            with self._changed:
                now = time.monotonic()
                message = next((each for each in self._waiting if each.due <= now), None)
                if message is None:
                    return min((each.due for each in self._waiting), default=now + 3600) - now if self._waiting else None
            is_done = self._attempt(message)
            with self._changed:
                if is_done and message in self._waiting:
                    self._waiting.remove(message)
                self._changed.notify_all()

    def _attempt(self, message: _Message) -> bool:
        """Try once. True where nothing more is to be done."""
        try:
            self.channel.send(title_of(message.notices), message.notices, message.id)
        except DeliveryError as error:
            message.attempts += 1
            self.attempts_failed += 1
            self._in_vain += 1
            self.last_error = str(error)
            self.is_dead = self.is_dead or self._in_vain >= _DEAD
            if error.may_retry and message.attempts <= len(self._pauses) and not self.channel.is_here:
                message.due = time.monotonic() + self._pauses[message.attempts - 1]
                return False
            self.lost += 1
            self.is_dead = True
            self._ended(message.notices, False, error.may_retry)
            logger.error("an alert could not be sent to %s: %s (%d so far)", self.channel.name, error, self.lost)
            return True
        message.attempts += 1
        self.sent += 1
        self._in_vain, self.is_dead = 0, False
        self._ended(message.notices, True, False)
        return True


_KEPT_US: Final = 400 * DAY_US
CLAIM: Final = Statement(
    lambda insert: (
        insert(told_alerts)
        .values({name: bindparam(name) for name in ("key", "kind", "at_us")})
        .on_conflict_do_nothing(index_elements=["key"])
    )
)
RELEASE: Final = Statement(delete(told_alerts).where(told_alerts.c.key == bindparam("told_key")))
FORGET: Final = Statement(delete(told_alerts).where(told_alerts.c.at_us < bindparam("before_us")))


def claim(database: Database, notice: Notice, *, now_us: int) -> bool:
    """Whether nobody has told this in its window. From then on somebody has.

    Raises:
        StorageError: the database cannot be written.
    """
    with database.transaction() as transaction:
        is_first = bool(transaction.execute(CLAIM, (key_of(notice), notice.on, now_us)))
        if is_first:
            transaction.execute(FORGET, (now_us - _KEPT_US,))
        return is_first


def release(database: Database, notice: Notice) -> None:
    """Nobody was reached: whoever looks next tells it.

    Raises:
        StorageError: the database cannot be written.
    """
    with database.transaction() as transaction:
        transaction.execute(RELEASE, (key_of(notice),))


def key_of(notice: Notice) -> bytes:
    """A hash: names of users and features in the table would have to be erased with them."""
    scope = sorted((name, str(value)) for name, value in notice.scope.items())
    return hashlib.sha256(repr((notice.alert, notice.on, scope, notice.window)).encode()).digest()

"""`Alerts`: who watches, tells once, and keeps those apart who cannot be reached."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from llmthrift_core.alerts.alert import Alert, Notice
from llmthrift_core.alerts.channels import Channel, Target, key_of
from llmthrift_core.alerts.conditions import CONDITIONS
from llmthrift_core.alerts.outbox import PAUSES, Outbox, claim, release
from llmthrift_core.alerts.watched import AlertHost, Watched
from llmthrift_core.attachments import Parts
from llmthrift_core.background.waking import Waking
from llmthrift_core.errors import ConfigurationError, StorageError, place_of
from llmthrift_core.settings import is_disabled

logger = logging.getLogger("llmthrift.alerts")

Notices = list[Notice]  # the class has a method of that name

_INTERVAL_SECONDS: Final = 60.0
_SLOW_SECONDS: Final = 300.0
_SLOW: Final = frozenset({"quality", "forecast", "cache_health"})  # what changes in hours, and is not free to read
_BETWEEN_SECONDS: Final = 0.3  # looks at budgets, however many calls are recorded
_WAIT_SECONDS: Final = 10.0
_MOST_TOLD: Final = 1_000


@dataclass(slots=True)
class _Telling:
    """A notice on its way: to how many channels yet, whether one took it, and whether one that did not might later."""

    notice: Notice
    left: int
    is_taken: bool = False
    may_retry: bool = False


class Alerts:
    """The alerts of one `Thrift`. Nothing is watched or sent before one is added. Safe to share between threads.

    Args:
        host: the whole; it is watched, and counts what could not be looked at.
        parts: what is attached to it.
        interval_seconds: between two looks in the background; budgets are also looked at within a second of what is recorded.
        pauses: seconds between the attempts of a message that a channel does not take.
    """

    def __init__(
        self, host: AlertHost, parts: Parts, *, interval_seconds: float = _INTERVAL_SECONDS, pauses: Sequence[float] = PAUSES
    ) -> None:
        self._host, self._parts = host, parts
        self.interval_seconds = interval_seconds
        self._pauses = pauses
        self._alerts: dict[str, Alert] = {}
        self._outboxes: dict[Any, Outbox] = {}
        self._process = uuid4().hex
        self._looking = threading.RLock()  # a function that is told may look itself
        self._ending = threading.Lock()
        self._open: dict[int, _Telling] = {}  # by the notice's id()
        self._told: deque[Notice] = deque(maxlen=_MOST_TOLD)
        self._failures = 0
        self._looked_at: dict[str, float] = {}
        self._budgets_at = float("-inf")
        self._listens = False
        self._waking = Waking(self._look, retry_seconds=5.0, name="llmthrift-alerts")

    # --- keeping ---

    def add(self, alert: Alert, *, watch: bool = True) -> Alert:
        """Watch for something from now on, in the background of this process; one of the same name is replaced. Returns it.

        Args:
            watch: False leaves the looking to `check`.

        Raises:
            ConfigurationError: no Alert, or a URL that apprise does not understand.
            MissingExtraError: a URL for apprise, which is not installed.
        """
        if not isinstance(alert, Alert):
            raise ConfigurationError(f"an Alert is needed, not {type(alert).__name__}")
        for target in alert.to:
            self._outbox(target, alert)
        self._alerts = {**self._alerts, alert.name: alert}
        if watch and not is_disabled():
            self._listen()
            self._waking.wake()
        return alert

    def remove(self, name: str) -> bool:
        """Watch no more for it. False if there is no alert of that name."""
        found = name in self._alerts
        self._alerts = {each: alert for each, alert in self._alerts.items() if each != name}
        return found

    def list(self) -> Sequence[Alert]:
        """Those that were added."""
        return tuple(self._alerts.values())

    # --- looking ---

    def look(self, alerts: Iterable[Alert] | None = None) -> Notices:
        """What there is to tell now, whether it was told already or not. Tells nobody."""
        watched = Watched(self._host, self._parts, self._process)
        return [notice for alert in (self.list() if alerts is None else alerts) for notice in self._notices(alert, watched)]

    def check(self, *, wait_seconds: float = _WAIT_SECONDS) -> Notices:
        """Look at everything now, and tell what was not told in its window. Returns what this process told since the last check, in the
        background too.

        Args:
            wait_seconds: how long to wait until channels were tried once; what they do not take is tried again in the background.
        """
        self._check(self.list())
        deadline = time.monotonic() + wait_seconds
        for outbox in self._outboxes.values():
            outbox.wait(max(0.0, deadline - time.monotonic()))
        found: Notices = []
        while self._told:
            found.append(self._told.popleft())
        return found

    def test(self, *, wait_seconds: float = _WAIT_SECONDS) -> dict[str, bool]:
        """Send a test message to each channel of all alerts. Returns for each whether it was taken at the first attempt."""
        notice = Notice("test", "test", "This is a test of llmthrift's alerts: nothing happened.", Watched(self._host, self._parts, "").at)
        results = {}
        deadline = time.monotonic() + wait_seconds
        for number, outbox in enumerate(self._outboxes.values(), start=1):
            sent = outbox.sent
            outbox.put([notice])
            outbox.wait(max(0.0, deadline - time.monotonic()))
            name = outbox.channel.name
            results[name if name not in results else f"{name} ({number})"] = outbox.sent > sent
        return results

    # --- life ---

    def health(self) -> dict[str, Any]:
        """How many are watched, which channels are reached, and how often something could not be looked at."""
        channels = [outbox.health() for outbox in self._outboxes.values()]
        return {
            "alerts": len(self._alerts),
            "failures": self._failures,
            "dead": sum(each["dead"] for each in channels),
            "channels": channels,
        }

    def trouble(self) -> Sequence[str]:
        """A sentence for each channel that does not take what it is told."""
        return tuple(said for outbox in self._outboxes.values() if (said := outbox.alert()) is not None)

    def close(self, timeout_seconds: float = 5.0) -> None:
        """Watch no more. What waits is tried a last time."""
        self._waking.close(timeout_seconds)
        if self._listens:
            self._host.ledger.stop_listening(self._wake)
        for outbox in self._outboxes.values():
            outbox.close(timeout_seconds)

    # --- steps ---

    def _listen(self) -> None:
        if not self._listens:
            self._listens = True
            self._host.budgets.on_alert(self._wake)
            self._host.ledger.listen(self._wake)

    def _wake(self, _: object) -> None:
        """A budget's share was reached, or rows were committed."""
        if any(alert.on == "budget" for alert in self._alerts.values()):
            self._waking.wake()

    def _look(self) -> float | None:
        """In the background: everything that is due, and when to look again."""
        now = time.monotonic()
        wait = self._budgets_at + _BETWEEN_SECONDS - now
        if 0 < wait <= _BETWEEN_SECONDS:
            return wait
        self._budgets_at = now
        due = [alert for alert in self.list() if alert.on == "budget" or self._is_due(alert, now)]
        self._check(due)
        return self.interval_seconds if self._alerts else None

    def _is_due(self, alert: Alert, now: float) -> bool:
        every = max(self.interval_seconds, _SLOW_SECONDS) if alert.on in _SLOW else self.interval_seconds
        if now - self._looked_at.get(alert.name, float("-inf")) < every - _BETWEEN_SECONDS:
            return False
        self._looked_at[alert.name] = now
        return True

    def _check(self, alerts: Iterable[Alert]) -> None:
        if is_disabled():
            return
        with self._looking:
            watched = Watched(self._host, self._parts, self._process)
            messages: dict[Any, Notices] = {}
            for alert in alerts:
                for notice in self._new(alert, watched):
                    self._told.append(notice)
                    for target in alert.to:
                        messages.setdefault(key_of(target, alert), []).append(notice)
            with self._ending:
                for notices in messages.values():
                    for notice in notices:
                        self._open.setdefault(id(notice), _Telling(notice, 0)).left += 1
            for key, notices in messages.items():
                self._outboxes[key].put(notices)

    def _ended(self, notices: Sequence[Notice], is_taken: bool, may_retry: bool) -> None:
        """A channel is done with a message. What reached nobody, and might have, is told again by whoever looks next."""
        for notice in notices:
            with self._ending:
                telling = self._open.get(id(notice))
                if telling is None:  # a test
                    continue
                telling.left -= 1
                telling.is_taken |= is_taken
                telling.may_retry |= may_retry
                if telling.left:
                    continue
                del self._open[id(notice)]
            if telling.may_retry and not telling.is_taken:
                try:
                    release(self._host.database, notice)
                except StorageError as error:
                    self._host.note_failure("alerts", error)

    def _new(self, alert: Alert, watched: Watched) -> Notices:
        """What nobody told yet. Of shares of one limit the highest is told, and the lower ones with it."""
        found: Notices = []
        told: set[str] = set()
        for notice in self._notices(alert, watched):
            try:
                is_new = claim(self._host.database, notice, now_us=watched.now_us())
            except StorageError as error:  # told again is better than not at all
                self._fail(alert, error)
                is_new = True
            limit = notice.window.rpartition(" ")[0] + repr(sorted(notice.scope.items(), key=str)) if alert.on == "budget" else ""
            if is_new and (alert.on != "budget" or limit not in told):
                found.append(notice)
            told.add(limit)
        return found

    def _notices(self, alert: Alert, watched: Watched) -> Notices:
        try:
            return [*CONDITIONS[alert.on](watched, alert)]
        except Exception as error:  # one that cannot be looked at hides no other
            self._fail(alert, error)
            return []

    def _fail(self, alert: Alert, error: BaseException) -> None:
        self._failures += 1
        logger.error("the alert %r could not be looked at: %s", alert.name, place_of(error))
        self._host.note_failure("alerts", error)

    def _outbox(self, target: Target, alert: Alert) -> Outbox:
        key = key_of(target, alert)
        if key not in self._outboxes:
            self._outboxes = {**self._outboxes, key: Outbox(Channel(target, alert.secret), self._ended, pauses=self._pauses)}
        return self._outboxes[key]

"""The tier that a session used last, and when, for all processes that share a database."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from llmthrift_core.background.forks import ForkedLock
from llmthrift_core.cache.keys import canonical_json, digest
from llmthrift_core.model_calls.remembered import Memory

if TYPE_CHECKING:
    from llmthrift_core.host import Host

_MOST_TIERS: Final = 100
_MOST: Final = 10_000


class SharedSessions:
    """Sessions by their key. A database that fails is passed over: the session begins anew.

    Args:
        thrift: whose database keeps them, for ninety days.
        tiers: names, in an order that all processes have.
        write_seconds: a session that keeps its tier is written this often at most.
    """

    def __init__(self, thrift: Host, tiers: tuple[str, ...], *, write_seconds: float) -> None:
        self._thrift = thrift
        self._tiers = sorted(tiers)[:_MOST_TIERS]
        self._write_seconds = write_seconds
        self._written: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self._lock = ForkedLock()

    def read(self, key: object) -> tuple[str, float] | None:
        """The tier in use and for how many seconds it has not been used; None of a session that no process knows."""
        found = Memory(self._thrift, most=1).get(self._name(key))  # a memory of its own: another process may have written since
        if found is None or found.value is None:
            return None
        seconds, place = divmod(round(found.value), _MOST_TIERS)
        if place >= len(self._tiers):
            return None
        return self._tiers[place], max(self._now() - seconds, 0.0)

    def write(self, key: object, tier: str) -> None:
        """A session has used a tier now."""
        if tier not in self._tiers:
            return
        name, now = self._name(key), self._now()
        with self._lock:
            before = self._written.get(name)
            if before is not None and before[0] == tier and now - before[1] < self._write_seconds:
                return
            self._written[name] = tier, now
            self._written.move_to_end(name)
            if len(self._written) > _MOST:
                self._written.popitem(last=False)
        Memory(self._thrift, most=1).put(name, int(now) * _MOST_TIERS + self._tiers.index(tier))

    def _now(self) -> float:
        return self._thrift.now_us() / 1e6

    def _name(self, key: object) -> bytes:
        return digest("session", canonical_json(key), canonical_json(self._tiers))

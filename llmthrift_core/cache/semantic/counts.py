"""Counts of the semantic cache: kept in this process, written now and then, and read back for all processes and runs."""

from __future__ import annotations

import math
import threading
from typing import Final

from llmthrift_core.cache.semantic import statements as sql
from llmthrift_core.cache.semantic.policy import DecisionPolicy, Experience
from llmthrift_core.moments import DAY_US
from llmthrift_core.storage.database import Database

_OF_POLICY: Final = ("requests", "expected_wrong")
NAMES: Final = tuple(name for name in sql.COUNT_NAMES if name not in _OF_POLICY)


class CacheCounts:
    """Counts exactly, under one lock. Safe to share between threads.

    Args:
        namespace, space: which cache counts.
        policy: hears of what others did.
    """

    def __init__(self, database: Database, policy: DecisionPolicy, *, namespace: str, space: str) -> None:
        self._database = database
        self._policy = policy
        self._of = (namespace, space)
        self._lock = threading.Lock()
        self._own = dict.fromkeys(NAMES, 0)
        self._written: dict[str, float] = dict.fromkeys(sql.COUNT_NAMES, 0)
        self._all: dict[str, float] = dict.fromkeys(sql.COUNT_NAMES, 0)  # of all processes, when last read
        self._shadow_nano_usd: dict[int, int] = {}  # by day, of all processes, when last read
        self._unwritten_shadow_nano_usd = 0

    def add(
        self,
        namespace: str = "",
        *,
        exact_hits: int = 0,
        semantic_hits: int = 0,
        misses: int = 0,
        observed_hits: int = 0,
        shadow_checks: int = 0,
        shadow_nano_usd: int = 0,
        guarded: int = 0,
        stores: int = 0,
        evictions: int = 0,
        evicted_unused: int = 0,
        expired_unused: int = 0,
    ) -> None:
        """Count events. `namespace` is that of whoever evicts, and always this cache's own."""
        with self._lock:
            own = self._own
            own["exact_hits"] += exact_hits
            own["semantic_hits"] += semantic_hits
            own["misses"] += misses
            own["observed_hits"] += observed_hits
            own["shadow_checks"] += shadow_checks
            own["shadow_nano_usd"] += shadow_nano_usd
            own["guarded"] += guarded
            own["stores"] += stores
            own["evictions"] += evictions
            own["evicted_unused"] += evicted_unused
            own["expired_unused"] += expired_unused
            self._unwritten_shadow_nano_usd += shadow_nano_usd

    def own(self) -> dict[str, int]:
        """The counts of this process."""
        with self._lock:
            return dict(self._own)

    def all(self) -> dict[str, float]:
        """The counts of all processes and runs as far as they are written, and of this one until now."""
        with self._lock:
            return {name: self._all[name] + self._own[name] - self._written[name] for name in NAMES}

    def shadow_nano_usd(self, now_us: int) -> int:
        """What shadow checks have cost today (UTC), in nano-USD."""
        with self._lock:
            return self._shadow_nano_usd.get(now_us // DAY_US, 0) + self._unwritten_shadow_nano_usd

    def write(self, now_us: int) -> None:
        """Write what was counted since the last time, and read what others did. Raises StorageError."""
        with self._lock:
            experience = self._policy.experience()
            wrong = 0.0 if math.isnan(experience.expected_wrong) else experience.expected_wrong
            counted: dict[str, float] = {**self._own, "requests": experience.requests, "expected_wrong": wrong}
            more = {name: counted[name] - self._written[name] for name in sql.COUNT_NAMES}
            if any(more.values()):
                values = {"namespace": self._of[0], "space": self._of[1], "day": now_us // DAY_US, "risk": experience.risk, **more}
                with self._database.transaction() as transaction:
                    transaction.execute(sql.ADD_COUNTS, [values[name] for name in sql.ADD_COUNTS.names])
                self._written, self._unwritten_shadow_nano_usd = counted, 0
            self._read()

    def read(self) -> None:
        """Read what others did. Raises StorageError."""
        with self._lock:
            self._read()

    def after_fork(self) -> None:
        """What was counted until now, the parent writes; its lock may have been held."""
        self._lock = threading.Lock()
        experience = self._policy.experience()
        wrong = 0.0 if math.isnan(experience.expected_wrong) else experience.expected_wrong
        self._written = {**self._own, "requests": experience.requests, "expected_wrong": wrong}
        self._unwritten_shadow_nano_usd = 0

    def _read(self) -> None:
        totals: dict[str, float] = dict.fromkeys(sql.COUNT_NAMES, 0)
        risk: float | None = None
        shadow: dict[int, int] = {}
        for day, day_risk, *numbers in self._database.fetch_all(sql.GET_COUNTS, self._of):
            values = dict(zip(sql.COUNT_NAMES, numbers, strict=True))
            if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
                continue  # a row that is not ours
            if any(number < 0 for name, number in values.items() if name != "expected_wrong"):  # of which a day may take some back
                continue
            risk = day_risk if isinstance(day_risk, float) and math.isfinite(day_risk) else None
            shadow[day] = values["shadow_nano_usd"]
            for name, number in values.items():
                totals[name] += number
        self._all, self._shadow_nano_usd = totals, shadow
        others = {name: totals[name] - self._written[name] for name in sql.COUNT_NAMES}
        requests, hits, checks = (int(others[name]) for name in ("requests", "semantic_hits", "shadow_checks"))
        self._policy.recall(Experience(requests, hits, checks, others["expected_wrong"], risk))

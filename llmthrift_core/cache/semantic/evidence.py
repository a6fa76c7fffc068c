"""Evidence of right and wrong answers, shared by all processes through the database."""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np

from llmthrift_core.cache.semantic import statements as sql
from llmthrift_core.cache.semantic.features import WIDTH
from llmthrift_core.cache.semantic.policy import DecisionPolicy, Observation
from llmthrift_core.cache.semantic.store import vector_of
from llmthrift_core.storage.database import Database

_REMEMBERED: Final = 5_000


class Evidence:
    """Passes observations on to the policy: this process's at once, those of others and of earlier runs when asked.

    Args:
        namespace, space: whose observations these are; others say nothing about them.
    """

    def __init__(self, database: Database, policy: DecisionPolicy, *, namespace: str, space: str) -> None:
        self._database = database
        self._policy = policy
        self._namespace = namespace
        self._space = space
        self._seen = 0
        self._own: deque[bytes] = deque(maxlen=_REMEMBERED)

    def learn(self, observation: Observation, now_us: int) -> None:
        """Store an observation and pass it on. Raises StorageError."""
        row = {
            "namespace": self._namespace,
            "space": self._space,
            "features": np.array(observation.features, dtype="<f4").tobytes(),
            "was_right": int(observation.right),
            "weight": round(min(observation.weight, 1e6) * 1000),
            "checked": int(observation.was_checked),
            "at_us": now_us,
        }
        self._policy.observe(observation)
        self._own.append(row["features"])  # type: ignore[arg-type]
        self._database.write_one(sql.ADD_EVIDENCE, sql.ADD_EVIDENCE.in_order(**row))

    def catch_up(self) -> None:
        """Take up what others have learned since the last time. Raises StorageError."""
        own = set(self._own)
        found = self._database.fetch_all(sql.NEW_EVIDENCE, (self._namespace, self._space, self._seen, _REMEMBERED))
        for number, features, right, weight, checked in reversed(found):  # the oldest first
            self._seen = max(self._seen, number)
            values = vector_of(features, WIDTH)
            if values is not None and type(weight) is int and features not in own:
                known = tuple(values.astype(float).tolist())
                self._policy.observe(Observation(known, bool(right), max(weight, 1) / 1000, bool(checked)))

    def forget_old(self) -> None:
        """Remove what is no longer looked at. Raises StorageError."""
        row = self._database.fetch_one(sql.OLD_EVIDENCE, (self._namespace, self._space, _REMEMBERED))
        if row is not None:
            with self._database.transaction() as transaction:
                transaction.execute(sql.REMOVE_EVIDENCE, (self._namespace, self._space, row[0]))

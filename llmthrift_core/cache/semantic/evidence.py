"""What was learned about when answers are right, shared by all processes through the database."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from llmthrift_core.cache.semantic.entries import SemanticEntries
from llmthrift_core.cache.semantic.features import WIDTH
from llmthrift_core.cache.semantic.policy import DecisionPolicy, Observation

_REMEMBERED: Final = 5_000


class Evidence:
    """Passes observations on to the policy: this process's at once, those of others and of earlier runs when asked.

    Args:
        namespace, space: whose observations these are; others say nothing about them.
    """

    def __init__(self, entries: SemanticEntries, policy: DecisionPolicy, *, namespace: str, space: str) -> None:
        self._entries = entries
        self._policy = policy
        self._namespace = namespace
        self._space = space
        self._seen = 0
        self._own: deque[bytes] = deque(maxlen=_REMEMBERED)

    def row(self, observation: Observation, now_us: int) -> Mapping[str, Any]:
        """An observation as it is stored."""
        return {
            "namespace": self._namespace,
            "space": self._space,
            "features": np.array(observation.features, dtype="<f4").tobytes(),
            "was_right": int(observation.right),
            "weight": round(min(observation.weight, 1e6) * 1000),
            "checked": int(observation.was_checked),
            "at_us": now_us,
        }

    def stored(self, row: Mapping[str, Any], observation: Observation) -> None:
        """An observation of this process is in the database now."""
        self._own.append(row["features"])
        self._policy.observe(observation)

    def learn(self, observation: Observation, now_us: int) -> None:
        """Store an observation and pass it on. Raises StorageError."""
        row = self.row(observation, now_us)
        self._entries.add_evidence(row)
        self.stored(row, observation)

    def catch_up(self) -> None:
        """Take up what others have learned since the last time. Raises StorageError."""
        own = set(self._own)
        for number, features, right, weight, checked in self._entries.evidence(self._namespace, self._space, self._seen, _REMEMBERED):
            self._seen = max(self._seen, number)
            if features in own or len(features) != 4 * WIDTH:
                continue
            values = np.frombuffer(features, dtype="<f4")
            if np.isfinite(values).all():
                known = tuple(values.astype(float).tolist())
                self._policy.observe(Observation(known, bool(right), max(weight, 1) / 1000, bool(checked), None))

"""The switch that stops every autopilot of a database, and what its users approved: kept as versions, seen by every process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from llmthrift_core.versions import Configurations

NAME: Final = "autopilot"
"""Of the configuration that holds it."""


@dataclass(frozen=True, slots=True)
class Switch:
    """What users said.

    Attributes:
        stopped: nothing is done.
        why: it was stopped.
        approved: ids of changes that may be tried.
    """

    stopped: bool = False
    why: str = ""
    approved: tuple[str, ...] = ()

    @classmethod
    def read(cls, configurations: Configurations) -> Switch:
        """What is said now. Raises StorageError."""
        if configurations.store.active(NAME) is None:
            return cls()
        value: Any = configurations.load(NAME).value
        if not isinstance(value, Mapping):
            return cls(stopped=True, why=f"the configuration {NAME!r} is no mapping")  # somebody has changed it: do nothing
        return cls(bool(value.get("stopped")), str(value.get("why") or ""), tuple(map(str, value.get("approved") or ())))

    def save(self, configurations: Configurations, note: str) -> None:
        """Say this from now on. Raises StorageError."""
        value = {"stopped": self.stopped, "why": self.why, "approved": list(self.approved)}
        configurations.save(NAME, value, note=note)

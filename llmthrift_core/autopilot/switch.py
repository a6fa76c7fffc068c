"""The switch that stops every autopilot of a database, and what its users approved: kept as versions, seen by every process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
        version: that says so; 0: nobody has said anything.
    """

    stopped: bool = False
    why: str = ""
    approved: tuple[str, ...] = ()
    version: int = 0

    @classmethod
    def read(cls, configurations: Configurations) -> Switch:
        """What is said now. Raises StorageError."""
        if configurations.store.active(NAME) is None:
            return cls()
        found = configurations.load(NAME)
        value: Any = found.value
        if not isinstance(value, Mapping):  # somebody has changed it: do nothing
            return cls(stopped=True, why=f"the configuration {NAME!r} is no mapping", version=found.version)
        approved = tuple(map(str, value.get("approved") or ()))
        return cls(bool(value.get("stopped")), str(value.get("why") or ""), approved, found.version)

    @classmethod
    def change(cls, configurations: Configurations, note: str, to: Callable[[Switch], Switch]) -> None:
        """Say something else from now on. What others say meanwhile is kept: an approval does not undo a stop. Raises StorageError."""
        while True:
            said = cls.read(configurations)
            new = replace(to(said), version=said.version)
            if new == said and said.version:
                return
            value = {"stopped": new.stopped, "why": new.why, "approved": list(new.approved)}
            if configurations.save(NAME, value, note=note, active=said.version) is not None:
                return

"""The runs around model runs: which trace they belong to, and which of them continue a call that failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from llmthrift_core.call import Call

_MOST_RUNS = 50_000


class Attempt(NamedTuple):
    """A failed attempt that a sibling run may continue."""

    call_id: str
    attempt: int
    model: str


@dataclass(slots=True)
class _Scope:
    root: UUID
    failed: Attempt | None = None


class Lineage:
    """The open chain, tool and graph runs of one handler.

    LangChain tells a model run its parent only. The root is found by remembering each chain's root. A model run (or a chain with one)
    that starts under a parent where a sibling has just failed is the next attempt of the same call: that is how `with_retry`,
    `with_fallbacks` and the agent middlewares look from inside.
    """

    def __init__(self) -> None:
        self._scopes: dict[UUID, _Scope] = {}

    def enter(self, run_id: UUID, parent_run_id: UUID | None) -> None:
        """A run other than a model run begins."""
        parent = self._scopes.get(parent_run_id) if parent_run_id is not None else None
        if parent is None:
            scope = _Scope(parent_run_id or run_id)
        else:
            scope = _Scope(parent.root, parent.failed)
            parent.failed = None
        if len(self._scopes) >= _MOST_RUNS:  # runs whose end was never reported
            self._scopes.pop(next(iter(self._scopes)), None)
        self._scopes[run_id] = scope

    def leave(self, run_id: UUID, failed_under: UUID | None = None) -> None:
        """A run ended; if it failed, the parent remembers the attempt that failed inside it."""
        scope = self._scopes.pop(run_id, None)
        if scope is not None and failed_under is not None and scope.failed is not None:
            parent = self._scopes.get(failed_under)
            if parent is not None:
                parent.failed = scope.failed

    def root(self, parent_run_id: UUID | None) -> UUID | None:
        """The outermost run above a model run, where it is known."""
        scope = self._scopes.get(parent_run_id) if parent_run_id is not None else None
        return scope.root if scope is not None else None

    def continues(self, parent_run_id: UUID | None) -> Attempt | None:
        """The failed attempt that a model run under this parent continues."""
        scope = self._scopes.get(parent_run_id) if parent_run_id is not None else None
        if scope is None or scope.failed is None:
            return None
        failed, scope.failed = scope.failed, None
        return failed

    def failed(self, call: Call, parent_run_id: UUID | None) -> None:
        """A model run failed."""
        scope = self._scopes.get(parent_run_id) if parent_run_id is not None else None
        if scope is not None:
            scope.failed = Attempt(call.call_id, call.attempts, call.model)

"""The runs around model runs: which trace they belong to, and which of them continue a call that failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables.config import var_child_runnable_config

if TYPE_CHECKING:
    from llmthrift_core.request import AttemptReason
    from llmthrift_core.thrift import Thrift

_MOST_RUNS = 50_000
_MOST_LEFT = 10_000


class Attempt(NamedTuple):
    """A failed attempt that a sibling run may continue.

    Attributes:
        model: its name; of a router the names of all its models.
    """

    call_id: str
    attempt: int
    model: str

    def followed_by(self, model: str) -> AttemptReason:
        """Why another attempt with this model follows."""
        return "retry" if model == self.model else "fallback"


@dataclass(slots=True)
class _Scope:
    """An open run: the attempt that failed inside it, and the one that it was started to continue."""

    failed: Attempt | None = None
    continued: Attempt | None = None


@dataclass(slots=True)
class _Left:
    """A failed attempt under a run that nobody follows."""

    attempt: Attempt
    taken_by: int | None = None


# What failed under each parent, by Thrift. With a handler in a model's constructor, or a router's runs, nobody is told of the parents.
_left: dict[tuple[int, UUID], _Left] = {}


def note_failed(thrift: Thrift, parent_run_id: UUID | None, attempt: Attempt) -> None:
    """A model run, or a routed call, failed for good."""
    if parent_run_id is not None:
        _left.pop(key := (id(thrift), parent_run_id), None)
        if len(_left) >= _MOST_LEFT:  # which nothing has continued
            _left.pop(next(iter(_left)), None)
        _left[key] = _Left(attempt)


def note_answered(thrift: Thrift, parent_run_id: UUID | None) -> None:
    """A model run, or a routed call, gave an answer: what runs next under its parent is another call."""
    if _left and parent_run_id is not None:
        _left.pop((id(thrift), parent_run_id), None)


def continued(thrift: Thrift, parent_run_id: UUID | None, run_id: int) -> Attempt | None:
    """The failed attempt under this parent that a run continues; the same for every handler that is told of the run."""
    left = _left.get((id(thrift), parent_run_id)) if _left and parent_run_id is not None else None
    if left is None or left.taken_by not in (None, run_id):
        return None
    left.taken_by = run_id
    return left.attempt


# The outermost run of each open one. One for the process: each handler that follows a run would find the same.
_roots: dict[UUID, UUID] = {}


def root_of(parent_run_id: UUID | None) -> UUID | None:
    """The outermost run above one with this parent, where it is known."""
    return _roots.get(parent_run_id) if parent_run_id is not None else None


class Lineage:
    """The open chain, tool and graph runs of one handler.

    A model run (or a chain with one)
    that starts under a parent where a sibling has just failed is the next attempt of the same call: that is how `with_retry`,
    `with_fallbacks` and the agent middlewares look from inside.
    """

    def __init__(self) -> None:
        self._scopes: dict[UUID, _Scope] = {}

    def enter(self, run_id: UUID, parent_run_id: UUID | None) -> None:
        """A run other than a model run begins."""
        parent = self._scopes.get(parent_run_id) if parent_run_id is not None else None
        for runs in (self._scopes, _roots):
            if len(runs) >= _MOST_RUNS:  # runs whose end was never reported
                runs.pop(next(iter(runs)), None)
        self._scopes[run_id] = _Scope() if parent is None else _Scope(continued=_taken(parent))
        _roots[run_id] = run_id if parent_run_id is None else _roots.get(parent_run_id, parent_run_id)

    def leave(self, run_id: UUID, parent_run_id: UUID | None, *, failed: bool = False) -> None:
        """A run ended. What failed inside it, and what it did not continue, is its parent's to continue."""
        _roots.pop(run_id, None)
        scope = self._scopes.pop(run_id, None)
        parent = self._scopes.get(parent_run_id) if parent_run_id is not None else None
        if scope is None or parent is None:
            return
        if failed and scope.failed is not None:
            parent.failed = scope.failed
        elif scope.continued is not None:
            parent.continued = scope.continued

    def surrounding(self) -> UUID | None:
        """The open run around code that calls a model with callbacks of its own, as `with_fallbacks` does."""
        config = var_child_runnable_config.get()
        callbacks = config.get("callbacks") if config else None
        run_id = callbacks.parent_run_id if isinstance(callbacks, BaseCallbackManager) else None
        return run_id if run_id in self._scopes else None

    def continues(self, parent_run_id: UUID | None) -> Attempt | None:
        """The failed attempt that a model run under this parent continues."""
        scope = self._scopes.get(parent_run_id) if parent_run_id is not None else None
        return None if scope is None else _taken(scope)

    def failed(self, attempt: Attempt, parent_run_id: UUID | None) -> None:
        """A model run failed."""
        scope = self._scopes.get(parent_run_id) if parent_run_id is not None else None
        if scope is not None:
            scope.failed = attempt


def _taken(scope: _Scope) -> Attempt | None:
    attempt = scope.failed or scope.continued
    scope.failed = scope.continued = None
    return attempt

"""The runs around model runs: which trace they belong to, and which of them continue a call that failed.

A model run, or a chain with one, that starts under a parent where a sibling has just failed is the next attempt of the same call: that is
how `with_retry`, `with_fallbacks` and the agent middlewares look from inside. A model is told its parent only, so the open runs are kept
once for the process, whichever handler saw them begin; what failed is kept for each database by itself.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.runnables.config import var_child_runnable_config

from llmthrift_core.ledger import paths
from llmthrift_core.ledger.paths import Kind, Step, Surroundings
from llmthrift_langchain.callers import manager_that_starts_a_completion
from llmthrift_langchain.run_metadata import attribution_of_metadata

if TYPE_CHECKING:
    from llmthrift_core.calls.request import AttemptReason

_MOST_RUNS = 50_000


class Attempt(NamedTuple):
    """A failed attempt that a sibling run may continue.

    Attributes:
        run_id: the number of its run's id. The id itself must not be kept, see `endings`.
        model: its name; of a router the names of all its models.
    """

    run_id: int
    call_id: str
    attempt: int
    model: str

    def followed_by(self, model: str) -> AttemptReason:
        """Why another attempt with this model follows."""
        return "retry" if model == self.model else "fallback"


@dataclass(slots=True)
class _Scope:
    """An open run: its outermost run, the runs down to itself, and by database the attempts that failed inside it, and those that it was
    started to continue.

    `above` is the run around it; `begun` its id, name and kind. `given` holds who continues an attempt: several handlers of one database
    may ask for the same run.
    """

    root: UUID
    above: _Scope | None
    begun: tuple[UUID, object, Kind]
    failed: dict[Hashable, Attempt] = field(default_factory=dict)
    continued: dict[Hashable, Attempt] = field(default_factory=dict)
    given: dict[Hashable, tuple[int, Attempt]] = field(default_factory=dict)
    text: str | None = None

    def steps(self) -> tuple[Step, ...]:
        """The runs from the outermost one to this."""
        own = paths.step(*self.begun)
        return (own,) if self.above is None else (*self.above.steps(), own)

    def path(self) -> str | None:
        """The steps as rows keep them; written once, and only for runs in which something is recorded."""
        if self.text is None:
            self.text = paths.to_text(self.steps())
        return self.text

    def take(self, database: Hashable) -> Attempt | None:
        """What failed here last, once."""
        continued = self.continued.pop(database, None)
        return self.failed.pop(database, None) or continued


_scopes: dict[UUID, _Scope] = {}


def enter(run_id: UUID, parent_run_id: UUID | None, name: object = None, kind: Kind = "chain") -> None:
    """A run other than a model run begins. Every handler that follows it may say so."""
    if run_id in _scopes:
        return
    parent = _scope_of(parent_run_id)
    scope = _Scope((parent_run_id or run_id) if parent is None else parent.root, parent, (run_id, name, kind))
    if parent is not None and (parent.failed or parent.continued):
        for database in {*parent.failed, *parent.continued}:
            if (attempt := parent.take(database)) is not None:
                scope.continued[database] = attempt
    if len(_scopes) >= _MOST_RUNS:  # runs whose end was never reported
        _scopes.pop(next(iter(_scopes)), None)
    _scopes[run_id] = scope


def leave(run_id: UUID, parent_run_id: UUID | None, *, failed: bool = False) -> None:
    """A run ended. What failed inside it, and what it did not continue, is its parent's to continue."""
    scope = _scopes.pop(run_id, None)
    parent = _scope_of(parent_run_id)
    if scope is None or parent is None:
        return
    lost = scope.failed if failed else {}
    parent.failed.update(lost)
    for database, attempt in scope.continued.items():
        if database not in lost:
            parent.continued[database] = attempt


def root_of(parent_run_id: UUID | None) -> UUID | None:
    """The outermost run above one with this parent, where it is known."""
    scope = _scope_of(parent_run_id)
    return None if scope is None else scope.root


def around(parent_run_id: UUID | None) -> tuple[UUID | None, UUID | None, str | None]:
    """The run around a call, the outermost one and the path to the first; None where they are unknown.

    Args:
        parent_run_id: as the call is told. A call with callbacks of its own, as `with_fallbacks` makes it, is told of none.
    """
    run_id = surrounding() if parent_run_id is None else parent_run_id
    scope = _scope_of(run_id)
    return (run_id, None, None) if scope is None else (run_id, scope.root, scope.path())


def path_to(parent_run_id: UUID | None) -> str | None:
    """The runs from the outermost one to this parent, as rows keep them; None where they are unknown."""
    scope = _scope_of(parent_run_id)
    return None if scope is None else scope.path()


def around_here() -> Surroundings | None:
    """The open runs around this code."""
    scope = _scope_of(surrounding())
    if scope is None:
        return None
    config = var_child_runnable_config.get() or {}
    return Surroundings(str(scope.root), scope.path(), attribution_of_metadata(config.get("metadata")))


def surrounding() -> UUID | None:
    """The open run around code that calls a model with callbacks of its own, as `with_fallbacks` does."""
    config = var_child_runnable_config.get()
    callbacks = config.get("callbacks") if config else None
    run_id = callbacks.parent_run_id if isinstance(callbacks, BaseCallbackManager) else None
    return run_id if run_id in _scopes else None


def continues(database: Hashable, run_id: int, parent_run_id: UUID | None) -> Attempt | None:
    """The failed attempt that a model run under this parent continues."""
    scope = _scope_of(parent_run_id)
    if scope is None:
        return None
    if (attempt := scope.take(database)) is not None:
        scope.given[database] = run_id, attempt
        return attempt
    given = scope.given.get(database)
    return given[1] if given is not None and given[0] == run_id else None


def failed(database: Hashable, attempt: Attempt, parent_run_id: UUID | None) -> None:
    """A model run under this parent failed. The first to say so of a run is believed: its row is the one that is kept."""
    scope = _scope_of(parent_run_id)
    if scope is not None and ((known := scope.failed.get(database)) is None or known.run_id != attempt.run_id):
        scope.failed[database] = attempt


def answered(database: Hashable, parent_run_id: UUID | None) -> None:
    """A model run under this parent gave an answer: what runs next there is another call."""
    scope = _scope_of(parent_run_id)
    if scope is not None:
        scope.take(database)


def _scope_of(run_id: UUID | None) -> _Scope | None:
    return None if run_id is None else _scopes.get(run_id)


def _name(given: tuple[Any, ...], options: Mapping[str, Any]) -> object:
    """What a run is called: tools have their name in what LangChain tells of the object, the others among the options."""
    described = given[0] if given and isinstance(given[0], Mapping) else {}
    return options.get("name") or described.get("name")


class RunFollower(BaseCallbackHandler):
    """A handler that knows the open chains, graph nodes, tools and retrievers."""

    @property
    def run_inline(self) -> bool:  # type: ignore[override]
        """Whether LangChain calls this handler on the event loop itself, where the task and the frames of a run can be seen.

        Always, but for the start of an asynchronous completion model. There langchain-core 1.8 tells the others nothing as soon as one
        handler is inline (langchain-ai/langchain issue 39633), so that this one is none unless another is.
        """
        manager = manager_that_starts_a_completion()
        if manager is None:
            return True
        return any(handler.run_inline for handler in manager.handlers if not isinstance(handler, RunFollower))

    def on_chain_start(self, *given: Any, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any) -> None:
        """A run begins inside of which a model may be called."""
        enter(run_id, parent_run_id, _name(given, kwargs))

    def on_tool_start(self, *given: Any, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any) -> None:
        """A tool begins, which may call models of its own."""
        enter(run_id, parent_run_id, _name(given, kwargs), "tool")

    def on_retriever_start(self, *given: Any, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any) -> None:
        """A retriever begins."""
        enter(run_id, parent_run_id, _name(given, kwargs), "retriever")

    def on_chain_end(self, *given: Any, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any) -> None:
        """It ended."""
        leave(run_id, parent_run_id)

    def on_chain_error(self, *given: Any, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any) -> None:
        """It failed: what runs next to it may be its next attempt."""
        leave(run_id, parent_run_id, failed=True)

    on_tool_end = on_tool_error = on_retriever_end = on_retriever_error = on_chain_end


class _Roots(RunFollower):
    """Follows runs for routers, where no handler of ours does."""

    ignore_llm = ignore_chat_model = True  # every run of the process asks


_following: Final[ContextVar[RunFollower | None]] = ContextVar("llmthrift_follower", default=_Roots())  # noqa: B039 - the same for everybody


@cache
def follow_runs() -> None:
    """From now on, know the outermost run of every run that starts in this process."""
    from langchain_core.tracers.context import register_configure_hook  # costs 20 ms, which the first call would pay

    register_configure_hook(_following, inheritable=True, handle_class=RunFollower)


paths.add_lookup(around_here)

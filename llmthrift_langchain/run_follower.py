"""Following the runs around model calls: which outermost run they belong to, and which of them continue a call that failed.

A model is told its parent run only. Calls of one agent, and of the agents that its tools start, count as one run; so from the first
router or handler on, a small handler follows the runs of this process, and nobody has to put it into a config.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import cache
from typing import Any, Final
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler

from llmthrift_langchain import lineage
from llmthrift_langchain.callers import manager_that_starts_a_completion


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
        lineage.enter(run_id, parent_run_id)

    def on_chain_end(self, *given: Any, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any) -> None:
        """It ended."""
        lineage.leave(run_id, parent_run_id)

    def on_chain_error(self, *given: Any, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any) -> None:
        """It failed: what runs next to it may be its next attempt."""
        lineage.leave(run_id, parent_run_id, failed=True)

    on_tool_start = on_retriever_start = on_chain_start
    on_tool_end = on_tool_error = on_retriever_end = on_retriever_error = on_chain_end


class _Roots(RunFollower):
    """Follows runs for routers, where no handler of ours does."""

    @property
    def ignore_llm(self) -> bool:
        return True

    @property
    def ignore_chat_model(self) -> bool:
        return True


_following: Final[ContextVar[RunFollower | None]] = ContextVar("llmthrift_follower", default=_Roots())  # noqa: B039 - the same for everybody


@cache
def follow_runs() -> None:
    """From now on, know the outermost run of every run that starts in this process."""
    from langchain_core.tracers.context import register_configure_hook  # costs 20 ms, which the first call would pay

    register_configure_hook(_following, inheritable=True, handle_class=RunFollower)

"""What `generate` is given and gives, in LangChain's shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from langchain_core.callbacks import Callbacks
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import RunnableConfig

if TYPE_CHECKING:
    from uuid import UUID


def config_of(
    callbacks: Callbacks, tags: list[str] | None, metadata: dict[str, Any] | None, run_name: str | None, run_id: UUID | None
) -> RunnableConfig:
    """The config that says what the arguments of `generate` say."""
    given = {"callbacks": callbacks, "tags": tags, "metadata": metadata, "run_name": run_name, "run_id": run_id}
    return cast("RunnableConfig", {key: value for key, value in given.items() if value is not None})


def result_of(answers: Sequence[tuple[AIMessage, list[ChatGeneration]]]) -> LLMResult:
    """The answers to several conversations, each with the others that were asked for."""
    return LLMResult(generations=[[ChatGeneration(message=first), *others] for first, others in answers], llm_output={})

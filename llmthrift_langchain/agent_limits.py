"""What an agent's middleware knows of who spends, and the line that it ends prompts with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AnyMessage, HumanMessage
from langchain_core.runnables.config import var_child_runnable_config

from llmthrift_core.attribution import current_attribution
from llmthrift_core.budgets.raising import question_of_refusal, raise_limits
from llmthrift_core.budgets.scopes import Scope
from llmthrift_langchain.run_metadata import attribution_of_metadata
from llmthrift_langchain.runs import root_of, surrounding

if TYPE_CHECKING:
    from llmthrift_core.errors import BudgetExceededError
    from llmthrift_core.thrift import Thrift


def scope_here(model: str | None = None) -> Scope:
    """Who is about to spend, as a model called from here would."""
    metadata = (var_child_runnable_config.get() or {}).get("metadata")
    root = root_of(surrounding())
    return Scope(attribution_of_metadata(metadata).over(current_attribution()), model, None if root is None else str(root))


def with_line(messages: Sequence[AnyMessage], line: str) -> list[AnyMessage]:
    """The messages with a line at the end of the last one: what comes before stays in the provider's prompt cache, and no turn begins."""
    if not messages or messages[-1].type not in ("human", "tool"):
        return [*messages, HumanMessage(line)]
    last: Any = messages[-1]
    content = f"{last.content}\n\n{line}" if isinstance(last.content, str) else [*last.content, {"type": "text", "text": line}]
    return [*messages[:-1], last.model_copy(update={"content": content})]


def ask_for_more(thrift: Thrift, refused: BudgetExceededError) -> bool:
    """Interrupt the graph, or take what it is resumed with: raise the limits of the budget that refused. False for nothing.

    Raises:
        ConfigurationError: an answer that is neither None, False nor a mapping of limits that the budget has.
    """
    from langgraph.types import interrupt  # with LangChain's agents, and only there

    return raise_limits(thrift.budgets, refused, interrupt(question_of_refusal(refused)))

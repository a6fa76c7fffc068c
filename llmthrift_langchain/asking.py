"""`ask_for_more`: a graph is interrupted where a budget refuses, and resumed with a raised limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmthrift_core.budgets.raising import question_of_refusal, raise_limits

if TYPE_CHECKING:
    from llmthrift_core.errors import BudgetExceededError
    from llmthrift_core.thrift import Thrift


def ask_for_more(thrift: Thrift, refused: BudgetExceededError) -> bool:
    """Interrupt the graph, or take what it is resumed with: raise the limits of the budget that refused. False for nothing.

    Raises:
        ConfigurationError: an answer that is neither None, False nor a mapping of limits that the budget has.
    """
    from langgraph.types import interrupt  # with LangChain's agents, and only there

    return raise_limits(thrift.budgets, refused, interrupt(question_of_refusal(refused)))

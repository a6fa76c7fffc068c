"""`ask_for_more`: a graph is interrupted where a budget refuses, and resumed with a raised limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.errors import BudgetExceededError, ConfigurationError

if TYPE_CHECKING:
    from llmthrift_core.thrift import Thrift

_LIMITS: Final = ("limit_usd", "limit_tokens", "limit_requests", "limit_tool_calls", "limit_seconds")


def ask_for_more(thrift: Thrift, refused: BudgetExceededError) -> bool:
    """Interrupt the graph, or take what it is resumed with: raise the limits of the budget that refused. False for nothing.

    A node that is resumed runs from its start, so that an earlier answer may come again: limits are only ever raised.

    Raises:
        ConfigurationError: an answer that is neither None, False nor a mapping of limits that the budget has.
    """
    from langgraph.types import interrupt  # with LangChain's agents, and only there

    figures = {name: getattr(refused, name) for name in _LIMITS if getattr(refused, name) is not None}
    told = {name: str(value) if name == "limit_usd" else value for name, value in figures.items()}
    answer: Any = interrupt({"kind": "budget_limit", "budget": refused.budget, "message": str(refused), "scope": refused.scope, **told})
    if answer is None or answer is False:
        return False
    if not isinstance(answer, Mapping) or not answer or not set(answer) <= set(figures):
        raise ConfigurationError(
            f"budget {refused.budget!r} was refused: resume with None, or with a mapping of {', '.join(figures)} to a higher limit, "
            f"not with {answer!r}"
        )
    kept = next((budget for budget in thrift.budgets.all() if budget.name == refused.budget), None)
    if kept is None:  # it was removed meanwhile
        return True
    raised = replace(kept, **answer)
    higher = {name: getattr(raised, name) for name in answer if getattr(raised, name) > (getattr(kept, name) or 0)}
    if higher:
        thrift.budgets.add(replace(kept, **higher))
    return True

"""The question that is asked where a budget refuses, and the limits that an answer to it may raise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.errors import BudgetExceededError, ConfigurationError

if TYPE_CHECKING:
    from llmthrift_core.budgets.budgets import Budgets
    from llmthrift_core.budgets.scopes import Scope

_LIMITS: Final = ("limit_usd", "limit_tokens", "limit_requests", "limit_tool_calls", "limit_seconds")


def question_of_refusal(refused: BudgetExceededError) -> dict[str, Any]:
    """What whoever may raise the limit is told: plain values, for JSON."""
    told = {name: str(value) if name == "limit_usd" else value for name, value in _limits_of(refused).items()}
    return {"kind": "budget_limit", "budget": refused.budget, "message": str(refused), "scope": refused.scope, **told}


def raise_limits(budgets: Budgets, refused: BudgetExceededError, answer: Any) -> bool:
    """Raise the limits of the budget that refused, for all of its spenders. False for nothing: None or False was answered.

    An earlier answer may come again, where a step is run anew: limits are only ever raised.

    Args:
        answer: None, False, or a mapping of limits, such as {"limit_usd": 0.1}.

    Raises:
        ConfigurationError: something else, or a limit that the budget does not have.
    """
    if answer is None or answer is False:
        return False
    figures = _limits_of(refused)
    if not isinstance(answer, Mapping) or not answer or not set(answer) <= set(figures):
        raise ConfigurationError(
            f"budget {refused.budget!r} was refused: resume with False, or with a mapping of {', '.join(figures)} to a higher limit, "
            f"not with {answer!r}"
        )
    kept = next((budget for budget in budgets.all() if budget.name == refused.budget), None)
    if kept is None:  # it was removed meanwhile
        return True
    raised = replace(kept, **answer)
    higher = {name: getattr(raised, name) for name in answer if getattr(raised, name) > (getattr(kept, name) or 0)}
    if higher:
        budgets.add(replace(kept, **higher))
    return True


def refusal_of(told: Mapping[str, Any]) -> BudgetExceededError:
    """The refusal that a mark tells of, or a mark with its question: what a message or a checkpoint has kept of it."""
    limits: dict[str, Any] = {name: Decimal(told[name]) if name == "limit_usd" else told[name] for name in _LIMITS if name in told}
    resets_at = None if told.get("resets_at") is None else datetime.fromisoformat(told["resets_at"])
    return BudgetExceededError(str(told.get("reason")), budget=told.get("budget"), scope=told.get("scope"), resets_at=resets_at, **limits)


def concerns(budgets: Budgets, refused: BudgetExceededError, scope: Scope) -> bool:
    """Whether the budget that refused counts what this spender spends, too: an agent in a tool may have one of its own."""
    kept = next((budget for budget in budgets.all() if budget.name == refused.budget), None)
    return kept is not None and scope.fits(kept) and json.loads(scope.key(kept)) == refused.scope


def _limits_of(refused: BudgetExceededError) -> dict[str, Any]:
    return {name: value for name in _LIMITS if (value := getattr(refused, name)) is not None}

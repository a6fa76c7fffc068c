"""A polite answer instead of an exception, where a budget refuses a call."""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

from llmthrift_core.errors import BudgetExceededError, ConfigurationError

OnBudget = Literal["raise", "answer"]
POLITE: Final = "I cannot go on with this now: the budget for it is used up."
"""The answer where the application gives no text of its own. It tells no figures, which are not for everybody who reads answers."""


NOT_DONE: Final = "This was not done: the budget for it is used up."
"""As `POLITE`, in place of the result of a tool."""


def check_on_budget(value: object) -> None:
    """Raise ConfigurationError for what `on_budget` cannot be."""
    if value not in get_args(OnBudget):
        raise ConfigurationError(f'on_budget must be "raise" or "answer", not {value!r}')


def mark_of_refusal(refused: BudgetExceededError) -> dict[str, Any]:
    """The mark of an answer that no model gave: "source" ("budget_limit"), the "budget", its "reason", when it "resets_at", and no cost."""
    return {
        "source": "budget_limit",
        "budget": refused.budget,
        "stopped_by": refused.budget,
        "reason": str(refused),
        "resets_at": None if refused.resets_at is None else refused.resets_at.isoformat(),
        "cost_usd": "0",
    }

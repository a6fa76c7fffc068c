"""The windows that a call counts in, and what they can hold at all."""

from __future__ import annotations

from collections.abc import Sequence

from llmthrift_core.budgets.budget import Budget
from llmthrift_core.budgets.scopes import Scope
from llmthrift_core.budgets.store import Amounts, Part
from llmthrift_core.budgets.windows import window_at


def parts_of(applying: Sequence[Budget], scope: Scope, now_us: int) -> list[Part]:
    """The windows of a moment that a call counts in, in the order in which they are taken."""
    parts = []
    for budget in applying:
        start_us, resets_us = window_at(budget.window, budget.tz, now_us)
        mode = "warn" if budget.on_exceed == "warn" else "request" if budget.window == "request" else "limit"
        parts.append(Part(budget.name, scope.key(budget), start_us, resets_us, mode))  # type: ignore[arg-type]
    return sorted(parts)


def never_fits(budget: Budget, amounts: Amounts) -> bool:
    """Whether a budget cannot hold so much even where nothing is spent."""
    limits = (budget.limit_nano_usd, budget.limit_tokens, budget.limit_requests)
    return budget.window == "request" or any(limit is not None and amount > limit for limit, amount in zip(limits, amounts, strict=True))

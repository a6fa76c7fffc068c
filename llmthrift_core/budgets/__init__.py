"""Budgets that cannot be overspent: money is set aside before a call, in one conditional statement, and settled after it.

Loaded on first use: `Budgets` loads SQLAlchemy, and a program without budgets needs none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmthrift_core.budgets.budget import Budget as Budget
    from llmthrift_core.budgets.budgets import Budgets as Budgets
    from llmthrift_core.budgets.hold import Hold as Hold
    from llmthrift_core.budgets.planning import BudgetDesign as BudgetDesign
    from llmthrift_core.budgets.planning import Group as Group
    from llmthrift_core.budgets.planning import design as design
    from llmthrift_core.budgets.status import Alert as Alert

__all__ = ["Alert", "Budget", "BudgetDesign", "Budgets", "Group", "Hold", "design"]


def __getattr__(name: str) -> Any:
    if name == "Budget":
        from llmthrift_core.budgets.budget import Budget

        return Budget
    if name == "Budgets":
        from llmthrift_core.budgets.budgets import Budgets

        return Budgets
    if name == "Hold":
        from llmthrift_core.budgets.hold import Hold

        return Hold
    if name in ("BudgetDesign", "Group", "design"):
        from llmthrift_core.budgets import planning

        return getattr(planning, name)
    if name == "Alert":
        from llmthrift_core.budgets.status import Alert

        return Alert
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

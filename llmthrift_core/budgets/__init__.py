"""Budgets that cannot be overspent: money is set aside before a call, in one conditional statement, and settled after it.

Loaded on first use: `Budgets` loads SQLAlchemy, and a program without budgets needs none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmthrift_core.exports import lazy_exports

if TYPE_CHECKING:
    from llmthrift_core.budgets.budget import Budget as Budget
    from llmthrift_core.budgets.budgets import Budgets as Budgets
    from llmthrift_core.budgets.hold import Hold as Hold
    from llmthrift_core.budgets.planning import BudgetDesign as BudgetDesign
    from llmthrift_core.budgets.planning import Group as Group
    from llmthrift_core.budgets.planning import design as design
    from llmthrift_core.budgets.status import Alert as Alert

__all__ = ["Alert", "Budget", "BudgetDesign", "Budgets", "Group", "Hold", "design"]

__getattr__ = lazy_exports(
    __name__,
    {
        "llmthrift_core.budgets.budget": ("Budget",),
        "llmthrift_core.budgets.budgets": ("Budgets",),
        "llmthrift_core.budgets.hold": ("Hold",),
        "llmthrift_core.budgets.planning": ("BudgetDesign", "Group", "design"),
        "llmthrift_core.budgets.status": ("Alert",),
    },
)

"""An amount of money a day that all processes share, for one purpose alone."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from llmthrift_core.budgets.budget import Budget
from llmthrift_core.budgets.budgets import Budgets
from llmthrift_core.budgets.hold import Hold
from llmthrift_core.errors import StorageError
from llmthrift_core.money import to_usd

_LEAST_NANO: Final = 1  # a hold of nothing would be granted when the day's amount is spent


class DailyAmount:
    """A budget of so many dollars a day (UTC) that calls do not meet by themselves: only what is set aside here is taken from it.

    Args:
        budgets: where it is kept; `Budgets.status` shows what is left.
        name: amounts of the same name are one.
        max_usd: a day.
        tag: for which purpose.

    Raises:
        ConfigurationError: an amount that cannot be used.
        StorageError: the budget cannot be kept.
    """

    def __init__(self, budgets: Budgets, name: str, *, max_usd: Decimal | float | str, tag: str) -> None:
        self._budgets = budgets
        self._scope: dict[str, Any] = {tag: name}
        self.budget = budgets.add(Budget(limit_usd=max_usd, window="day", match=self._scope, name=name, alert_at=()), count_past=False)

    @property
    def limit_nano_usd(self) -> int:
        """The amount of a day."""
        return self.budget.limit_nano_usd or 0

    def set_aside(self, nano_usd: int) -> Hold:
        """Take so much from the amount of the day, to be settled or released.

        Raises:
            BudgetExceededError: there is not so much left.
            StorageError: the budget cannot be reached, or was removed.
        """
        hold = self._budgets.reserve(estimate_usd=to_usd(max(_LEAST_NANO, nano_usd)), scope=self._scope, only=self.budget.name)
        if hold.id is None:
            raise StorageError(f"the budget {self.budget.name!r} was removed; what it limits is not done without it")
        return hold

"""The budgets of a database, or of the server that keeps them instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from llmthrift_core.budgets.budgets import Budgets
from llmthrift_core.budgets.past import Past
from llmthrift_core.budgets.sizes import Recall

if TYPE_CHECKING:
    from llmthrift_core.budgets.expectation import Prices
    from llmthrift_core.budgets.store import BudgetStore
    from llmthrift_core.storage.database import Database
    from llmthrift_core.storage.valkey import ValkeyServer


def open_budgets(
    database: Callable[[], Database],
    valkey: ValkeyServer | None,
    prices: Prices,
    *,
    clock: Callable[[], float],
    new_id: Callable[[], str],
    recall: Recall,
    past: Past,
) -> Budgets:
    """The budgets in a Valkey server or, where there is none, in the database. Arguments as for `Budgets`."""
    store: BudgetStore
    if valkey is not None:
        from llmthrift_core.budgets.valkey_store import ValkeyBudgets

        store = ValkeyBudgets(valkey)
    else:
        from llmthrift_core.budgets.sql_store import SqlBudgets

        store = SqlBudgets(database())
    return Budgets(store, prices, clock=clock, new_id=new_id, recall=recall, past=past)

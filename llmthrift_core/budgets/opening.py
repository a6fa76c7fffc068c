"""The budgets of a database, or of the server that keeps them instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from llmthrift_core.budgets.budgets import Budgets
from llmthrift_core.budgets.sizes import Features
from llmthrift_core.budgets.spending import Spent

if TYPE_CHECKING:
    from llmthrift_core.budgets.expectation import Prices
    from llmthrift_core.budgets.store import BudgetStore
    from llmthrift_core.storage.database import Database
    from llmthrift_core.storage.valkey import ValkeyServer


class Recorded(Protocol):
    """What budgets ask of the ledger."""

    def output_sizes(self, model: str, *, features: Features, most: int) -> Sequence[int]: ...

    def spent(self, names: Sequence[str], since_us: int) -> Sequence[tuple[Any, ...]]: ...


def open_budgets(
    database: Callable[[], Database],
    valkey: ValkeyServer | None,
    prices: Prices,
    recorded: Callable[[], Recorded],
    *,
    clock: Callable[[], float],
    new_id: Callable[[], str],
    spool: str | Path | None,
) -> Budgets:
    """The budgets in a Valkey server or, where there is none, in the database. Arguments as for `Budgets`.

    Args:
        recorded: the ledger.
        spool: the ledger's spool: that of settlements lies beside it.
    """
    store: BudgetStore
    if valkey is not None:
        from llmthrift_core.budgets.valkey_store import ValkeyBudgets

        store = ValkeyBudgets(valkey)
    else:
        from llmthrift_core.budgets.sql_store import SqlBudgets

        store = SqlBudgets(database())
    return Budgets(
        store,
        prices,
        clock=clock,
        new_id=new_id,
        recall=lambda model, features, most: recorded().output_sizes(model, features=features, most=most),
        past=lambda names, since_us: [Spent(*sums) for sums in recorded().spent(names, since_us)],
        spool=None if spool is None else f"{spool}.settlements",
    )

"""Budgets in every kind of store, with a clock that tests move."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from llmthrift_core.budgets import Budgets
from llmthrift_core.budgets.sql_store import SqlBudgets
from llmthrift_core.budgets.store import BudgetStore
from llmthrift_core.budgets.valkey_store import ValkeyBudgets
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.valkey import ValkeyServer
from tests.core.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime(2026, 3, 11, 15, 30, tzinfo=UTC).timestamp())  # a Wednesday


@pytest.fixture(params=["memory", "file", "postgresql", "valkey"])
def store(request: pytest.FixtureRequest) -> Iterator[BudgetStore]:
    """An empty store, of each kind."""
    if request.param == "valkey":
        with ValkeyServer(request.getfixturevalue("valkey_url")) as server:
            yield ValkeyBudgets(server)
    elif request.param == "file":
        yield SqlBudgets(request.getfixturevalue("file_database"))
    else:
        with Database.open(":memory:" if request.param == "memory" else request.getfixturevalue("postgresql_url")) as database:
            yield SqlBudgets(database)


@pytest.fixture
def open_budgets(clock: Clock) -> Callable[[BudgetStore], Budgets]:
    numbers = itertools.count(1)
    prices = PriceCatalog()
    return lambda store: Budgets(store, prices, clock=clock, new_id=lambda: f"hold-{next(numbers)}")


@pytest.fixture
def budgets(store: BudgetStore, open_budgets: Callable[[BudgetStore], Budgets]) -> Budgets:
    return open_budgets(store)

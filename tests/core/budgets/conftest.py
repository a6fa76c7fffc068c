"""Budgets on every kind of database, with a clock that tests move."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from llmthrift_core.budgets import Budgets
from llmthrift_core.budgets.sql_store import SqlBudgets
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.storage.database import Database
from tests.core.storage.backends import (  # noqa: F401 - fixtures
    any_database,
    any_url,
    file_database,
    postgresql_server,
    postgresql_url,
)


class Clock:
    """Seconds since the epoch, moved by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 11, 15, 30, tzinfo=UTC).timestamp()  # a Wednesday

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_budgets(clock: Clock) -> Callable[[Database], Budgets]:
    numbers = itertools.count(1)
    prices = PriceCatalog()
    return lambda database: Budgets(SqlBudgets(database), prices, clock=clock, new_id=lambda: f"hold-{id(database)}-{next(numbers)}")


@pytest.fixture
def budgets(any_database: Database, open_budgets: Callable[[Database], Budgets]) -> Budgets:  # noqa: F811
    return open_budgets(any_database)

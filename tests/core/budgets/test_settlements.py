"""Settlements that the store could not take: they wait, count once, and never come back as unspent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest

from llmthrift_core import Budget, BudgetExceededError
from llmthrift_core.budgets import Budgets, settlements
from llmthrift_core.budgets.sql_store import SqlBudgets
from llmthrift_core.errors import StorageError
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.storage.database import Database
from tests.core.clock import Clock


class Faulty(SqlBudgets):
    """A store in memory that cannot be written while it is told so."""

    is_away = False

    def settle(self, hold_id, spent):
        if self.is_away:
            raise StorageError("the disk is full")
        return super().settle(hold_id, spent)


@pytest.fixture
def faulty() -> Iterator[Faulty]:
    with Database.open(":memory:") as database:
        yield Faulty(database)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settlements, "_FIRST_PAUSE_SECONDS", 0.005)
    monkeypatch.setattr(settlements, "_LONGEST_PAUSE_SECONDS", 0.02)


@pytest.fixture
def kept(faulty: Faulty, open_budgets: Callable[[Faulty], Budgets]) -> Budgets:
    budgets = open_budgets(faulty)
    budgets.add(Budget(limit_usd=10, name="b"))
    return budgets


def amounts(budgets: Budgets) -> tuple[Decimal, Decimal]:
    (row,) = budgets.status()
    return row["spent"], row["reserved"]


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.005)


def test_a_settlement_waits_for_the_store_and_its_hold_stays(kept, faulty):
    hold = kept.reserve(estimate_usd=4, scope={})
    faulty.is_away = True
    hold.settle(cost_usd=3)
    assert kept.health() == {"pending_settlements": 1}
    assert amounts(kept) == (0, 4)
    assert not kept.flush()
    faulty.is_away = False
    eventually(lambda: kept.health() == {"pending_settlements": 0})
    assert amounts(kept) == (3, 0)


def test_only_the_first_settlement_of_a_hold_counts(kept, faulty):
    faulty.is_away = True
    with kept.reserve(estimate_usd=4, scope={}) as hold:
        hold.settle(cost_usd=3)
        hold.settle(cost_usd=1)
    faulty.is_away = False
    assert kept.flush()
    hold.settle(cost_usd=2)
    assert amounts(kept) == (3, 0)


def test_what_waits_past_the_time_of_its_hold_counts_and_is_not_given_away_before(kept, faulty, clock: Clock):
    hold = kept.reserve(estimate_usd=9, scope={}, ttl_seconds=60)
    faulty.is_away = True
    hold.settle(cost_usd=8)
    clock.now += 3600
    with pytest.raises(BudgetExceededError):
        kept.reserve(estimate_usd=5, scope={})
    faulty.is_away = False
    with pytest.raises(BudgetExceededError):
        kept.reserve(estimate_usd=5, scope={})
    assert amounts(kept) == (8, 0)


def test_a_settlement_that_nobody_could_take_is_told_at_the_end(kept, faulty, caplog):
    hold = kept.reserve(estimate_usd=4, scope={})
    faulty.is_away = True
    hold.settle(cost_usd=3)
    assert not kept.close()
    assert "1 hold of budgets could not be settled" in caplog.text


def test_the_thread_ends_when_nothing_waits_and_begins_again(kept, faulty):
    for _ in range(2):
        hold = kept.reserve(estimate_usd=1, scope={})
        faulty.is_away = True
        hold.settle(cost_usd=1)
        faulty.is_away = False
        eventually(lambda: kept._settlements._thread is None)
    assert amounts(kept) == (2, 0)
    assert kept.close()


def test_a_settlement_in_a_spool_outlives_its_process(faulty, clock: Clock, tmp_path):
    def opened(spool) -> Budgets:
        return Budgets(faulty, PriceCatalog(), clock=clock, new_id=lambda: "h1", spool=spool)

    spool = tmp_path / "rows.settlements"
    first = opened(spool)
    first.add(Budget(limit_usd=10, name="b"))
    hold = first.reserve(estimate_usd=4, scope={})
    faulty.is_away = True
    hold.settle(cost_usd=3)
    hold.settle(cost_usd=1)
    assert not first.close()
    (kept,) = tmp_path.iterdir()
    assert kept.read_text().count("hold") == 1
    clock.now += 7200  # long after its time
    faulty.is_away = False
    second = opened(spool)
    eventually(lambda: not list(tmp_path.iterdir()))
    assert amounts(second) == (3, 0)
    # Once more, and what nobody can read.
    spool.write_text('{"hold":"h1","spent":[5,5,1]}\n{"hold":"x"}\n{"hold":"y","spent":[1,2,3,4]}\n')
    third = opened(spool)
    eventually(lambda: not list(tmp_path.iterdir()))
    assert amounts(third) == (3, 0)

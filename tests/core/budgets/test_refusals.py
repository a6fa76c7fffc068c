"""Refusals while money comes back: what a refusal says is what refused."""

from __future__ import annotations

from decimal import Decimal

import pytest

from llmthrift_core import Budget, BudgetExceededError
from llmthrift_core.budgets.sql_store import SqlBudgets
from llmthrift_core.budgets.store import Amounts, Part, RefusedError


def test_money_that_comes_back_while_a_call_is_refused_is_given_to_it(budgets, monkeypatch):
    """The other call ends after the store had no room, and before anybody looked why."""
    budgets.add(Budget(limit_usd="0.05", window="day"))
    other = budgets.reserve(estimate_usd="0.04", scope={})
    reserve = budgets._store.reserve

    def reserve_late(*args, **options):
        try:
            reserve(*args, **options)
        except RefusedError:
            other.settle(cost_usd="0.01")
            raise

    monkeypatch.setattr(budgets._store, "reserve", reserve_late)
    with budgets.reserve(estimate_usd="0.04", scope={}) as hold:
        hold.settle(cost_usd="0.04")
    (status,) = budgets.status()
    assert (status["spent"], status["reserved"]) == (Decimal("0.05"), 0)


def test_a_refusal_has_figures_that_refuse(budgets, monkeypatch):
    """However often others come and go meanwhile."""
    budgets.add(Budget(limit_usd="0.05", window="day"))
    holds = [budgets.reserve(estimate_usd="0.05", scope={})]
    reserve, refused = budgets._store.reserve, []

    def reserve_late(*args, **options):
        try:
            reserve(*args, **options)
        except RefusedError:
            refused.append(1)
            holds.pop().release()  # room, for a moment
            if len(refused) < 3:
                raise
            reserve("another", args[1], args[2]._replace(nano_usd=30_000_000), **options)
            raise

    monkeypatch.setattr(budgets._store, "reserve", reserve_late)
    window = budgets._store.window

    def taken_again(part):
        found = window(part)
        monkeypatch.setattr(budgets._store, "reserve", reserve)
        if len(refused) < 3:
            holds.append(budgets.reserve(estimate_usd="0.05", scope={}))
        monkeypatch.setattr(budgets._store, "reserve", reserve_late)
        return found

    monkeypatch.setattr(budgets._store, "window", taken_again)
    with pytest.raises(BudgetExceededError) as caught:
        budgets.reserve(estimate_usd="0.04", scope={})
    assert len(refused) == 3
    assert (caught.value.spent_usd, caught.value.reserved_usd) == (0, Decimal("0.03"))


@pytest.fixture
def writes(store, monkeypatch) -> list[str]:
    """A note for each transaction that a store in a database begins."""
    if not isinstance(store, SqlBudgets):
        pytest.skip("Valkey refuses in one script that locks nothing")
    begun: list[str] = []
    transaction = store._database.transaction
    monkeypatch.setattr(store._database, "transaction", lambda **options: begun.append("begun") or transaction(**options))
    return begun


def test_who_is_refused_again_and_again_keeps_nobody_waiting_for_the_write_lock(store, budgets, writes):
    budgets.add(Budget(limit_tokens=10, window="day", name="all"))
    budgets.reserve(estimate_tokens=8, scope={}).settle(cost_usd=0, tokens=8)
    for _ in range(2):  # the first finds out that the window is full
        with pytest.raises(BudgetExceededError):
            budgets.reserve(estimate_tokens=5, scope={})
    writes.clear()
    for _ in range(3):
        with pytest.raises(BudgetExceededError) as refusal:
            budgets.reserve(estimate_tokens=5, scope={})
        assert (refusal.value.spent_tokens, refusal.value.requested_tokens) == (8, 5)
    assert writes == []
    budgets.reserve(estimate_tokens=2, scope={}).release()  # what fits is not refused
    budgets.add(Budget(limit_tokens=20, window="day", name="all"))
    budgets.reserve(estimate_tokens=5, scope={}).settle(cost_usd=0, tokens=5)
    (status,) = budgets.status()
    assert (status["spent"], status["reserved"]) == (13, 0)


def test_a_hold_that_was_made_before_is_left_as_it_is_where_its_window_is_full_now(store, budgets):
    budgets.add(Budget(limit_tokens=10, name="all"))
    part = Part("all", "{}", 0, None, "limit")
    store.reserve("mine", [part], Amounts(tokens=8, requests=1), now_us=1_000, ttl_us=1_000_000_000)
    for number in range(2):
        with pytest.raises(RefusedError):
            store.reserve(f"other-{number}", [part], Amounts(tokens=8, requests=1), now_us=1_000, ttl_us=1_000_000_000)
        store.reserve("mine", [part], Amounts(tokens=8, requests=1), now_us=1_000, ttl_us=1_000_000_000)
    assert store.window(part)[1] == Amounts(0, 8, 1)

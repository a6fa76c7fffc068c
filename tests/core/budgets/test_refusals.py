"""Refusals while money comes back: what a refusal says is what refused."""

from __future__ import annotations

from decimal import Decimal

import pytest

from llmthrift_core import Budget, BudgetExceededError
from llmthrift_core.budgets.store import RefusedError


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

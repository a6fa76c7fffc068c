"""Budgets of wall time, in every store."""

from __future__ import annotations

from decimal import Decimal

import pytest

from llmthrift_core import Budget, BudgetExceededError
from llmthrift_core.budgets.scopes import scope_of
from llmthrift_core.errors import ConfigurationError


def test_time_begins_with_the_first_call_and_is_shared_by_processes(budgets, store, clock, open_budgets):
    budgets.add(Budget(limit_seconds=60, per="run"))
    budgets.reserve(scope={"run": "one"}).release()
    clock.now += 59.5
    other = open_budgets(store)
    other.reserve(scope={"run": "one"}).release()
    other.reserve(scope={"run": "late"}).release()
    clock.now += 0.5
    for each in (budgets, other):
        with pytest.raises(BudgetExceededError, match=r"60.0 s have passed since its first call, of 60 s") as refused:
            each.reserve(scope={"run": "one"})
        assert (refused.value.limit_seconds, refused.value.spent_seconds, refused.value.scope) == (60.0, 60.0, {"run": "one"})
        each.reserve(scope={"run": "late"}).release()
    assert budgets.holds() == []


def test_status_tells_what_is_left(budgets, clock):
    given = budgets.add(Budget(limit_seconds=2.5, per="run"))
    budgets.reserve(scope={"run": "one"}).release()
    clock.now += 1
    (row,) = budgets.status()
    assert (row["unit"], row["limit"], row["spent"], row["remaining"]) == ("seconds", Decimal("2.5"), Decimal(1), Decimal("1.5"))
    assert budgets.all() == (given,)
    assert given.name == "seconds per run"


def test_nobody_is_refused_for_the_time_of_others(budgets, clock):
    budgets.add(Budget(limit_seconds=1, per="run"))
    budgets.reserve(scope={"user": "ada"}).release()
    clock.now += 5
    budgets.reserve(scope={"user": "ada"}).release()


def test_a_longer_limit_goes_on_from_the_same_moment(budgets, clock):
    budgets.add(Budget(limit_seconds=1, per="run"))
    budgets.reserve(scope={"run": "one"}).release()
    clock.now += 2
    budgets.add(Budget(limit_seconds=3, per="run"))
    budgets.reserve(scope={"run": "one"}).release()
    clock.now += 1
    with pytest.raises(BudgetExceededError):
        budgets.reserve(scope={"run": "one"})


def test_a_budget_that_only_warns_refuses_nothing(budgets, clock, caplog):
    budgets.add(Budget(limit_seconds=1, per="run", on_exceed="warn"))
    budgets.reserve(scope={"run": "one"}).release()
    clock.now += 2
    budgets.reserve(scope={"run": "one"}).release()
    assert "have passed since its first call" in caplog.text


def test_time_and_money_are_refused_each_by_its_own_budget(budgets, clock):
    budgets.add(Budget(limit_seconds=10, per="run"))
    budgets.add(Budget(limit_usd=1, per="run"))
    budgets.reserve(estimate_usd="0.6", scope={"run": "one"}).settle(cost_usd="0.6")
    with pytest.raises(BudgetExceededError, match="'usd per run'"):
        budgets.reserve(estimate_usd="0.6", scope={"run": "one"})
    budgets.take_tool_calls(scope_of({"run": "one"}), 3)
    clock.now += 10
    with pytest.raises(BudgetExceededError, match="'seconds per run'"):
        budgets.reserve(estimate_usd="0.1", scope={"run": "one"})


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"limit_seconds": 0, "per": "run"}, "limit_seconds must be above 0"),
        ({"limit_seconds": True, "per": "run"}, "limit_seconds must be above 0"),
        ({"limit_seconds": float("nan"), "per": "run"}, "limit_seconds must be above 0"),
        ({"limit_seconds": 5}, "somebody whose time it is"),
        ({"limit_seconds": 5, "per": "run", "window": "request"}, "somebody whose time it is"),
        ({"limit_seconds": 5, "per": "run", "on_exceed": "queue"}, "goes with on_exceed="),
        ({"limit_seconds": 5, "per": "run", "limit_usd": 1}, "limit_seconds= stands alone"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, problem):
    with pytest.raises(ConfigurationError, match=problem):
        Budget(**options)
